"""Messages between the service and its DICOM reader process.

No identifying attribute but UIDs has a field, except in `InstanceIdentity`, which is requested only
where the link to the original is kept.
"""

from typing import Literal

from app.images.isolated.framing import Message
from reports.forms.dicom.identity import InstanceIdentity

META_START = b"\x02\x00\x00\x00UL\x04\x00"
"""Start of a file whose preamble was cut off: the length of its meta information (PS3.10 7.1)."""


class Ask(Message):
    """A request to read a frame of the file that follows, or of the last one when `again`.

    `frame` is counted from 0.
    """

    frame: int
    again: bool = False
    limit_pixels: int
    original: bool = False
    """Answer with the identity and no frame; set only by a deployment that keeps the link."""


class RawRegion(Message):
    """An item of SequenceOfUltrasoundRegions as it stands; None where it states nothing usable."""

    x0: int
    y0: int
    x1: int
    y1: int
    spatial_format: int | None
    data_type: int | None
    flags: int | None
    unit_x: int | None
    unit_y: int | None
    delta_x: float | None
    delta_y: float | None


class Header(Message):
    """One frame's size and what its file states about it.

    The payload that comes with it is the frame's (H, W) or (H, W, 3) bytes.
    """

    height_px: int
    width_px: int
    channels: Literal[1, 3]
    frame: int
    frames: int
    sop_class_uid: str
    study_uid: str | None
    series_uid: str | None
    instance_uid: str | None
    regions: tuple[RawRegion, ...]
    pixel_spacing: tuple[float, float] | None
    pixel_aspect: tuple[float, float] | None
    burned_in: Literal["YES", "NO"] | None
    notes: tuple[str, ...]


class Refusal(Message):
    """Why the file is not read: the name of an error in `app.errors` and its message."""

    error: str
    sentence: str


class Answer(Message):
    """A frame, or why there is none; `last` when the reader process ends after it."""

    last: bool = False
    header: Header | None = None
    original: InstanceIdentity | None = None
    refusal: Refusal | None = None
