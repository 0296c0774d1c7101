"""Intervals from predictions that are off by a known error, by the report's own formulas."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from reports.measure.geometry import area
from reports.measure.head import BPD, CEPHALIC_INDEX, HC, OFD
from reports.measure.intervals import Form
from reports.measure.progression import AOP
from reports.model import Box, NamedPoint
from specialists.engine import Engine
from specialists.errors import Declined
from specialists.image import Image, image_of
from specialists.manifest import Manifest, MeasuredInterval, SpecialistEntry, read_manifest
from specialists.result import RegressResult, Result, SegmentResult
from specialists.training.calibration.intervals import Pairs, fitted, intervals_of, label_of
from specialists.training.data.tables import Sample
from tests.builders import a_component, an_ellipse
from tests.specialists.dataset import Row, write_csv

IMAGES = 36
SIDE_PX = 200
CENTRE = (100.0, 100.0)


class Drawn(Engine):
    """Answers from a table by the image's key; declines where it holds nothing."""

    def __init__(self, manifest: Manifest, answers: Mapping[str, Result]) -> None:
        self.manifest = manifest
        self.answers = answers

    def run(
        self,
        specialist_id: str,
        image: Image,
        roi: Box | None = None,
        tta: bool = False,
    ) -> Result:
        if image.key not in self.answers:
            raise Declined("the image is unlike those of training")
        return self.answers[image.key]


def shipped(name: str) -> SpecialistEntry:
    entry = read_manifest().specialist(name)
    return entry.model_copy(update={"weights": f"{name}.safetensors", "sha256": "0" * 64})


def manifest_of(*entries: SpecialistEntry) -> Manifest:
    return Manifest(models={}, specialists={entry.id: entry for entry in entries})


def save(root: Path, name: str, pixels: np.ndarray) -> tuple[str, Image]:
    path = root / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(pixels).save(path)
    return f"../images/{name}", image_of(pixels)


def an_image_of(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(60, 255, (SIDE_PX, SIDE_PX), np.uint8)


def heads(root: Path, groups: int) -> Drawn:
    """Heads outlined up to 6 % too small or too large, and the first one not at all."""
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    answers: dict[str, Result] = {}
    grid = np.indices((SIDE_PX, SIDE_PX)) + 0.5
    for index in range(IMAGES):
        long, short = rng.uniform(60, 80), rng.uniform(45, 55)
        inside = ((grid[1] - 100) / long) ** 2 + ((grid[0] - 100) / short) ** 2 < 1
        path, image = save(root, f"{index}.png", an_image_of(index))
        mask, _ = save(root, f"{index}_mask.png", inside.astype(np.uint8))
        common: Row = {"image_path": path, "mask_path": mask, "split": "val", "dataset": "drawn"}
        rows.append(common | {"group_id": f"g{index % groups}"})
        off = 1 + rng.uniform(-0.06, 0.06)
        ring = an_ellipse(CENTRE, (long * off, short * off), points=180)
        components = (a_component(label="head", polygons=(ring,)),) if index else ()
        answers[image.key] = SegmentResult(
            specialist="fetal_head", sha256="0" * 64, labels=("head",), components=components
        )
    write_csv(root, "fetal_head", rows)
    return Drawn(manifest_of(shipped("fetal_head")), answers)


def named(found: tuple[MeasuredInterval, ...]) -> dict[str, MeasuredInterval]:
    return {item.measurement: item for item in found}


def test_intervals_are_as_wide_as_the_error_of_the_predictions(tmp_path: Path) -> None:
    engine = heads(tmp_path, groups=18)
    found = named(intervals_of(engine.manifest.specialists["fetal_head"], engine, tmp_path))
    assert list(found) == [HC, BPD, OFD, CEPHALIC_INDEX]  # the age follows from the circumference
    for name in (HC, BPD, OFD):
        item = found[name]
        assert (item.form, item.n, item.groups, item.not_measured) == (Form.RELATIVE, 35, 18, 1)
        assert item.reason is None
        assert (item.low, item.high) == pytest.approx((-0.055, 0.055), abs=0.012)
        assert (item.coverage_low or 0) <= 0.9 <= (item.coverage_high or 0)
        assert "not measured on 1 of 36 with a reference" in item.source
    index = found[CEPHALIC_INDEX]
    assert index.form is Form.ABSOLUTE
    assert -1.5 < (index.low or 0) < 0 < (index.high or 0) < 1.5  # the shape was not changed


def test_too_few_groups_give_no_interval_and_the_reason(tmp_path: Path) -> None:
    engine = heads(tmp_path, groups=7)
    for item in intervals_of(engine.manifest.specialists["fetal_head"], engine, tmp_path):
        assert (item.low, item.high, item.coverage) == (None, None, None)
        assert "come from 7 groups of patients; at least 9" in (item.reason or "")


def test_an_image_that_is_declined_is_not_measured_and_landmarks_give_angles(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    answers: dict[str, Result] = {}
    names = shipped("aop_landmarks").landmarks
    for index in range(IMAGES):
        path, image = save(tmp_path, f"{index}.png", an_image_of(index))
        truth = [(40.0, 50.0), (80.0, 55.0), (140.0, 130.0)]
        row: Row = {"image_path": path, "split": "val", "group_id": f"g{index}", "dataset": "d"}
        rows.append(row | {f"point_{n}_xy": json.dumps(xy) for n, xy in enumerate(truth, 1)})
        if index < 2:
            continue
        moved = [(x, y + rng.normal(0, 2)) for x, y in truth]
        answers[image.key] = RegressResult(
            specialist="aop_landmarks",
            sha256="0" * 64,
            points=tuple(
                NamedPoint(name=name, x=x, y=y) for name, (x, y) in zip(names, moved, strict=True)
            ),
        )
    write_csv(tmp_path, "aop_landmarks", rows)
    engine = Drawn(manifest_of(shipped("aop_landmarks")), answers)
    (item,) = intervals_of(engine.manifest.specialists["aop_landmarks"], engine, tmp_path)
    assert (item.measurement, item.form, item.n, item.not_measured) == (AOP, Form.ABSOLUTE, 34, 2)
    assert item.high is not None
    assert 1 < item.high < 15


def test_a_formula_that_needs_a_specialist_that_is_missing_has_no_interval(tmp_path: Path) -> None:
    entry = shipped("muscle_fascicle")
    engine = Drawn(manifest_of(entry), {})
    found = {item.measurement: item.reason for item in intervals_of(entry, engine, tmp_path)}
    assert found.keys() == {"pennation angle", "fascicle length"}
    for reason in found.values():
        assert "no specialist for mask:aponeurosis was installed" in (reason or "")


def test_a_specialist_that_no_formula_reads_has_no_intervals(tmp_path: Path) -> None:
    entry = shipped("breast_2cls")
    assert intervals_of(entry, Drawn(manifest_of(entry), {}), tmp_path) == ()


def test_a_label_is_outlined_along_its_pixels_edges_the_largest_part_first(tmp_path: Path) -> None:
    mask = np.zeros((80, 120), np.uint8)
    mask[10:20, 10:20] = 1
    mask[40:70, 50:110] = 1
    mask[50:60, 70:80] = 0
    path, image = save(tmp_path, "mask.png", mask)
    sample = Sample(path=tmp_path, dataset="d", group="g", split="val")
    sample.masks["breast_lesion"] = (tmp_path / "csv_files" / path).resolve()
    label = label_of(shipped("breast_lesion"), sample, image)
    assert isinstance(label, SegmentResult)
    sizes = [area(part.polygons) for part in label.components]
    assert sizes == pytest.approx([30 * 60 - 100, 100], rel=0.01)
    assert min(x for x, _ in label.components[0].polygons[0]) == 50


def test_an_interval_that_does_not_hold_on_held_out_groups_is_not_given() -> None:
    rng = np.random.default_rng(0)
    far = np.repeat(rng.normal(0, 100, 8) * np.array([1, 1, 1, 1, 1, 1, 30, 60]), 40)
    groups = [str(index // 40) for index in range(320)]
    item = fitted(AOP, Pairs(errors=list(far), groups=groups, form=Form.ABSOLUTE), {})
    assert (item.low is None) == (item.reason is not None)
    assert item.low is None or (item.coverage_high or 0) >= 0.9
