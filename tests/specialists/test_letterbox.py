"""Points, boxes and pixels go through the letterbox and back without moving."""

import resource

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from specialists.letterbox import letterbox, resize

ASPECTS = st.floats(0.1, 10)
SIDES_PX = st.integers(8, 4000)
SHARES = st.floats(0, 1)


@given(SIDES_PX, SIDES_PX, st.sampled_from([64, 224, 256, 448]), SHARES, SHARES)
def test_a_point_comes_back_from_the_network_where_it_was(
    height_px: int, width_px: int, input_px: int, x: float, y: float
) -> None:
    box = letterbox(height_px, width_px, input_px)
    point = np.array([x * width_px, y * height_px])
    there = box.to_network(point)
    assert (there >= -1e-9).all()
    assert (there <= input_px + 1e-9).all()
    assert box.to_image(there) == pytest.approx(point, abs=1e-6)


@given(SIDES_PX, SIDES_PX, st.tuples(SHARES, SHARES, SHARES, SHARES))
def test_a_box_keeps_its_shape_on_the_way_and_comes_back(
    height_px: int, width_px: int, shares: tuple[float, float, float, float]
) -> None:
    box = letterbox(height_px, width_px, 256)
    corners = np.sort(np.array(shares).reshape(2, 2), axis=0) * [width_px, height_px]
    there = box.to_network(corners)
    assert there[1] - there[0] == pytest.approx((corners[1] - corners[0]) * box.scale, abs=1e-6)
    assert box.to_image(there) == pytest.approx(corners, abs=1e-6)


@given(SIDES_PX, SIDES_PX)
def test_the_field_is_centred_and_fills_the_longer_side(height_px: int, width_px: int) -> None:
    x_min, y_min, x_max, y_max = letterbox(height_px, width_px, 256).field()
    assert (x_min + x_max, y_min + y_max) == pytest.approx((256, 256))
    assert max(x_max - x_min, y_max - y_min) == pytest.approx(256)
    assert (x_max - x_min) * height_px == pytest.approx((y_max - y_min) * width_px)


@settings(max_examples=40)
@example(height_px=54, width_px=860, x_share=0.5, y_share=1.0)
@example(height_px=24, width_px=53, x_share=0.0, y_share=1.0)
@given(st.integers(20, 900), st.integers(20, 900), SHARES, SHARES)
def test_a_drawn_dot_lands_where_the_map_says(
    height_px: int, width_px: int, x_share: float, y_share: float
) -> None:
    box = letterbox(height_px, width_px, 64)
    widest = (min(height_px, width_px) - 1) // 2
    radius = min(max(3, round(2 / box.scale)), widest)  # seen after shrinking, whole in the image
    spread = np.array([width_px, height_px]) - 2 * radius - 1
    column, row = (radius + spread * [x_share, y_share]).astype(int)
    pixels = np.zeros((height_px, width_px), np.uint8)
    pixels[row - radius : row + radius + 1, column - radius : column + radius + 1] = 200
    resized = resize(pixels, box).astype(float)
    centres = np.arange(64) + 0.5
    found = [resized.sum(0) @ centres, resized.sum(1) @ centres] / resized.sum()
    assert found == pytest.approx(box.to_network(np.array([column, row]) + 0.5), abs=0.3)


@settings(max_examples=40)
@example(height_px=20, width_px=492, share=0.5, nearest=False)
@example(height_px=838, width_px=20, share=0.75, nearest=False)
@example(height_px=875, width_px=32, share=0.8, nearest=False)
@example(height_px=427, width_px=20, share=0.75, nearest=True)
@example(height_px=64, width_px=23, share=0.68, nearest=False)
@given(st.integers(20, 900), st.integers(20, 900), st.floats(0.2, 0.8), st.booleans())
def test_a_drawn_edge_lands_where_the_map_says(
    height_px: int, width_px: int, share: float, nearest: bool
) -> None:
    box = letterbox(height_px, width_px, 64)
    edge = round(share * width_px)
    pixels = np.zeros((height_px, width_px), np.uint8)
    pixels[:, edge:] = 200
    x_min, _, x_max, _ = box.field()
    expected = x_max - box.to_network(np.array([edge, 0.0]))[0]
    lit = resize(pixels, box, nearest=nearest)[32].astype(float)
    if nearest:  # as many pixels as have their centres in the lit part
        assert abs((lit > 0).sum() - expected) <= 1
        return
    # A network pixel may be wider than the lit part and is then never as bright as it. So the sum
    # of the light counts, relative to an image that is lit everywhere.
    whole = resize(np.full_like(pixels, 200), box)[32].astype(float)
    found = lit.sum() / whole.sum() * (x_max - x_min)
    assert found == pytest.approx(expected, abs=0.1 if box.scale < 1 else 0.5 + 1e-9)


@settings(max_examples=40)
@given(st.integers(16, 700), st.integers(16, 700), st.integers(0, 2**32 - 1))
def test_nearest_makes_no_label_that_was_not_there(
    height_px: int, width_px: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).choice([0, 3, 7], (height_px, width_px)).astype(np.uint8)
    resized = resize(labels, letterbox(height_px, width_px, 64), nearest=True)
    assert set(np.unique(resized)) <= {0, 3, 7}


@pytest.mark.parametrize("size_px", [(64, 64), (128, 128), (40, 64)])
def test_an_image_of_the_networks_own_scale_is_not_changed(size_px: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size_px, np.uint8)
    box = letterbox(*size_px, max(size_px))
    x_min, y_min, x_max, y_max = (int(side) for side in box.field())
    assert (resize(pixels, box)[y_min:y_max, x_min:x_max] == pixels).all()


@pytest.mark.parametrize("size_px", [(300, 500), (31, 57), (57, 31)])
@pytest.mark.parametrize("nearest", [True, False])
def test_around_the_image_all_is_black(size_px: tuple[int, int], nearest: bool) -> None:
    box = letterbox(*size_px, 64)
    resized = resize(np.full(size_px, 255, np.uint8), box, nearest=nearest)
    centres = np.arange(64) + 0.5
    x_min, y_min, x_max, y_max = box.field()
    assert (resized[(centres < y_min - 1) | (centres > y_max + 1)] == 0).all()
    assert (resized[:, (centres < x_min - 1) | (centres > x_max + 1)] == 0).all()
    assert resized[32, 32] == 255


def test_a_very_long_image_needs_no_square_of_its_length() -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resized = resize(np.full((24_000, 600), 255, np.uint8), letterbox(24_000, 600, 64))
    assert resized[32, 32] > 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 150 * 1024


@pytest.mark.parametrize("size", [(301, 301), (402, 300), (300, 403), (404, 301), (600, 5)])
def test_an_image_is_shrunk_as_pillow_shrinks_grey_along_its_long_side_first(
    size: tuple[int, int],
) -> None:
    height_px, width_px = size
    pixels = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    tall, long = height_px >= width_px, max(size)
    narrow = PILImage.fromarray(pixels).resize(
        (width_px, 64) if tall else (64, height_px), PILImage.Resampling.BILINEAR
    )
    pad = (long - min(size) + 1) // 2
    square = PILImage.new("L", (width_px + 2 * pad, 64) if tall else (64, height_px + 2 * pad))
    square.paste(narrow, (pad, 0) if tall else (0, pad))
    first = pad - (long - min(size)) / 2
    part = (first, 0, first + long, 64) if tall else (0, first, 64, first + long)
    expected = square.resize((64, 64), PILImage.Resampling.BILINEAR, box=part)
    assert (resize(pixels, letterbox(height_px, width_px, 64)) == np.asarray(expected)).all()


@pytest.mark.parametrize("zoom", [0.9, 0.75])
@pytest.mark.parametrize("size_px", [(300, 500), (700, 310), (30, 40), (64, 64)])
def test_a_smaller_view_is_the_same_picture_about_the_middle(
    size_px: tuple[int, int], zoom: float
) -> None:
    plain, box = letterbox(*size_px, 64), letterbox(*size_px, 64, zoom)
    ratio = box.scale / plain.scale
    assert ratio == pytest.approx(zoom, abs=1 / 64)
    corners = np.array([[0.0, 0.0], size_px[::-1]])
    assert box.to_network(corners) == pytest.approx((plain.to_network(corners) - 32) * ratio + 32)
    y, x = np.mgrid[0 : size_px[0], 0 : size_px[1]] + 0.5
    at = np.array([0.6 * size_px[1], 0.35 * size_px[0]])
    reach = 0.2 * min(size_px)
    pixels = np.where((x - at[0]) ** 2 + (y - at[1]) ** 2 < reach**2, 200, 0).astype(np.uint8)
    resized = resize(pixels, box).astype(float)
    centres = np.arange(64) + 0.5
    found = [resized.sum(0) @ centres, resized.sum(1) @ centres] / resized.sum()
    assert found == pytest.approx(box.to_network(at), abs=0.15)
    assert resized.sum() / 200 == pytest.approx(np.pi * (reach * box.scale) ** 2, rel=0.05)


@given(SIDES_PX, SIDES_PX, ASPECTS, SHARES, SHARES)
def test_pixels_that_are_not_square_become_square_and_come_back(
    height_px: int, width_px: int, aspect: float, x: float, y: float
) -> None:
    box = letterbox(height_px, width_px, 256, aspect=aspect)
    x_min, y_min, x_max, y_max = box.field()
    assert (x_min + x_max, y_min + y_max) == pytest.approx((256, 256))
    assert max(x_max - x_min, y_max - y_min) == pytest.approx(256)
    assert (x_max - x_min) * height_px * aspect == pytest.approx((y_max - y_min) * width_px)
    point = np.array([x * width_px, y * height_px])
    assert box.to_image(box.to_network(point)) == pytest.approx(point, abs=1e-6)


@settings(max_examples=60)
@example(height_px=500, width_px=300, aspect=0.6, nearest=False)  # square tissue
@example(height_px=90, width_px=90, aspect=10.0, nearest=False)  # one axis grows, one shrinks
@example(height_px=20, width_px=30, aspect=1.1, nearest=False)  # both grow
@given(st.integers(20, 900), st.integers(20, 900), st.floats(0.3, 3), st.booleans())
def test_a_round_lesion_is_round_to_the_network_whatever_the_pixels(
    height_px: int, width_px: int, aspect: float, nearest: bool
) -> None:
    box = letterbox(height_px, width_px, 64, aspect=aspect)
    y, x = np.mgrid[0:height_px, 0:width_px] + 0.5
    at = np.array([0.5 * width_px, 0.5 * height_px])
    reach = 0.4 * min(width_px, height_px * aspect)
    inside = (x - at[0]) ** 2 + ((y - at[1]) * aspect) ** 2 < reach**2
    resized = resize((inside * 200).astype(np.uint8), box, nearest=nearest).astype(float)
    radius = reach * box.scale
    coarse = 1 + max(box.scales)  # a network pixel, and an image pixel as the network sees it
    for axis in (0, 1):
        lit = resized.sum(axis) / resized.max()
        assert lit.max() == pytest.approx(2 * radius, abs=coarse)
        centre = (lit @ (np.arange(64) + 0.5)) / lit.sum()
        assert centre == pytest.approx(32, abs=0.5 * coarse)


@pytest.mark.parametrize("size_px", [(300, 500), (57, 31), (700, 310), (20, 30)])
@pytest.mark.parametrize("nearest", [True, False])
def test_an_aspect_of_one_changes_no_bit(size_px: tuple[int, int], nearest: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size_px, np.uint8)
    plain, square = letterbox(*size_px, 64), letterbox(*size_px, 64, aspect=0.1 / 0.1)
    assert plain == square
    assert (resize(pixels, plain, nearest=nearest) == resize(pixels, square, nearest=nearest)).all()


def test_a_long_image_of_flat_pixels_needs_no_square_of_its_length() -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resized = resize(np.full((24_000, 600), 255, np.uint8), letterbox(24_000, 600, 64, aspect=10.0))
    assert resized[32, 32] > 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 150 * 1024
