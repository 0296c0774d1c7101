"""The outline of the scanned area, on drawn images and on images without one."""

import numpy as np
import pytest
from scipy import ndimage

from reports.measure.scan_area import DARK, _mostly, edge_distance, scanned_outline
from specialists.phantom.draw import Options, draw
from specialists.phantom.field import FieldShape


@pytest.mark.parametrize("shape", [FieldShape.CONVEX, FieldShape.SECTOR])
@pytest.mark.parametrize("furniture", [False, True])
def test_a_sectors_outline_holds_its_anatomy_and_little_more(
    shape: FieldShape, furniture: bool
) -> None:
    phantom = draw("intrapartum", seed=4, options=Options(field=shape, furniture=furniture))
    outline = scanned_outline(phantom.pixels)
    angle = phantom.truth.aop
    assert outline is not None
    assert angle is not None
    assert edge_distance(angle.tangent, outline) > 10
    assert edge_distance((2, 2), outline) < 0
    assert edge_distance((phantom.truth.width_px - 3, 60), outline) < 0


def test_distances_to_the_edge_are_in_px_and_negative_outside() -> None:
    pixels = np.zeros((200, 300), dtype=np.uint8)
    pixels[40:160, 50:250] = 120
    outline = scanned_outline(pixels)
    assert outline is not None
    assert edge_distance((150, 100), outline) == pytest.approx(60, abs=1)
    assert edge_distance((52, 100), outline) == pytest.approx(2, abs=1)
    assert edge_distance((40, 100), outline) == pytest.approx(-10, abs=1)


def test_an_image_that_is_scanned_to_its_edges_is_outlined_by_them() -> None:
    outline = scanned_outline(np.full((100, 150), 90, dtype=np.uint8))
    assert outline is not None
    assert set(outline) == {(0, 0), (150, 0), (150, 100), (0, 100)}


def test_a_dark_image_and_one_with_only_text_have_no_outline() -> None:
    pixels = np.zeros((200, 300), dtype=np.uint8)
    assert scanned_outline(pixels) is None
    pixels[10:20, 10:60] = 255
    assert scanned_outline(pixels) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (40, 57), (256, 3)])
def test_most_of_the_neighbours_is_the_median_of_them(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(7).integers(0, 2 * DARK, size).astype(np.uint8)
    expected = ndimage.median_filter(pixels, size=3) > DARK
    assert (_mostly(pixels > DARK) == expected).all()
