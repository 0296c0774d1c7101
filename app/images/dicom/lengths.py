"""What the length of uncompressed PixelData, and the places of its values, say of its header."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from app.errors import ImageUnreadable
from app.images.dicom.grey import roughness

GREY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
ONE_SAMPLE = (*GREY, PALETTE)

_CHROMA_WITHIN = 16
_MOST = 0.75
"""Share of a frame's pixels without colour that settles how its samples are ordered.

Where two of three channels do not change, two thirds look so in the wrong order too.
"""

_MARGIN = 0.2
"""How much larger that share is in the right order than in the wrong one."""

_PLAINLY = 0.5
"""Ratio of steps between rows below which the other side is the frame's width."""

_ALIKE = 3
"""Ratio of steps down to steps across that a picture of the right width has at most."""

_SAMPLE = 1 << 20

_Form = tuple[str, int, int]
"""Photometric interpretation, samples per pixel, bits allocated."""


def samples_of(photometric: str) -> int:
    """Return the samples per pixel that a photometric interpretation has."""
    return 1 if photometric in ONE_SAMPLE else 3


def frame_bytes(dataset: Dataset, form: _Form | None = None) -> int:
    """Return the number of bytes of one uncompressed frame; `form` replaces what is stated."""
    photometric, samples, allocated = form or (
        str(dataset.PhotometricInterpretation),
        int(dataset.SamplesPerPixel),
        int(dataset.BitsAllocated),
    )
    each = 2 if photometric == "YBR_FULL_422" else samples
    return int(dataset.Rows) * int(dataset.Columns) * each * allocated // 8


def form_by_length(dataset: Dataset, photometric: str) -> tuple[_Form, int] | None:
    """Return the form and number of frames under which PixelData has its length; None: none has.

    What is stated comes first, then one attribute of it is taken for wrong.
    """
    length, stated = len(dataset.PixelData), dataset.get("NumberOfFrames")
    if not (dataset.get("Rows") and dataset.get("Columns")):
        return None
    forms = [form for form in _forms(dataset, photometric) if frame_bytes(dataset, form)]
    for form in forms:
        each = frame_bytes(dataset, form)
        if length - (stated or 1) * each in (0, (stated or 1) * each % 2):
            return form, stated or 1
    known = dataset.get("BitsAllocated", 8) in (8, 16)
    each = frame_bytes(dataset, forms[0]) if forms and known else 0
    rest = dataset.PixelData[(stated or 1) * each :]
    if each and length >= each and length % each in (0, each % 2) and (stated or _varies(rest)):
        return forms[0], length // each
    return None


def check_length(dataset: Dataset, frames: int) -> None:
    """Check that PixelData holds all frames, and no more than padding after them.

    Raises:
        ImageUnreadable: it is shorter; or other Rows or Columns fit its length exactly.
    """
    length, each = len(dataset.PixelData), frame_bytes(dataset)
    needed, rest = frames * each, dataset.PixelData[frames * each :]
    other = len(rest) > 1 and any(
        length % (each // side) == 0 for side in (int(dataset.Rows), int(dataset.Columns))
    )
    if length >= needed and not (other and _varies(rest)):
        return
    raise ImageUnreadable(
        f"PixelData holds {length} bytes, and the stated size needs {needed}; "
        "one of Rows, Columns, NumberOfFrames, SamplesPerPixel, BitsAllocated and "
        "PhotometricInterpretation is not that of its pixels."
    )


def _varies(rest: bytes) -> bool:
    """Return whether what follows the frames is more than one repeated byte, as padding is."""
    return bool(rest.strip(rest[:1]))


def planes_exchanged(dataset: Dataset) -> bool:
    """Return whether samples are plainly ordered in the other way than PlanarConfiguration states.

    Most of an ultrasound screen has no colour: equal channels, or a chroma of 128.
    """
    pixels = int(dataset.Rows) * int(dataset.Columns)
    flat = _first_frame(dataset)[: 3 * pixels]
    if len(flat) < 3 * pixels:
        return False
    orders = [flat.reshape(-1, 3), flat.reshape(3, -1).T]
    if dataset.PlanarConfiguration == 1:
        orders.reverse()
    as_stated, exchanged = (
        max(_colourless(order, ybr=False), _colourless(order, ybr=True)) for order in orders
    )
    return exchanged > max(_MOST, as_stated + _MARGIN)


def sides_exchanged(values: npt.NDArray[np.generic], rows: int, columns: int) -> bool:
    """Return whether Rows and Columns are plainly exchanged: rows of that width do not fit."""
    if rows == columns:
        return False
    down = roughness(values, rows)
    return down < _PLAINLY * roughness(values, columns) and down < _ALIKE * roughness(values, 1) + 1


def first_channel(dataset: Dataset) -> npt.NDArray[np.generic]:
    """Return the first sample of each pixel of an uncompressed file's first frame."""
    frame = _first_frame(dataset)
    if dataset.SamplesPerPixel != 3:
        return frame
    planar = dataset.PlanarConfiguration == 1
    return frame[: len(frame) // 3] if planar else frame[::3]


def _first_frame(dataset: Dataset) -> npt.NDArray[np.generic]:
    allocated = int(dataset.BitsAllocated)
    big = not dataset.file_meta.TransferSyntaxUID.is_little_endian
    kind = "u1" if allocated == 8 else ">u2" if big else "<u2"
    count = min(frame_bytes(dataset), len(dataset.PixelData)) * 8 // allocated
    return np.frombuffer(dataset.PixelData, dtype=kind, count=count)


def _forms(dataset: Dataset, photometric: str) -> Iterator[_Form]:
    """Yield the forms that a header may mean, as it is stated first."""
    stated = dataset.get("BitsAllocated")
    bits = max(dataset.get("BitsStored") or 0, (dataset.get("HighBit") or 0) + 1)
    samples = dataset.get("SamplesPerPixel")
    depths = [stated] if stated in (8, 16) else [16 if bits > 8 else 8]
    others = {
        "YBR_FULL_422": ["YBR_FULL"],
        "YBR_FULL": ["YBR_FULL_422"],
        "": ["RGB", "MONOCHROME2"] if samples == 3 else ["MONOCHROME2", "RGB"],
    }.get(photometric, [])
    kinds = [photometric, *others] if photometric else others
    right = samples_of(kinds[0])
    yield from ((kind, samples_of(kind), depths[0]) for kind in kinds[:1])
    if depths[0] == 16:
        yield kinds[0], right, 8
    elif bits > 8 or _two_bytes(dataset):
        yield kinds[0], right, 16
    yield from ((kind, samples_of(kind), depths[0]) for kind in kinds[1:])
    if right == 3:
        yield "MONOCHROME2", 1, depths[0]
    elif photometric in GREY and (samples == 3 or _triples(dataset)):
        yield "RGB", 3, depths[0]


def _two_bytes(dataset: Dataset) -> bool:
    """Return whether each second byte holds no more than the upper bits of a deeper value."""
    some = np.frombuffer(dataset.PixelData, dtype=np.uint8)[: _SAMPLE // 2 * 2]
    some = some[: len(some) // 2 * 2].reshape(-1, 2)
    if not len(some):
        return False
    first, second = (int(some[:, place].max()) for place in (0, 1))
    return min(first, second) < 16 <= max(first, second)


def _triples(dataset: Dataset) -> bool:
    """Return whether bytes come in equal threes, as grey does in RGB."""
    data = np.frombuffer(dataset.PixelData, dtype=np.uint8)
    return _colourless(data[: len(data) // 3 * 3].reshape(-1, 3), ybr=False) > _MOST


def _colourless(pixels: npt.NDArray[np.generic], ybr: bool) -> float:
    """Return the share of (N, 3) pixels without colour; black ones, which fit anything, aside."""
    some = pixels[:: max(1, len(pixels) // _SAMPLE)].astype(np.int32)
    if ybr:
        return float((np.abs(some[:, 1:] - 128).max(axis=1) <= _CHROMA_WITHIN).mean())
    some = some[some.any(axis=1)]
    if not len(some):
        return 1.0
    return float((some.max(axis=1) - some.min(axis=1) == 0).mean())
