"""Pixels, masks, boxes and points of a training image move together."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from specialists.letterbox import letterbox, resize
from specialists.manifest import GeometryPolicy
from specialists.training.augmentation.augment import (
    identity_affine,
    make_batch,
    move_box,
    policy_of,
    random_affine,
)
from specialists.training.augmentation.tone import change_tone
from specialists.training.data.pack import Pack
from specialists.training.data.tables import Sample

SIDE_PX = 96
CENTRE = np.array([70.0, 40.0])
RADIUS_PX = 14.0


def policy(**changes: bool | float) -> GeometryPolicy:
    values = {"hflip": True, "vflip": True, "rotate_deg": 20.0, "x_scale": 1.4, **changes}
    return GeometryPolicy.model_validate(values)


def a_pack() -> Pack:
    """One 90 × 120 image with a bright disc, its mask, its box and its centre as a point."""
    y, x = np.mgrid[:90, :120] + 0.5
    disc = ((x - CENTRE[0]) ** 2 + (y - CENTRE[1]) ** 2 < RADIUS_PX**2).astype(np.uint8)
    box = letterbox(90, 120, SIDE_PX)
    low, high = CENTRE - RADIUS_PX, CENTRE + RADIUS_PX
    sample = Sample(
        path=Path("disc.png"),
        dataset="drawn",
        group="g",
        split="train",
        masks={"mask": Path("mask.png")},
        classes={"class": 1},
        boxes={"box": (low[0], low[1], high[0], high[1]), "none": None},
        points={"points": np.array([CENTRE, [np.nan, np.nan]])},
    )
    return Pack(
        side_px=SIDE_PX,
        samples=[sample],
        images=resize(disc * 200 + 20, box)[None],
        boxes=[box],
        masks={"mask": {0: resize(disc, box, nearest=True)}},
    )


def centroid(shape: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    centres = np.arange(shape.shape[0]) + 0.5
    found: npt.NDArray[np.float64] = np.array([shape.sum(0) @ centres, shape.sum(1) @ centres])
    found /= shape.sum()
    return found


@pytest.mark.parametrize("side", [64, 96, 128])
@pytest.mark.parametrize("seed", range(12))
def test_mask_image_and_box_stay_on_the_moved_point(seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    affine = random_affine(rng, policy(), side, SIDE_PX)
    batch = make_batch(a_pack(), np.array([0]), affine[None], side)
    point = batch.points["points"][0, 0].numpy() * side
    if not np.isfinite(point).all() or not (point > side / 4).all() or (point > side * 0.75).any():
        return  # the disc is cut
    bright = (batch.images[0, 0].double().numpy() > 0.5).astype(float)
    assert centroid(batch.masks["mask"][0].double().numpy()) == pytest.approx(point, abs=0.7)
    assert centroid(bright) == pytest.approx(point, abs=0.7)
    low, high = batch.boxes["box"][0].numpy().reshape(2, 2) * side
    assert (low + high) / 2 == pytest.approx(point, abs=0.1)
    rows, columns = np.nonzero(batch.masks["mask"][0].numpy())
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.concatenate([low, high]) == pytest.approx(seen, abs=1.2)


def test_the_identity_changes_nothing() -> None:
    pack = a_pack()
    batch = make_batch(pack, np.array([0]), identity_affine(SIDE_PX, SIDE_PX)[None], SIDE_PX)
    assert (batch.images[0, 0] * 255).numpy() == pytest.approx(
        pack.images[0] * batch.field[0, 0].numpy(), abs=0.01
    )
    assert (batch.masks["mask"][0].numpy() == pack.masks["mask"][0]).all()
    moved = pack.boxes[0].to_network(CENTRE) / SIDE_PX
    assert batch.points["points"][0, 0].numpy() == pytest.approx(moved, abs=1e-6)
    radius = RADIUS_PX * pack.boxes[0].scale / SIDE_PX
    expected = np.concatenate([moved - radius, moved + radius])
    assert batch.boxes["box"][0].numpy() == pytest.approx(expected, abs=1e-6)
    assert batch.classes["class"].tolist() == [1]


def test_half_the_size_is_half_of_everything() -> None:
    batch = make_batch(a_pack(), np.array([0]), identity_affine(48, SIDE_PX)[None], 48)
    moved = a_pack().boxes[0].to_network(CENTRE) / SIDE_PX
    assert batch.points["points"][0, 0].numpy() == pytest.approx(moved, abs=1e-6)
    assert centroid(batch.masks["mask"][0].double().numpy()) == pytest.approx(moved * 48, abs=0.5)


def test_what_is_missing_stays_missing() -> None:
    batch = make_batch(a_pack(), np.array([0]), identity_affine(64, SIDE_PX)[None], 64)
    assert batch.points["points"][0, 1].isnan().all()
    assert batch.boxes["none"][0].isnan().all()


def test_what_moves_out_of_the_square_becomes_missing() -> None:
    away = identity_affine(64, SIDE_PX)
    away[:, 2] = 90  # only the lower right corner of the pack is left
    batch = make_batch(a_pack(), np.array([0]), away[None], 64)
    assert batch.points["points"][0, 0].isnan().all()
    assert batch.boxes["box"][0].isnan().all()
    assert (batch.masks["mask"] == 0).all()


def test_a_row_belongs_to_the_image_that_has_the_label() -> None:
    pack = a_pack()
    pack.samples.append(
        Sample(path=Path("b"), dataset="b", group="g", split="train", classes={"class": 0})
    )
    pack.images = np.repeat(pack.images, 2, axis=0)
    pack.boxes *= 2
    affines = np.repeat(identity_affine(64, SIDE_PX)[None], 3, axis=0)
    batch = make_batch(pack, np.array([1, 0, 1]), affines, 64)
    assert batch.rows["mask"].tolist() == [1]
    assert batch.rows["class"].tolist() == [0, 1, 2]
    assert batch.classes["class"].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("hflip", "vflip"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_an_image_is_mirrored_only_where_the_policy_allows(hflip: bool, vflip: bool) -> None:
    rng = np.random.default_rng(0)
    allowed = policy(hflip=hflip, vflip=vflip)
    maps = np.array([random_affine(rng, allowed, 64, SIDE_PX) for _ in range(200)])
    assert (maps[:, 0, 0] < 0).any() == hflip
    assert (maps[:, 1, 1] < 0).any() == vflip


def test_turning_and_stretching_stay_within_the_policy() -> None:
    rng = np.random.default_rng(0)
    allowed = policy(hflip=False, vflip=False, rotate_deg=10.0, x_scale=1.3)
    for _ in range(200):
        turned = random_affine(rng, allowed, SIDE_PX, SIDE_PX)[:, :2]
        values = np.linalg.svd(np.linalg.inv(turned))[1]
        assert values[0] / values[1] <= 1.3 + 1e-9
        turn = np.degrees(np.arctan2(turned[0, 1] - turned[1, 0], turned[0, 0] + turned[1, 1]))
        assert abs(turn) <= 10.0 + 1.5  # a stretch turns what is left by a little
    still = policy(hflip=False, vflip=False, rotate_deg=0.0, x_scale=1.0)
    matrix = random_affine(rng, still, SIDE_PX, SIDE_PX)[:, :2]
    assert matrix == pytest.approx(np.eye(2) * matrix[0, 0])


def test_several_tasks_of_one_image_allow_only_what_all_allow() -> None:
    both = policy_of([policy(rotate_deg=5.0), policy(hflip=False, x_scale=1.1)])
    assert both == policy(rotate_deg=5.0, hflip=False, x_scale=1.1)


def test_a_box_cut_to_less_than_half_is_missing() -> None:
    corners = np.array([[10.0, 10.0], [30.0, 30.0]])
    shifts = {40.0: True, 75.0: False}  # 64 px wide: whole, and cut to less than half
    for shift, there in shifts.items():
        moved = move_box(corners, np.array([[1.0, 0.0, shift - 10], [0.0, 1.0, 0.0]]), 64)
        assert np.isfinite(moved).all() == there
        assert np.isnan(moved).all() == (not there)


@pytest.mark.parametrize("seed", range(5))
def test_tone_leaves_padding_black_and_values_in_range(seed: int) -> None:
    images, field = torch.rand(4, 1, 64, 64), torch.ones(4, 1, 64, 64)
    field[..., :10] = 0
    changed = change_tone(images * field, field, np.random.default_rng(seed))
    assert changed.shape == images.shape
    assert (changed[field == 0] == 0).all()
    assert 0 <= changed.min() <= changed.max() <= 1
    assert torch.equal(changed, change_tone(images * field, field, np.random.default_rng(seed)))
