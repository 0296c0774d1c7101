"""Images for schemathesis, so that requests which its schema calls valid are valid.

It runs outside the tests, with nothing of ours installed: the pictures are written by hand.
"""

import struct
import zlib

import schemathesis
from hypothesis import strategies as st

REGION = ("x_min", "y_min", "x_max", "y_max")
FRAME_MAX = 999_999_999
"""The largest number of a frame that the schema allows."""

SIDES_PX = ((16, 16), (120, 160))
"""(height, width); the first is the smallest that is read."""


def a_png(height: int, width: int) -> bytes:
    """Return a grey PNG with a bright square."""
    row = bytes(40 + 100 * (width // 3 < x < width // 2) for x in range(width))
    rows = b"".join(b"\0" + row for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def _fitting(body: dict[str, object]) -> dict[str, object]:
    """Return a body that asks for what these images have.

    That is one frame, and no region, which only some specialists take.
    """
    fitting = {
        name: value
        for name, value in body.items()
        if name not in REGION or type(value) not in (int, float)
    }
    if type(frame := body.get("frame")) is int and 0 < frame <= FRAME_MAX:
        fitting["frame"] = 0
    return fitting


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: object) -> object:
    """Change the bodies that are drawn."""
    return _fitting(body) if isinstance(body, dict) else body


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, object]
) -> None:
    """Change the bodies that the coverage phase makes of a schema's bounds."""
    meta = case.meta
    if meta is None or meta.phase.name.value != "coverage" or not meta.generation.mode.is_positive:
        return
    if isinstance(case.body, dict) and case.body != (fitting := _fitting(case.body)):
        case.body = fitting


schemathesis.openapi.format("binary", st.sampled_from([a_png(*side) for side in SIDES_PX]))
