"""The process that finds burned-in text: its limits, its end, and that it opens no connection."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.application import create_app
from app.errors import ImageUnreadable, NotReady, SettingsError
from app.images.burned_in.finder import TextFinder
from app.images.burned_in.messages import Found
from app.settings import Settings
from tests.app.images.test_burned_in_text import phantom, written
from tests.processes import finished

ROOT = Path(__file__).parents[3]
BLANK = np.zeros((64, 64), np.uint8)
STAND_IN = """
import os, sys, time
from pathlib import Path
from app.images.burned_in.messages import Found
from app.images.isolated.framing import receive, send
send(sys.stdout.buffer, Found())
receive(sys.stdin.buffer, 1 << 30)
"""
"""A process that greets and takes one picture; what it does then is up to the test."""


@pytest.fixture
def finders() -> Iterator[list[TextFinder]]:
    """Finders that are closed after the test."""
    made: list[TextFinder] = []
    yield made
    for finder in made:
        finder.close()


def a_finder(made: list[TextFinder], code: str, search_s: float = 60.0) -> TextFinder:
    made.append(TextFinder([sys.executable, "-c", code], search_s))
    return made[-1]


def test_a_process_that_hangs_is_ended_and_the_message_says_after_how_long(
    finders: list[TextFinder], tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    code = f"{STAND_IN}Path({str(pid)!r}).write_text(str(os.getpid()))\ntime.sleep(600)"
    with pytest.raises(ImageUnreadable, match=r"was ended after 1 s, and a picture that was not"):
        a_finder(finders, code, 1.0).boxes(BLANK)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_process_that_was_killed_is_replaced_once(
    finders: list[TextFinder], tmp_path: Path
) -> None:
    mark = tmp_path / "killed"
    code = f"""{STAND_IN}
if not Path({str(mark)!r}).exists():
    Path({str(mark)!r}).touch()
    os.kill(os.getpid(), 9)
send(sys.stdout.buffer, Found(boxes=((1, 2, 3, 4),)))
"""
    assert a_finder(finders, code).boxes(BLANK) == ((1, 2, 3, 4),)


def test_a_picture_that_ends_every_process_is_refused_by_that(finders: list[TextFinder]) -> None:
    with pytest.raises(ImageUnreadable, match="ended twice without an answer"):
        a_finder(finders, f"{STAND_IN}os.kill(os.getpid(), 9)").boxes(BLANK)


def test_a_search_that_fails_says_so_and_blames_neither_memory_nor_time(
    finders: list[TextFinder],
) -> None:
    code = f"{STAND_IN}send(sys.stdout.buffer, Found(gave_up='failure', last=True))"
    with pytest.raises(ImageUnreadable, match="failed on this picture"):
        a_finder(finders, code).boxes(BLANK)


def test_a_search_that_needs_too_much_memory_gives_up(finders: list[TextFinder]) -> None:
    code = "from app.images.burned_in import child; child.HEADROOM_BYTES = 0; child.main()"
    finder = a_finder(finders, code)
    with pytest.raises(ImageUnreadable, match=r"needs more memory|failed on this|ended twice"):
        finder.boxes(phantom(1, 1200, 1600))


def test_a_process_that_does_not_start_is_not_the_fault_of_the_picture(
    finders: list[TextFinder],
) -> None:
    with pytest.raises(NotReady, match=r"does not start.*exit code 3"):
        a_finder(finders, "raise SystemExit(3)").boxes(BLANK)


def test_the_real_process_is_replaced_when_it_is_killed(finders: list[TextFinder]) -> None:
    finders.append(TextFinder())
    pixels, ink = written(phantom(), "MARIA GONZALEZ", (40, 8), 16)
    before = finders[0].boxes(pixels)
    pid = finders[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert finders[0].boxes(pixels) == before
    assert ink[before[0][1] : before[0][3], before[0][0] : before[0][2]].sum() == ink.sum()


def test_a_model_that_is_missing_is_not_downloaded(
    finders: list[TextFinder], tmp_path: Path
) -> None:
    code = f"""
from pathlib import Path
from app.images.burned_in import child
child._MODELS = Path({str(tmp_path)!r})
child.main()
"""
    with pytest.raises(NotReady):
        a_finder(finders, code).boxes(BLANK)
    assert list(tmp_path.iterdir()) == []


def test_it_opens_no_connection() -> None:
    code = """
import socket, sys
from app.images.burned_in.child import _refuse_connections
sys.addaudithook(_refuse_connections)
for ask in (lambda: socket.create_connection(("127.0.0.1", 9)),
            lambda: socket.getaddrinfo("example.org", 443)):
    try:
        ask()
    except PermissionError:
        continue
    raise SystemExit(1)
"""
    assert finished([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_text_is_found_where_no_network_can_be_reached(
    finders: list[TextFinder], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    finders.append(TextFinder())
    assert len(finders[0].boxes(written(phantom(), "MARIA GONZALEZ", (40, 8), 16)[0])) == 1


def test_what_was_read_has_no_way_out_of_the_process() -> None:
    assert set(Found.model_fields) == {"boxes", "gave_up", "last"}


def test_the_service_does_not_start_where_text_is_wanted_and_its_finder_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(SettingsError, match=r"ustri\[ocr\].*USTRI_BLACKEN_TEXT=false"):
        create_app(Settings(data_dir=tmp_path))
