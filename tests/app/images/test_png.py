"""The files of kept pictures: any reader finds the same pixels, and nothing else."""

import io
import struct

import numpy as np
import numpy.typing as npt
import PIL.Image
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.images.png import encode_png
from specialists.phantom.draw import draw

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.tuples(
    st.integers(1, 40), st.integers(1, 40), st.just(3)
)


def chunks(png: bytes) -> list[bytes]:
    """The names of its chunks."""
    names, place = [], 8
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        names.append(png[place + 4 : place + 8])
        place += 12 + length
    assert place == len(png)
    return names


@given(arrays(np.uint8, SHAPES))
def test_pillow_reads_the_same_pixels_and_finds_no_damage(pixels: npt.NDArray[np.uint8]) -> None:
    png = encode_png(pixels)
    PIL.Image.open(io.BytesIO(png)).verify()  # checksums of every chunk
    with PIL.Image.open(io.BytesIO(png)) as picture:
        assert picture.mode == ("L" if pixels.ndim == 2 else "RGB")
        np.testing.assert_array_equal(np.asarray(picture), pixels)
    assert chunks(png) == [b"IHDR", b"IDAT", b"IEND"]


def test_pixels_that_do_not_lie_in_order_are_written_in_order() -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(10, 6).T
    with PIL.Image.open(io.BytesIO(encode_png(pixels))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels)


def test_speckle_takes_little_more_room_than_with_the_best_filter_of_each_row() -> None:
    pixels = draw("breast", seed=1, height_px=400, width_px=400).pixels
    tried = io.BytesIO()
    PIL.Image.fromarray(pixels).save(tried, format="PNG", compress_level=1, compress_type=3)
    assert len(encode_png(pixels)) < 1.25 * len(tried.getvalue())
