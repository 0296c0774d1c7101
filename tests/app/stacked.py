"""Run a command with its own PostgreSQL and Redis.

`python -m tests.app.stacked COMMAND … DATABASE … REDIS`
"""

import sys

from tests.app.stacks import a_postgres, a_redis
from tests.processes import started


def main() -> int:
    """Run the command and return its exit status.

    Its words DATABASE and REDIS become the addresses of the two servers.
    """
    with a_postgres() as postgres, a_redis() as redis:
        addresses = {"DATABASE": postgres.new_database(), "REDIS": redis.url}
        with started([addresses.get(word, word) for word in sys.argv[1:]]) as process:
            return process.wait()


if __name__ == "__main__":
    sys.exit(main())
