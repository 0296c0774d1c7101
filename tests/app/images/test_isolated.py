"""A process of its own: what it remembers goes with it, and is never asked of another one."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from app.errors import ImageUnreadable, NotReady
from app.images.dicom import reader
from app.images.dicom.reader import DicomFile
from app.images.isolated.framing import Message
from app.images.isolated.process import IsolatedProcess
from tests.app.dicom_files import LIMIT_PIXELS, a_dicom, speckle

COUNTS = """
import sys
from tests.app.images.test_isolated import Said
from app.images.isolated.framing import receive, send
send(sys.stdout.buffer, Said(count=0))
count = 0
while receive(sys.stdin.buffer, 1 << 20) is not None:
    count += 1
    send(sys.stdout.buffer, Said(count=count), b"x" * count)
"""
"""A process that answers how often it was asked."""


class Said(Message):
    """The stand-in's request and answer."""

    count: int


Begin = Callable[[str], IsolatedProcess]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Makes processes of that code, which are ended after the test."""
    made: list[IsolatedProcess] = []

    def one(code: str) -> IsolatedProcess:
        command = (sys.executable, "-c", code)
        made.append(IsolatedProcess(command, does="counts", start_s=60))
        return made[-1]

    yield one
    for process in made:
        process.end()


def asked(process: IsolatedProcess) -> tuple[int | None, bytes]:
    reply = process.exchange(Said(count=-1), b"", Said, timeout_s=60, payload_max_bytes=100)
    return None if reply.answer is None else reply.answer.count, reply.payload


def killed(process: IsolatedProcess) -> None:
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while process.pid is not None:
        time.sleep(0.01)


def test_a_process_is_started_once_and_remembers(begin: Begin) -> None:
    process = begin(COUNTS)
    assert process.start()
    assert not process.start()
    assert [asked(process), asked(process)] == [(1, b"x"), (2, b"xx")]


def test_a_process_that_died_is_not_replaced_behind_whoever_asks(begin: Begin) -> None:
    process = begin(COUNTS)
    process.start()
    asked(process)
    killed(process)
    assert asked(process) == (None, b"")
    assert process.start()
    assert asked(process) == (1, b"x")


def test_a_process_that_was_ended_answers_nothing(begin: Begin) -> None:
    process = begin(COUNTS)
    process.start()
    process.end()
    assert process.pid is None
    assert asked(process) == (None, b"")


def test_a_process_that_ends_at_its_start_is_named_with_its_exit_code(begin: Begin) -> None:
    with pytest.raises(NotReady, match=r"The process that counts does not start \(exit code 3\)"):
        begin("raise SystemExit(3)").start()


def test_a_file_is_sent_again_to_the_reader_that_replaces_one_that_was_killed() -> None:
    data = a_dicom(np.stack([speckle(), speckle()[::-1]]))
    with DicomFile(data) as file:
        whole = [file.frame(LIMIT_PIXELS, frame).pixels for frame in (0, 1)]
        killed(reader._READER._process)
        assert np.array_equal(file.frame(LIMIT_PIXELS, 1).pixels, whole[1])
    assert not np.array_equal(whole[0], whole[1])


def test_a_reader_killed_before_it_is_asked_gives_the_file_up_and_blames_no_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = DicomFile(a_dicom(np.stack([speckle(), speckle()[::-1]])))
    file.frame(LIMIT_PIXELS)
    process = reader._READER._process
    exchange = process.exchange

    def late(*arguments: Any, **named: Any) -> Any:
        killed(process)
        return exchange(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(process, "exchange", late)
        with pytest.raises(ImageUnreadable, match="within the memory and time"):
            file.frame(LIMIT_PIXELS, 1)
    assert file.frame(LIMIT_PIXELS, 1).pixels.shape == speckle().shape
