"""What other tools write into a table and its images is read as the service does, or refused."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from PIL import Image as PILImage

from specialists.errors import PictureRejected, TrainingError
from specialists.pictures.decode import decode, luma
from specialists.training.commands import prepare
from specialists.training.data.readable import LIMIT_PIXELS, read_grey
from specialists.training.data.strict import read_task
from specialists.training.data.tables import read_samples, read_table
from specialists.training.new_task import Declared
from tests.specialists.dataset import Row, read_csv, write_csv
from tests.specialists.own_dataset import HEIGHT_PX, IMAGES, WIDTH_PX, refusal

CORNERS = ("x_min", "y_min", "x_max", "y_max")


def changed(data: Path, task: str, change: Callable[[int, dict[str, str]], object]) -> None:
    rows = read_csv(data, task)
    for index, row in enumerate(rows):
        change(index, row)
    written: list[Row] = [dict(row) for row in rows]
    write_csv(data, task, written)


@pytest.mark.parametrize("name", ["NA", "N/A", "nan", "NULL", "None", "-nan", "<NA>", "01", "1e3"])
def test_a_group_of_any_name_is_a_group(own: Path, name: str) -> None:
    changed(own, "my_classes", lambda i, row: row.update(group_id=name) if i < 2 else None)
    prepared = prepare(["my_classes"], own, own / "out", Declared())
    samples = read_samples(own, prepared.entries, None)
    assert [sample.group for sample in samples[:3]] == [name, name, "patient 1"]
    assert len({sample.split for sample in samples[:2]}) == 1


@pytest.mark.parametrize("name", ["NA", "nan", "null"])
def test_a_missing_value_of_another_tool_is_no_label(own: Path, name: str) -> None:
    changed(own, "my_classes", lambda i, row: row.update(mask=name) if i == 3 else None)
    assert f"line 5: mask is {name!r}" in refusal(own, "my_classes")
    changed(own, "my_box", lambda i, row: row.update(dict.fromkeys(CORNERS, name)))
    assert "is not four numbers" in refusal(own, "my_box")


def test_a_table_is_read_alike_by_check_and_training(own: Path) -> None:
    for task in ("my_outline", "my_classes", "my_box", "my_points"):
        table = read_table(own, task)
        assert list(table["image_path"]) == list(read_task(own, task).labels)
    path = own / "csv_files" / "my_classes.csv"
    path.write_bytes(path.read_bytes() + b"a,b\n")
    with pytest.raises(TrainingError, match="has 2 cells"):
        read_table(own, "my_classes")


def shares(_: int, row: dict[str, str]) -> None:
    if row["x_min"]:
        for name, side in zip(CORNERS, (WIDTH_PX, HEIGHT_PX) * 2, strict=True):
            row[name] = str(float(row[name]) / side)


def test_boxes_in_shares_of_the_image_are_refused_once(own: Path) -> None:
    changed(own, "my_box", shares)
    message = refusal(own, "my_box")
    assert "my_box.csv: every box is smaller than a pixel. Coordinates are pixels" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("box", [(0.2, 0.3, 0.6, 0.8), (0, 0, 1, 1), (5, 5, 5.5, 40)])
def test_one_box_smaller_than_a_pixel_is_named_by_its_line(
    own: Path, box: tuple[float, float, float, float]
) -> None:
    said = dict(zip(CORNERS, map(str, box), strict=True))
    changed(own, "my_box", lambda i, row: row.update(said) if i == 4 else None)
    message = refusal(own, "my_box")
    assert "my_box.csv, line 6: the box (" in message
    assert "is smaller than a pixel" in message


@pytest.mark.parametrize("text", ["[-1, -1]", "[-1.0,-1.0]"])
def test_what_marks_no_point_is_named_by_its_line(own: Path, text: str) -> None:
    changed(own, "my_points", lambda i, row: row.update(point_2_xy=text) if i == 7 else None)
    assert "line 9: point_2_xy is [-1, -1], which marks nothing" in refusal(own, "my_points")


@pytest.mark.parametrize("text", ["[0, 0]", "[0.4, 0.7]", "[1, 0]"])
def test_points_at_the_corner_in_many_rows_are_refused(own: Path, text: str) -> None:
    changed(own, "my_points", lambda i, row: row.update(point_2_xy=text) if i % 6 == 0 else None)
    message = refusal(own, "my_points")
    assert "line 2: point_2_xy lies within a pixel of the upper left corner, as in 6 of" in message


@pytest.mark.parametrize("text", ["[1" + "0" * 400 + ", 1]", "[" * 100_000])
def test_numbers_beyond_all_bounds_are_no_point_and_are_not_repeated(own: Path, text: str) -> None:
    changed(own, "my_points", lambda i, row: row.update(point_2_xy=text) if i == 7 else None)
    message = refusal(own, "my_points")
    assert "line 9: point_2_xy is '[1" in message or "point_2_xy is '[[" in message
    assert len(message) < 400


def test_a_mask_that_is_a_jpeg_and_an_image_under_two_names_are_refused(own: Path) -> None:
    mask = own / "masks" / "as_jpeg.jpg"
    mask.parent.mkdir(exist_ok=True)
    PIL.Image.new("L", (WIDTH_PX, HEIGHT_PX)).save(mask)
    at = "../masks/as_jpeg.jpg"
    changed(own, "my_outline", lambda i, row: row.update(mask_path=at) if i == 2 else None)
    assert "is a JPEG, which does not keep its values" in refusal(own, "my_outline")
    rows = list(read_table(own, "my_classes")["image_path"])
    link = own / "images" / "again.png"
    link.symlink_to((own / "csv_files" / rows[0]).resolve())
    again = "../images/again.png"
    changed(own, "my_classes", lambda i, row: row.update(image_path=again) if i == 5 else None)
    assert "again.png is already the image of line 2" in refusal(own, "my_classes")


def test_one_point_at_the_corner_may_be_right(own: Path) -> None:
    changed(own, "my_points", lambda i, row: row.update(point_2_xy="[0, 0]") if i == 0 else None)
    assert read_task(own, "my_points").rows == IMAGES


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (r"..\images\003.png", "is written with backslashes. Write /"),
        (r"..\/images\003.png", "is written with backslashes"),
        (r"C:\data\003.png", "is an absolute path"),
        ("C:/data/003.png", "is an absolute path"),
        (r"\\server\share\003.png", "is an absolute path"),
        ("/data/003.png", "is an absolute path"),
        ("https://example.org/003.png", "is an address"),
        ("file:///data/003.png", "is an address"),
        ("../../003.png", "leads out of"),
        ("../images/" + "x" * 300 + ".png", "cannot be read"),
        ("../images/a\0.png", "holds a zero byte"),
    ],
)
def test_a_path_is_named_for_what_it_is(own: Path, path: str, words: str) -> None:
    changed(own, "my_classes", lambda i, row: row.update(image_path=path) if i == 3 else None)
    message = refusal(own, "my_classes")
    assert "my_classes.csv, line 5: " in message
    assert words in message


def a_file(picture: PILImage.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def half_clear() -> PILImage.Image:
    picture = PILImage.fromarray(np.full((HEIGHT_PX, WIDTH_PX, 4), 200, np.uint8))
    picture.putalpha(
        PILImage.fromarray(np.tile(np.array([0, 255], np.uint8).repeat(64), (HEIGHT_PX, 1)))
    )
    return picture


def turned_exif() -> PILImage.Exif:
    exif = PILImage.Exif()
    exif[0x0112] = 6
    return exif


RAMP = np.linspace(0, 4095, HEIGHT_PX * WIDTH_PX).reshape(HEIGHT_PX, WIDTH_PX)
GREY = PILImage.fromarray((RAMP / 16).astype(np.uint8))
FILES: dict[str, bytes] = {
    "RGBA": a_file(half_clear()),
    "grey with alpha": a_file(half_clear().convert("LA")),
    "16 bit": a_file(PILImage.fromarray(RAMP.astype(np.uint16))),
    "palette": a_file(GREY.convert("RGB").convert("P")),
    "1 bit": a_file(GREY.convert("1")),
    "turned": a_file(GREY, "JPEG", exif=turned_exif()),
    "several": a_file(GREY, "MPO", save_all=True, append_images=[GREY.resize((40, 30))]),
    "CMYK": a_file(GREY.convert("CMYK"), "JPEG"),
    "TIFF": a_file(GREY, "TIFF"),
    "bitmap": a_file(GREY, "BMP"),
    "cut short": a_file(GREY)[:900],
}


@pytest.mark.parametrize("name", FILES)
def test_training_reads_what_the_service_reads(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(FILES[name])
    try:
        seen = luma(decode(FILES[name], LIMIT_PIXELS).pixels)
    except PictureRejected as error:
        with pytest.raises(TrainingError, match=str(error).split(".", maxsplit=1)[0][:20]):
            read_grey(path)
    else:
        assert (read_grey(path) == seen).all()


def test_what_lies_below_transparency_is_not_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(FILES["RGBA"])
    pixels = read_grey(path)
    assert (pixels[:, :64] == 0).all()
    assert (pixels[:, 64:] == 200).all()


@pytest.mark.parametrize("names", [("RGBA", "16 bit", "palette", "1 bit", "several")])
def test_a_table_of_any_readable_images_is_accepted(own: Path, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        (own / "images" / f"{index:03d}.png").write_bytes(FILES[name])
    assert read_task(own, "my_outline").rows == IMAGES
