"""Outlines of rasters run along the borders of their pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from reports.measure.ellipse import ellipse_of
from reports.measure.geometry import area, rasterize
from specialists.errors import TrainingError
from specialists.training.data.masks import largest_rings, mask_rings, read_label_map


def test_a_rectangle_has_its_four_corners() -> None:
    mask = np.zeros((20, 30), bool)
    mask[4:9, 6:17] = True
    ((ring,),) = mask_rings(mask)
    assert set(ring) == {(6, 4), (17, 4), (17, 9), (6, 9)}


def test_components_and_holes_are_apart_and_the_largest_is_found() -> None:
    mask = np.zeros((40, 40), bool)
    mask[0:20, 0:20] = True
    mask[5:8, 5:8] = False
    mask[30:33, 30:33] = True
    found = sorted(mask_rings(mask), key=len)
    assert [len(rings) for rings in found] == [1, 2]
    assert [area(rings) for rings in found] == [9, 400 - 9]
    assert largest_rings(mask) == found[1]
    assert largest_rings(np.zeros_like(mask)) is None


@pytest.mark.parametrize("seed", range(4))
def test_filling_the_outlines_gives_the_mask_back(seed: int) -> None:
    mask = np.random.default_rng(seed).random((24, 31)) > 0.6
    filled = np.zeros_like(mask)
    for rings in mask_rings(mask):
        filled |= rasterize(rings, 31, 24)
    assert (filled == mask).all()


def test_second_moments_are_those_of_the_pixels() -> None:
    y, x = np.mgrid[:60, :80]
    mask = ((x - 40) / 30) ** 2 + ((y - 30) / 18) ** 2 <= 1
    rings = largest_rings(mask)
    assert rings is not None
    ys, xs = np.nonzero(mask)
    variances = np.array([xs.var(), ys.var()]) + 1 / 12  # of each pixel's own square
    ellipse = ellipse_of(rings)
    halves = [ellipse.long.length / 2, ellipse.short.length / 2]
    assert halves == pytest.approx(2 * np.sqrt(variances))


def test_a_mask_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    with pytest.raises(TrainingError, match="no mask"):
        read_label_map(path, (20, 30))
    PILImage.fromarray(np.zeros((10, 12), np.uint8)).save(path)
    with pytest.raises(TrainingError, match=r"10×12 .* 20×30"):
        read_label_map(path, (20, 30))
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(TrainingError, match="cannot be read"):
        read_label_map(path, (10, 12))
