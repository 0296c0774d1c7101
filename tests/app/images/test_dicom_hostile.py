"""Malicious DICOM files are refused with a sentence, in bounded time and memory.

The service keeps running.
"""

import contextlib
import os
import random
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.errors import ImageRejected, RequestRejected
from app.images.ingest import ingest
from app.settings import Settings
from tests.app.conftest import Serve
from tests.app.dicom_files import (
    LIMIT_PIXELS,
    UIDS,
    US_IMAGE,
    a_dataset,
    a_dicom,
    a_region,
    calibrated,
    compressed,
    element,
    in_jpeg,
    raw_file,
    speckle,
)

MEMORY_MAX_BYTES = 600 * 2**20
TIME_MAX_S = 10.0
UNDEFINED = 0xFFFFFFFF
DEFLATED = b"1.2.840.10008.1.2.1.99"
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
PRIVATE = (0x0009, 0x1010)


def deflated(size_bytes: int) -> bytes:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = element(*PRIVATE, b"OB", b"", size_bytes)
    chunk = bytes(2**20)
    body = squeezer.compress(head)
    body += b"".join(squeezer.compress(chunk) for _ in range(size_bytes // len(chunk)))
    return raw_file(body + squeezer.flush(), DEFLATED)


def nested(levels: int, defined: bool = False) -> bytes:
    """A whole image behind sequences within sequences."""
    if not defined:
        opening = (element(*PRIVATE, b"SQ", b"", UNDEFINED) + ITEM) * levels
        closing = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0) * levels
        return raw_file(head_elements() + opening + closing)
    body = b""
    for _ in range(levels):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body
        body = element(*PRIVATE, b"SQ", item)
    return raw_file(head_elements() + body)


def head_elements() -> bytes:
    return element(8, 0x16, b"UI", US_IMAGE.encode() + b"\0")


def truncated_fragments() -> bytes:
    whole = in_jpeg([speckle()])
    return whole[: whole.index(b"\xff\xd8\xff") + 40] + whole[-8:]


def jpeg_of_another_size() -> bytes:
    whole = bytearray(in_jpeg([speckle()]))
    at = whole.index(b"\xff\xc0") + 5
    whole[at : at + 4] = b"\xff\xdc\xff\xdc"
    return bytes(whole)


def a_long_palette() -> bytes:
    """Segmented palette data that unfolds without end."""
    segment = struct.pack("<HHH", 1, 0xFFFF, 0xFFFF) * 200_000
    colours = ("Red", "Green", "Blue")
    palette: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in colours:
        palette[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        palette[f"Segmented{colour}PaletteColorLookupTableData"] = segment
    return a_dicom(**palette)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "deflate bomb": lambda: deflated(2**29),
    "deflated rubbish": lambda: raw_file(os.urandom(4000), DEFLATED),
    "deflated and cut": lambda: deflated(2**20)[:600],
    "3,000 nested sequences": lambda: nested(3000),
    "3,000 nested sequences of stated length": lambda: nested(3000, defined=True),
    "a sequence without end": lambda: raw_file(
        head_elements() + element(*PRIVATE, b"SQ", b"", UNDEFINED) + ITEM
    ),
    "items without end": lambda: raw_file(
        element(*PRIVATE, b"SQ", b"", UNDEFINED) + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 10**6
    ),
    "pixels without end": lambda: raw_file(
        head_elements() + element(0x7FE0, 0x10, b"OB", b"", UNDEFINED) + b"\0" * 5000
    ),
    "65,535 × 65,535 × 10⁹": lambda: a_dicom(Rows=65535, Columns=65535, NumberOfFrames=10**9),
    "less pixels than stated": lambda: a_dicom(Rows=4000, Columns=4000),
    "a length beyond the end": lambda: raw_file(
        head_elements() + element(0x7FE0, 0x10, b"OW", b"\0" * 100, 0x7FFFFFFF)
    ),
    "a sequence beyond the end": lambda: raw_file(element(*PRIVATE, b"SQ", ITEM, 10**6)),
    "no PixelData": lambda: a_dicom(PixelData=None),
    "empty PixelData": lambda: a_dicom(PixelData=b""),
    "odd value representations": lambda: raw_file(
        element(*PRIVATE, b"\xff\xfe", b"abcd") + element(8, 0x60, b"??", b"US")
    ),
    "a DICOMDIR": lambda: raw_file(b"").replace(
        b"DICM", b"DICM" + element(2, 2, b"UI", b"1.2.840.10008.1.3.10")
    ),
    "a program as preamble": lambda: b"MZ\x90\0" + calibrated()[4:],
    "a shell script as preamble": lambda: b"#!/bin/sh\n" + calibrated()[10:],
    "no size": lambda: a_dicom(Rows=None, Columns=None),
    "65 regions": lambda: calibrated(*(a_region() for _ in range(65))),
    "truncated fragments": truncated_fragments,
    "a JPEG of 65,500 × 65,500 pixels": jpeg_of_another_size,
    "a palette that unfolds": a_long_palette,
    "nothing but a preamble": lambda: bytes(128) + b"DICM",
    "meta information without end": lambda: (
        bytes(128) + b"DICM" + b"".join(element(2, n, b"SH", b"ab") for n in range(0x100, 0x8000))
    ),
}


def children() -> list[int]:
    """The processes that this one started."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # A thread that ended meanwhile.
            found += [int(pid) for pid in (task / "children").read_text(encoding="ascii").split()]
    return found


def peak_bytes(pid: str) -> int:
    """The most memory that process ever held; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Fail if the body takes too long, or this process and its reader too much memory."""
    ingest(a_dicom(), LIMIT_PIXELS)  # The reader is started: its baseline is not the file's.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Peaks count from here.
    names = ["self", *map(str, children())]
    started = {name: peak_bytes(name) for name in names}
    began = time.monotonic()
    yield
    assert time.monotonic() - began < TIME_MAX_S
    assert sum(peak_bytes(name) - before for name, before in started.items()) < MEMORY_MAX_BYTES


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_file_gets_a_4xx_in_bounded_time_and_memory(
    name: str, client: httpx.AsyncClient
) -> None:
    data = HOSTILE[name]()
    with bounded():
        answer = await client.post("/analyze", files={"image": ("x", data)})
    assert answer.status_code in (413, 415, 422), answer.text
    assert answer.json()["detail"].endswith(".")
    assert (await client.get("/healthz")).status_code == 200


async def test_the_service_reads_on_after_all_of_them(serve: Serve, settings: Settings) -> None:
    async with serve() as client:
        for name in ("a palette that unfolds", "a JPEG of 65,500 × 65,500 pixels"):
            await client.post("/analyze", files={"image": ("x", HOSTILE[name]())})
        answer = await client.post("/analyze", files={"image": ("x", calibrated())})
        assert answer.status_code == 200, answer.text
    assert [path.suffix for path in settings.images_dir.iterdir()] == [".png"]


def test_a_deflated_file_of_an_honest_size_is_read() -> None:
    body = calibrated()
    start = body.index(struct.pack("<HH", 8, 0x16))
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    squeezed = squeezer.compress(body[start:]) + squeezer.flush()
    assert (ingest(raw_file(squeezed, DEFLATED), LIMIT_PIXELS).image.pixels == speckle()).all()


def test_the_largest_image_that_is_allowed_fits_into_the_memory_that_is() -> None:
    large = np.zeros((4000, 2500, 3), dtype=np.uint8)
    data = a_dicom(large, PhotometricInterpretation="YBR_FULL")
    with bounded():
        assert ingest(data, LIMIT_PIXELS).image.pixels.shape == (4000, 2500)


def a_mutant(seed: int) -> bytes:
    """A good file in one of four syntaxes with bytes changed, cut out, doubled, or cut off."""
    chance = random.Random(seed)
    whole = bytearray(ORIGINALS[seed % len(ORIGINALS)])
    # Most mutants keep their structure, so that they come as far as the decoders.
    kinds = chance.choice(["byte", "byte", "bytes", "all"])
    start = chance.choice([132, 132, whole.rindex(b"\xe0\x7f\x10\0") + 12])
    for _ in range(chance.choice([1, 3, 10, 60])):
        at = chance.randrange(start, len(whole))
        match kinds if kinds != "all" else chance.choice(["byte", "bytes", "cut", "double"]):
            case "byte":
                whole[at] = chance.randrange(256)
            case "bytes":
                whole[at : at + 4] = chance.choice([b"\xff" * 4, b"\0" * 4, chance.randbytes(4)])
            case "cut":
                del whole[at : at + chance.randrange(1, 40)]
            case _:
                whole[at:at] = whole[at : at + chance.randrange(1, 40)]
    end = chance.randrange(200, len(whole)) if chance.random() < 0.1 else len(whole)
    return bytes(whole[:end])


ORIGINALS = [
    calibrated(),
    in_jpeg([speckle()]),
    compressed(a_dataset(), "1.2.840.10008.1.2.5"),
    compressed(a_dataset(), "1.2.840.10008.1.2.4.80"),
    compressed(a_dataset(), "1.2.840.10008.1.2.4.90"),
]


def survive(seeds: range) -> None:
    """Read those mutants: each is still an image, or is refused without quoting the file."""
    sentences = []
    with bounded_each():
        for seed in seeds:
            data = a_mutant(seed)
            began = time.monotonic()
            try:
                ingest(data, LIMIT_PIXELS)
            except (ImageRejected, RequestRejected) as error:
                sentences.append(str(error))
            assert time.monotonic() - began < TIME_MAX_S, seed
    assert all(sentence.endswith(".") for sentence in sentences)
    assert not any(uid in sentence for uid in UIDS.values() for sentence in sentences)
    given_up = sum("memory and time" in sentence for sentence in sentences)
    assert given_up <= len(seeds) // 20


@contextlib.contextmanager
def bounded_each() -> Iterator[None]:
    """Fails when this process grows too much; the kernel bounds each reader."""
    ingest(a_dicom(), LIMIT_PIXELS)
    before = peak_bytes("self")
    yield
    assert peak_bytes("self") - before < MEMORY_MAX_BYTES


def test_a_hundred_mutated_files_are_read_or_refused() -> None:
    survive(range(100))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_thousand_mutated_files_are_read_or_refused() -> None:
    survive(range(1000, 3000))
