"""Frames whose stream is cut: never analysed, whatever a decoder would make of them."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID

from app.errors import FrameUnreadable, ImageUnreadable
from app.images.ingest import ingest
from app.images.multiframe import ingest_frames
from specialists.pictures.jpeg import JpegCut
from specialists.pictures.jpeg_lines import check_complete
from tests.app.dicom_files import JPEG_BASELINE, LIMIT_PIXELS, a_dataset, speckle, written

END = b"\xff\xd9"
NOISE = np.random.default_rng(3).bytes(1 << 18)
SYNTAXES = {
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG": JPEG_BASELINE,
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "near-lossless": "1.2.840.10008.1.2.4.81",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "lossy JPEG 2000": "1.2.840.10008.1.2.4.91",
}
CUTS: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda stream: stream[: len(stream) * 6 // 10],
    "cut and closed": lambda stream: stream[: len(stream) * 6 // 10] + END,
    "its last tenth": lambda stream: stream[: len(stream) * 9 // 10] + END,
    "its last hundredth": lambda stream: stream[: len(stream) * 99 // 100] + END,
    "zeros instead": lambda stream: stream[: len(stream) // 2] + bytes(len(stream) // 2) + END,
    "zeros to the end mark": lambda stream: (
        stream[: len(stream) * 9 // 10] + bytes(len(stream) - len(stream) * 9 // 10 - 2) + END
    ),
    "noise instead": lambda stream: stream[: len(stream) // 2] + NOISE[: len(stream) // 2] + END,
}


def a_jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def a_stream(syntax: str) -> bytes:
    if syntax == JPEG_BASELINE:
        return a_jpeg(speckle())
    dataset = a_dataset()
    options: dict[str, Any] = {"j2k_cr": [8]} if syntax == SYNTAXES["lossy JPEG 2000"] else {}
    dataset.compress(UID(syntax), generate_instance_uid=False, **options)
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


def a_file(streams: list[bytes], syntax: str) -> bytes:
    frames = np.stack([speckle()] * len(streams)) if len(streams) > 1 else speckle()
    dataset = a_dataset(frames)
    dataset.PixelData = encapsulate(streams)
    dataset["PixelData"].is_undefined_length = True
    return written(dataset, syntax)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
def test_a_cut_frame_is_refused_by_what_it_is(syntax: str, cut: Any) -> None:
    whole = a_stream(syntax)
    ingest(a_file([whole], syntax), LIMIT_PIXELS)
    with pytest.raises(FrameUnreadable, match=r"frame is .*or damaged"):
        ingest(a_file([cut(whole)], syntax), LIMIT_PIXELS)


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
def test_the_other_frames_of_a_cine_are_read_and_the_loss_is_said(syntax: str, place: int) -> None:
    streams = [a_stream(syntax)] * 4
    streams[place] = CUTS["cut and closed"](streams[place])
    data = a_file(streams, syntax)
    read = ingest_frames(data, LIMIT_PIXELS)
    assert [picture.info.frame for picture in read.frames] == [n for n in range(4) if n != place]
    for info in (read.image.info, *(picture.info for picture in read.frames)):
        assert f"left out (counted from 0: {place})" in info.conversions[-1]
    with pytest.raises(FrameUnreadable, match=f"Frame {place} "):
        ingest(data, LIMIT_PIXELS, place)


def test_a_cine_without_a_whole_frame_is_refused() -> None:
    cut = CUTS["cut"](a_stream(JPEG_BASELINE))
    with pytest.raises(ImageUnreadable, match=r"Frame 0 .* of its 120 lines"):
        ingest_frames(a_file([cut] * 3, JPEG_BASELINE), LIMIT_PIXELS)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_the_same_stream_as_a_jpeg_is_refused_alike(cut: Any) -> None:
    whole = a_stream(JPEG_BASELINE)
    ingest(whole, LIMIT_PIXELS)
    with pytest.raises(
        ImageUnreadable,
        match=r"JPEG is damaged or cut short: (only|after|it goes on) .* (lines|code|damaged)",
    ):
        ingest(cut(whole), LIMIT_PIXELS)


@pytest.mark.parametrize("pixels", [speckle(), np.dstack([speckle()] * 3)], ids=["grey", "colour"])
def test_a_progressive_stream_must_hold_all_of_all_scans(pixels: np.ndarray) -> None:
    whole = a_jpeg(pixels, progressive=True)
    check_complete(whole)
    starts = [at for at in range(len(whole)) if whole.startswith(b"\xff\xda", at)]
    assert len(starts) > 3
    for at in (*starts, *(start + 20 for start in starts), len(whole) - 40):
        with pytest.raises(JpegCut):
            check_complete(whole[:at] + END)
    for cut in CUTS.values():
        with pytest.raises(JpegCut):
            check_complete(cut(whole))


@pytest.mark.parametrize("table", [True, False])
def test_frames_of_several_fragments_are_told_apart_by_how_they_begin(table: bool) -> None:
    streams = [a_jpeg(np.roll(speckle(), 9 * n, axis=1)) for n in range(4)]
    streams[1] = streams[1][: len(streams[1]) // 4 * 2]
    dataset = a_dataset(np.stack([speckle()] * 4))
    dataset.PixelData = encapsulate(streams, 3, table)
    dataset["PixelData"].is_undefined_length = True
    found = ingest_frames(written(dataset, JPEG_BASELINE), LIMIT_PIXELS).frames
    assert [picture.info.frame for picture in found] == [0, 2, 3]


def test_a_cine_of_which_most_is_lost_is_refused() -> None:
    whole = a_stream(JPEG_BASELINE)
    with pytest.raises(FrameUnreadable, match="Of 4 frames that were read, 3 are cut short"):
        ingest_frames(a_file([whole] + [CUTS["cut"](whole)] * 3, JPEG_BASELINE), LIMIT_PIXELS)


COLOUR = np.stack([speckle(), speckle()[::-1], speckle()[:, ::-1]], axis=2)
FORMS: dict[str, dict[str, Any]] = {
    "grey": {},
    "4:2:0": {"subsampling": 2},
    "4:2:2": {"subsampling": 1},
    "4:4:4": {"subsampling": 0},
    "restarts": {"subsampling": 2, "restart_marker_rows": 1},
    "many restarts": {"subsampling": 0, "restart_marker_blocks": 3},
    "own tables": {"subsampling": 2, "optimize": True},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("size", [(120, 160), (113, 151), (17, 16)])
def test_every_mcu_of_a_stream_is_counted(form: dict[str, Any], size: tuple[int, int]) -> None:
    pixels = COLOUR if form else speckle()
    stream = a_jpeg(pixels[: size[0], : size[1]], **form)
    check_complete(stream)
    check_complete(stream + bytes(3))
    end = stream.rindex(END)
    for lost in (8, 30, 200):
        with pytest.raises(JpegCut):
            check_complete(stream[: end - lost] + END)
