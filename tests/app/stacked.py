"""Runs a command over a PostgreSQL and a Redis of its own: `python -m tests.app.stacked COMMAND … DATABASE … REDIS`."""

import sys

from tests.app.stacks import a_postgres, a_redis
from tests.processes import started


def main() -> int:
    """The command's exit status; its words DATABASE and REDIS became the addresses of the two servers."""
    with a_postgres() as postgres, a_redis() as redis:
        addresses = {"DATABASE": postgres.new_database(), "REDIS": redis.url}
        with started([addresses.get(word, word) for word in sys.argv[1:]]) as process:
            return process.wait()


if __name__ == "__main__":
    sys.exit(main())
