"""Messages between the service and its process that finds burned-in text.

What was read never leaves that process; only where it stands does.
"""

from typing import Literal

from app.images.isolated.framing import Message

GaveUp = Literal["memory", "failure"]
"""Why a search gave up: it needed more memory than one picture may take, or it failed."""

PixelBox = tuple[int, int, int, int]
"""x_min, y_min, x_max, y_max in pixels of the picture, half-open."""


class Search(Message):
    """A request to search the picture that follows, (H, W) or (H, W, 3) bytes."""

    height_px: int
    width_px: int
    channels: Literal[1, 3]


class Found(Message):
    """The places to blacken, or why there is no answer; `last` where the process ends."""

    boxes: tuple[PixelBox, ...] = ()
    gave_up: GaveUp | None = None
    last: bool = False
