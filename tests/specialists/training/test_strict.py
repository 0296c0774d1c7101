"""A CSV that cannot be trained on is refused with the lines named, and all problems at once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from specialists.errors import TrainingError
from specialists.manifest import Kind, read_manifest
from specialists.training.commands import prepare
from specialists.training.data.strict import read_task
from specialists.training.data.tables import read_table
from specialists.training.new_task import LEAST, Declared
from tests.shared_data import data_of, needs_data, rows_of
from tests.specialists.dataset import Row, read_csv, write_csv
from tests.specialists.own_dataset import HEIGHT_PX, IMAGES, TASKS, WIDTH_PX, refusal

Change = Callable[[Path, list[dict[str, str]]], object]


def changed(data: Path, task: str, change: Change) -> None:
    rows = read_csv(data, task)
    change(data, rows)
    written: list[Row] = [dict(row) for row in rows]
    write_csv(data, task, written)


def put(row: int, **cells: str) -> Change:
    return lambda _, rows: rows[row].update(cells)


def image_of_row(data: Path, rows: list[dict[str, str]], row: int) -> Path:
    return data / "csv_files" / rows[row]["image_path"]


def mask_of_row(data: Path, rows: list[dict[str, str]], row: int, pixels: np.ndarray) -> None:
    PILImage.fromarray(pixels).save(data / "csv_files" / rows[row]["mask_path"])


def test_data_in_order_is_read_with_its_kind_and_number_of_classes(own: Path) -> None:
    kinds = [Kind.SEGMENT, Kind.CLASSIFY, Kind.DETECT, Kind.REGRESS]
    for (name, (_, classes)), kind in zip(TASKS.items(), kinds, strict=True):
        task = read_task(own, name)
        assert (task.kind, task.classes, task.rows) == (kind, classes, IMAGES)
        assert (task.has_groups, task.has_split) == (True, False)


@pytest.mark.parametrize(
    ("task", "change", "line", "words"),
    [
        ("my_classes", put(4, mask="benign"), 6, "mask is 'benign'"),
        ("my_classes", put(4, mask="1.5"), 6, "a whole number from 0 to 2"),
        ("my_classes", put(0, mask="3"), 2, "mask is '3'"),
        ("my_classes", put(0, mask=""), 2, "mask is ''"),
        ("my_classes", put(3, image_path="../images/none.png"), 5, "none.png is missing"),
        ("my_classes", put(3, image_path="../../../etc/passwd"), 5, "leads out of"),
        ("my_classes", put(3, image_path="/etc/passwd"), 5, "absolute path"),
        ("my_classes", put(3, image_path=""), 5, "image_path is empty"),
        ("my_classes", put(9, image_path="../images/000.png"), 11, "already the image of line 2"),
        ("my_classes", put(9, image_path="../masks/../images/000.png"), 11, "image of line 2"),
        ("my_classes", put(2, task_id="other"), 4, "task_id is 'other'"),
        ("my_classes", put(2, num_classes="4"), 4, "num_classes is '4', but '3' in line 2"),
        ("my_classes", put(2, task_name="detection"), 4, "task_name is 'detection'"),
        ("my_classes", put(0, task_name="guessing"), 2, "task_name is none of segmentation"),
        ("my_classes", put(0, num_classes="many"), 2, "num_classes is 'many'"),
        ("my_classes", put(2, group_id=""), 4, "group_id is empty"),
        ("my_outline", put(2, mask_path=""), 4, "mask_path is empty"),
        ("my_outline", put(2, mask_path="../masks/none.png"), 4, "none.png is missing"),
        ("my_outline", put(2, mask_path="../../out.png"), 4, "mask_path '../../out.png' leads out"),
        ("my_box", put(0, x_min="90", x_max="20"), 2, "inverted or empty"),
        ("my_box", put(0, y_max=str(HEIGHT_PX + 9)), 2, "lies outside its image of 128 × 96 px"),
        ("my_box", put(0, x_min="-9"), 2, "lies outside"),
        ("my_box", put(0, x_min=""), 2, "is not four numbers"),
        ("my_box", put(0, x_min="left"), 2, "is not four numbers"),
        ("my_box", put(0, x_max="inf"), 2, "is not four numbers"),
        ("my_box", put(0, pixel_aspect="40"), 2, "pixel_aspect is '40'"),
        ("my_points", put(0, point_1_xy="[1, 2"), 2, "point_1_xy is '[1, 2'"),
        ("my_points", put(0, point_1_xy="[1, 2, 3]"), 2, "point_1_xy is '[1, 2, 3]'"),
        ("my_points", put(0, point_2_xy=f"[{WIDTH_PX * 1.06}, 5]"), 2, "more than 5% outside"),
        ("my_points", put(0, point_2_xy=f"[5, {-HEIGHT_PX * 0.06}]"), 2, "more than 5% outside"),
        ("my_points", put(0, num_classes="3"), 3, "num_classes is '2'"),
    ],
)
def test_a_bad_row_is_named_by_its_line(
    own: Path, task: str, change: Change, line: int, words: str
) -> None:
    changed(own, task, change)
    message = refusal(own, task)
    assert f"{task}.csv, line {line}: " in message
    assert words in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d, r: image_of_row(d, r, 5).write_bytes(b"not an image"), "cannot be read"),
        (lambda d, r: image_of_row(d, r, 5).write_bytes(b""), "cannot be read"),
        (
            lambda d, r: PILImage.new("CMYK", (WIDTH_PX, HEIGHT_PX)).save(
                image_of_row(d, r, 5), "JPEG"
            ),
            "CMYK",
        ),
        (lambda d, r: mask_of_row(d, r, 5, np.zeros((96, 128), np.uint16)), "of mode I;16"),
        (lambda d, r: turned(image_of_row(d, r, 5)), "EXIF orientation"),
        (lambda d, r: mask_of_row(d, r, 5, np.zeros((96, 127), np.uint8)), "is 127 × 96 px, its"),
        (lambda d, r: mask_of_row(d, r, 5, np.full((96, 128), 2, np.uint8)), "holds the value 2"),
        (lambda d, r: mask_of_row(d, r, 5, np.zeros((96, 128, 3), np.uint8)), "of mode RGB"),
    ],
)
def test_a_bad_file_is_named_by_the_line_of_its_row(own: Path, change: Change, words: str) -> None:
    changed(own, "my_outline", change)
    message = refusal(own, "my_outline")
    assert "my_outline.csv, line 7: " in message
    assert words in message


def turned(path: Path) -> None:
    with PILImage.open(path) as image:
        upright = image.copy()
    exif = PILImage.Exif()
    exif[0x0112] = 6
    upright.save(path, exif=exif)


def test_points_a_little_outside_and_landmarks_that_nobody_marked_are_read(own: Path) -> None:
    changed(own, "my_points", put(0, point_1_xy=f"[{-WIDTH_PX * 0.049}, 4]", point_2_xy=""))
    assert read_task(own, "my_points").rows == IMAGES


def test_a_group_in_two_splits_is_refused_with_both_lines(own: Path) -> None:
    def split(_: Path, rows: list[dict[str, str]]) -> None:
        for index, row in enumerate(rows):
            row["split"] = "val" if index > 26 else "train"

    changed(own, "my_classes", split)
    message = refusal(own, "my_classes")
    assert "line 29: the group 'patient 13' is in val, but in train in line 28" in message


def test_an_unknown_split_is_named(own: Path) -> None:
    changed(own, "my_classes", lambda _, rows: [row.update(split="training") for row in rows])
    assert "line 2: split is 'training'. Write one of train, val, test." in refusal(
        own, "my_classes"
    )


def test_all_problems_are_counted_and_the_first_twenty_shown(own: Path) -> None:
    changed(own, "my_classes", lambda _, rows: [row.update(mask="9") for row in rows[:25]])
    message = refusal(own, "my_classes")
    assert "25 problems, the first 20 of them" in message
    assert message.count("\n") == 20
    assert "line 21:" in message
    assert "line 22:" not in message


def test_different_problems_are_named_together(own: Path) -> None:
    changed(own, "my_box", put(0, x_min="90", x_max="20"))
    changed(own, "my_box", put(3, image_path="../images/none.png"))
    message = refusal(own, "my_box")
    assert "2 problems" in message
    assert "line 2:" in message
    assert "line 5:" in message


@pytest.mark.parametrize("column", ["task_name", "num_classes", "image_path", "mask"])
def test_a_missing_column_is_named(own: Path, column: str) -> None:
    changed(own, "my_classes", lambda _, rows: [row.pop(column) for row in rows])
    assert column in refusal(own, "my_classes")


def test_one_point_column_too_many_is_named(own: Path) -> None:
    changed(own, "my_points", lambda _, rows: [row.update(point_3_xy="") for row in rows])
    assert "a column point_3_xy, but num_classes is 2" in refusal(own, "my_points")


def written(data: Path, content: bytes) -> str:
    (data / "csv_files" / "my_classes.csv").write_bytes(content)
    return refusal(data, "my_classes")


def test_a_file_that_is_no_table_of_commas_says_so(own: Path) -> None:
    path = own / "csv_files" / "my_classes.csv"
    content = path.read_bytes()
    assert "not separated by commas" in written(own, content.replace(b",", b";"))
    assert "not separated by commas" in written(own, content.replace(b",", b"\t"))
    assert "not UTF-8" in written(own, content + b"\xff\xfe")
    assert "lacks the columns task_id" in written(own, b"")
    assert "no row below its header" in written(own, content.splitlines()[0] + b"\n")
    assert "has 2 cells, the header has 6" in written(own, content + b"a,b\n")
    assert "quotation mark" in written(own, content + b'"a\n')
    path.unlink()
    assert "my_classes.csv cannot be read" in refusal(own, "my_classes")


def test_a_mark_of_byte_order_and_windows_line_ends_are_read_alike(own: Path) -> None:
    path = own / "csv_files" / "my_classes.csv"
    plain = path.read_bytes().replace(b"\r\n", b"\n")
    tables = []
    for content in (plain, b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n")):
        path.write_bytes(content)
        prepared = prepare(["my_classes"], own, own / "out", Declared())
        tables.append((prepared.entries, read_table(own, "my_classes").to_csv()))
    assert tables[0] == tables[1]


def test_a_line_is_counted_as_an_editor_does_although_a_cell_holds_a_line_break(own: Path) -> None:
    changed(own, "my_classes", put(0, group_id="a\nb"))
    changed(own, "my_classes", put(4, mask="9"))
    assert "line 7: mask" in refusal(own, "my_classes")


def test_too_few_images_are_refused_with_the_least_number(own: Path) -> None:
    changed(own, "my_classes", lambda _, rows: rows.__delitem__(slice(12, None)))
    assert f"it has 12 images. {LEAST} are the least" in refusal(own, "my_classes")


@pytest.mark.parametrize(("task", "what"), [("my_classes", "class 2"), ("my_box", "empty box")])
def test_a_class_that_one_side_of_the_split_lacks_is_named(own: Path, task: str, what: str) -> None:
    def split(_: Path, rows: list[dict[str, str]]) -> None:
        for index, row in enumerate(rows):
            row["split"] = "val" if index in (0, 1, 2, 3) else "train"

    changed(own, task, split)
    assert f"val has no image with {what}" in refusal(own, task)


def test_a_split_that_is_made_holds_whole_groups_and_every_class_and_never_changes(
    own: Path,
) -> None:
    table = read_table(own, "my_classes")
    val = table[table["split"] == "val"]
    assert 0.15 <= len(val) / IMAGES <= 0.34
    assert set(val["mask"]) == {"0", "1", "2"}
    assert not set(val["group_id"]) & set(table[table["split"] == "train"]["group_id"])
    changed(own, "my_classes", lambda _, rows: rows.reverse())
    again = read_table(own, "my_classes")
    held = set(again[again["split"] == "val"]["image_path"])
    assert held == set(val["image_path"])


def test_without_groups_each_image_is_its_own_and_that_is_said(own: Path) -> None:
    changed(own, "my_classes", lambda _, rows: [row.pop("group_id") for row in rows])
    notes = " ".join(prepare(["my_classes"], own, own / "out", Declared()).notes)
    assert "each image a group of its own" in notes
    assert "There is no group_id column" in notes


@pytest.mark.parametrize("task_id", ["My_Task", "1st", "a-b", "fmc_mine", "../x", "a", ""])
def test_an_id_that_would_not_do_is_refused(own: Path, task_id: str) -> None:
    with pytest.raises(TrainingError, match="cannot be the id"):
        prepare([task_id], own, own / "out", Declared())


def test_a_shipped_id_keeps_its_kind_and_takes_no_options(own: Path) -> None:
    rows = read_csv(own, "my_classes")
    write_csv(own, "breast_lesion", [{**row, "task_id": "breast_lesion"} for row in rows])
    with pytest.raises(TrainingError, match="shipped segment task of 2"):
        prepare(["breast_lesion"], own, own / "out", Declared())
    with pytest.raises(TrainingError, match="Give a task of your own another name"):
        prepare(["breast_lesion"], own, own / "out", Declared(title="Mine"))


def test_a_new_task_is_trained_by_itself(own: Path) -> None:
    with pytest.raises(TrainingError, match="'my_box' is a task of your own"):
        prepare(["my_box", "breast_lesion"], own, own / "out", Declared())


@pytest.mark.parametrize(
    ("labels", "words"),
    [(("a", "b"), "names 2, but"), (("a", "a", "b"), "once"), (("a", "", "b"), "once")],
)
def test_labels_that_do_not_fit_are_refused(own: Path, labels: tuple[str, ...], words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        prepare(["my_classes"], own, own / "out", Declared(labels=labels))


def test_an_entry_follows_from_its_csv_and_what_is_declared(own: Path) -> None:
    plain = prepare(["my_outline"], own, own / "out", Declared()).entries[0]
    assert (plain.labels, plain.title, plain.exams) == (("background", "class_1"), "My outline", ())
    assert plain.provides == ("mask:own_my_outline",)
    named = prepare(["my_outline"], own, own / "out", Declared(labels=("cyst",))).entries[0]
    assert named.labels == ("background", "cyst")
    points = prepare(["my_points"], own, own / "out", Declared()).entries[0]
    assert (points.landmarks, points.labels) == (("point_1", "point_2"), ())
    assert not points.geometry.hflip
    assert prepare(["my_box"], own, own / "out", Declared()).entries[0].absence_known
    still = prepare(["my_box"], own, own / "out", Declared(hflip=False, rotate_deg=0.0)).entries[0]
    assert (still.geometry.hflip, still.geometry.rotate_deg) == (False, 0.0)


def test_a_detector_without_negatives_cannot_say_none_and_that_is_said(own: Path) -> None:
    changed(
        own,
        "my_box",
        lambda _, rows: [row.update(x_min="9", y_min="9", x_max="30", y_max="30") for row in rows],
    )
    prepared = prepare(["my_box"], own, own / "out", Declared())
    assert not prepared.entries[0].absence_known
    assert 'learns no "none"' in " ".join(prepared.notes)


@needs_data
@pytest.mark.parametrize("part", [24, pytest.param(None, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    "task", [e.task_id for e in read_manifest().specialists.values() if not e.id.startswith("fmc_")]
)
def test_the_real_data_passes_the_strict_reading(
    tmp_path: Path, task: str, part: int | None
) -> None:
    rows = rows_of(task)
    some = rows[:: len(rows) // part] if part else rows
    data = data_of(tmp_path / "data", task, some)
    found = read_task(data, task)
    assert (found.has_split, found.rows) == (True, len(some))
