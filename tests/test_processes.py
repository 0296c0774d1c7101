"""Processes that tests start have default signals, and do not outlive their test.

This holds whatever signals pytest inherited.
"""

import signal
import sys
from pathlib import Path
from subprocess import Popen

import pytest

from tests.processes import finished, started

ROOT = Path(__file__).parents[1]
SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]
ASKS_A_CHILD = """
import signal, sys
from tests.processes import finished, give_children_default_signals
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
give_children_default_signals()
signal.raise_signal(signal.SIGINT)  # still not ended by it, as the shell wished
code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
print(finished([sys.executable, "-c", code]).stdout.strip())
"""


def test_a_child_of_a_suite_in_the_background_is_interrupted_by_ctrl_c_like_any_other() -> None:
    script = f'trap "" INT; exec "{sys.executable}" -c "$0"'
    ran = finished(["sh", "-c", script, ASKS_A_CHILD], cwd=ROOT)
    assert (ran.stdout, ran.stderr) == ("True\n", "")


def test_a_test_that_fails_leaves_no_process_behind() -> None:
    left: list[Popen[bytes]] = []

    def fail() -> None:
        with started(SLEEPS) as process:
            left.append(process)
            raise AssertionError("as a test would")

    with pytest.raises(AssertionError, match="as a test would"):
        fail()
    assert [process.returncode for process in left] == [-signal.SIGKILL]


def test_every_process_is_started_by_the_one_helper() -> None:
    starts = ("subprocess.run", "Popen(", "check_output(", "os.system", "os.fork")
    helper = {"processes.py", Path(__file__).name}
    paths = [path for path in (ROOT / "tests").rglob("*.py") if path.name not in helper]
    texts = {path.name: path.read_text(encoding="utf-8") for path in paths}
    assert not [name for name, text in texts.items() if any(way in text for way in starts)]
