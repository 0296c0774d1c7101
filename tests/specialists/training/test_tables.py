"""Rows of FMC-UIA style CSV files become typed samples, or an error that names what is wrong."""

from pathlib import Path

import numpy as np
import pytest

from specialists.errors import TrainingError
from specialists.manifest import read_manifest
from specialists.training.commands import tasks_in
from specialists.training.data.pack import build_pack
from specialists.training.data.readable import read_grey
from specialists.training.data.tables import Sample, read_samples
from tests.shared_data import SHARED, data_of, known_rows, needs_data, rows_of
from tests.specialists.dataset import BIRTH, BREAST, read_csv, write_csv
from tests.specialists.nets import KINDS

TASKS = tuple(KINDS.values())


def samples_of(data: Path, *tasks: str, split: str | None = None) -> list[Sample]:
    return read_samples(data, [read_manifest().specialist(name) for name in tasks], split)


def test_each_image_is_one_sample_with_all_its_labels(drawn_data: Path) -> None:
    samples = samples_of(drawn_data, *TASKS)
    assert len(samples) == BREAST + BIRTH
    benign, malignant, normal = samples[:3] if samples[0].masks else []
    assert set(benign.boxes) == {"breast_lesion_det"}
    assert set(benign.masks) == {"breast_lesion"}
    assert (benign.classes, malignant.classes) == ({"breast_2cls": 0}, {"breast_2cls": 1})
    assert (normal.classes, normal.boxes) == ({}, {"breast_lesion_det": None})


def test_points_keep_their_order_and_a_missing_one_is_missing(drawn_data: Path) -> None:
    first, second = samples_of(drawn_data, "aop_landmarks")[:2]
    assert np.isfinite(first.points["aop_landmarks"]).all(1).tolist() == [True, True, False]
    assert np.isfinite(second.points["aop_landmarks"]).all()
    assert second.columns["aop_deg"] > 0


def test_a_split_holds_whole_groups(drawn_data: Path) -> None:
    train, val = (samples_of(drawn_data, *TASKS, split=name) for name in ("train", "val"))
    assert len(train) + len(val) == BREAST + BIRTH
    assert not {s.group for s in train} & {s.group for s in val}
    assert {s.split for s in val} == {"val"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"breast_2cls\.csv"):
        samples_of(tmp_path, "breast_2cls")


@pytest.mark.parametrize("content", [b"", b'a,b\n"1,2\n3,4,5\n', b"a\n\xff\xfe\n"])
def test_a_file_that_is_no_table_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "csv_files" / "breast_2cls.csv"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"breast_2cls\.csv"):
        samples_of(tmp_path, "breast_2cls")


@pytest.mark.parametrize(
    ("task", "column"),
    [
        ("breast_2cls", "image_path"),
        ("breast_2cls", "mask"),
        ("breast_lesion", "mask_path"),
        ("breast_lesion_det", "x_max"),
        ("aop_landmarks", "point_3_xy"),
    ],
)
def test_a_missing_column_is_named(data: Path, task: str, column: str) -> None:
    rows = [{k: v for k, v in row.items() if k != column} for row in read_csv(data, task)]
    write_csv(data, task, [dict(row) for row in rows])
    with pytest.raises(TrainingError, match=rf"{task}\.csv.*{column}"):
        samples_of(data, task)


@pytest.mark.parametrize(
    ("task", "column", "value"),
    [
        ("breast_2cls", "mask", "benign"),
        ("breast_2cls", "mask", ""),
        ("breast_2cls", "mask", "2"),
        ("breast_2cls", "mask", "-1"),
        ("breast_lesion_det", "x_min", "left"),
        ("aop_landmarks", "point_1_xy", "[1, 2"),
        ("aop_landmarks", "point_1_xy", "[1, 2, 3]"),
    ],
)
def test_a_label_that_cannot_be_read_is_named_with_its_image(
    data: Path, task: str, column: str, value: str
) -> None:
    rows = read_csv(data, task)
    rows[1][column] = value
    write_csv(data, task, [dict(row) for row in rows])
    with pytest.raises(TrainingError, match=rf"{task}\.csv.*{Path(rows[1]['image_path']).name}"):
        samples_of(data, task)


def test_an_image_in_two_splits_is_refused(data: Path) -> None:
    rows = read_csv(data, "breast_2cls")
    rows[0]["split"] = "val" if rows[0]["split"] == "train" else "train"
    write_csv(data, "breast_2cls", [dict(row) for row in rows])
    with pytest.raises(TrainingError, match="two splits"):
        samples_of(data, "breast_lesion", "breast_2cls")


def test_only_tasks_with_a_csv_are_trained_and_never_the_challenges(drawn_data: Path) -> None:
    found = tasks_in(drawn_data, list(read_manifest().specialists.values()))
    assert {entry.id for entry in found} == set(TASKS)


def test_an_unreadable_image_stops_the_training_and_is_named(data: Path) -> None:
    samples = samples_of(data, "breast_lesion")
    samples[1].path.write_bytes(samples[1].path.read_bytes()[:200])
    with pytest.raises(TrainingError, match=samples[1].path.name):
        build_pack(samples, 32)


def test_an_altered_image_is_an_error_that_names_it(data: Path) -> None:
    path = samples_of(data, "breast_lesion")[0].path
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=path.name):
        read_grey(path)


@pytest.mark.parametrize("change", ["missing", "other size"])
def test_a_mask_that_does_not_fit_its_image_is_named(data: Path, change: str) -> None:
    samples = samples_of(data, "breast_lesion")
    mask, other = (samples[i].masks["breast_lesion"] for i in (0, 1))
    mask.unlink() if change == "missing" else mask.write_bytes(other.read_bytes())
    with pytest.raises(TrainingError, match=f"{mask.parent.name}/{mask.name}"):
        build_pack(samples, 32)


def test_a_pack_holds_images_and_masks_in_their_letterbox(drawn_data: Path) -> None:
    samples = samples_of(drawn_data, "breast_lesion", "head_symphysis_multi")
    pack = build_pack(samples, 64)
    assert pack.images.shape == (BREAST + BIRTH, 64, 64)
    assert pack.sources() == {
        "Two/drawn": list(range(BREAST)),
        "Three/drawn": list(range(BREAST, BREAST + BIRTH)),
    }
    assert set(pack.masks["breast_lesion"]) == set(range(BREAST))
    assert {int(v) for v in np.unique(pack.masks["head_symphysis_multi"][BREAST])} == {0, 1, 2}


def put_aspects(data: Path, *aspects: str) -> None:
    """Give the rows of the breast's outlines those pixel aspects, in turn."""
    path = data / "csv_files" / "breast_lesion.csv"
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    lines = [f"{row},{aspects[n % len(aspects)]}" for n, row in enumerate(rows)]
    path.write_text("\n".join([f"{head},pixel_aspect", *lines]) + "\n", encoding="utf-8")


def test_a_pack_holds_square_tissue_where_the_table_states_the_pixels_aspect(data: Path) -> None:
    plain = build_pack(samples_of(data, "breast_lesion"), 64)
    put_aspects(data, "0.5", "", "1")
    pack = build_pack(samples_of(data, "breast_lesion"), 64)
    assert [box.aspect for box in pack.boxes[:3]] == [0.5, 1.0, 1.0]
    x_min, y_min, x_max, y_max = pack.boxes[0].field()
    height, width = plain.boxes[0].height_px, plain.boxes[0].width_px
    assert (y_max - y_min) / (x_max - x_min) == pytest.approx(height * 0.5 / width)
    for index in (1, 2):
        assert (pack.images[index] == plain.images[index]).all()
        label = "breast_lesion"
        assert (pack.masks[label][index] == plain.masks[label][index]).all()
    outside = pack.images[0][: int(y_min) - 1]
    assert not outside.any()


@pytest.mark.parametrize("stated", ["0", "-1", "40", "inf", "wide", "1:1"])
def test_an_aspect_that_no_pixel_has_is_refused_by_name(data: Path, stated: str) -> None:
    put_aspects(data, stated)
    with pytest.raises(TrainingError, match="pixel_aspect is"):
        samples_of(data, "breast_lesion")


@needs_data
def test_every_row_of_the_real_data_that_a_specialist_knows_is_read(tmp_path: Path) -> None:
    entries = tasks_in(SHARED, list(read_manifest().specialists.values()))
    assert {entry.id for entry in entries} >= set(TASKS)
    samples: list[Sample] = []
    for entry in entries:
        rows = known_rows(entry) if entry.installed else rows_of(entry.task_id)
        data = data_of(tmp_path / entry.id, entry.task_id, rows)
        samples += read_samples(data, [entry], None)
    assert {s.split for s in samples} == {"train", "val"}
    groups: dict[str, set[str]] = {}
    for sample in samples:
        groups.setdefault(sample.group, set()).add(sample.split)
    assert all(len(splits) == 1 for splits in groups.values())
    assert all(sample.path.exists() for sample in samples)
