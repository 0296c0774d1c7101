"""Burned-in text is found and blackened before a picture is kept; marks of a scale stay."""

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest
from pydantic import ValidationError

from app.images.burned_in.cine import SAMPLES, CineText
from app.images.burned_in.finder import find_text
from app.images.burned_in.messages import PixelBox, Search
from app.images.burned_in.rule import Line, blackened
from app.images.ingest import Ingested, ingest
from app.images.multiframe import ingest_frames
from specialists.phantom.draw import draw
from tests.app.conftest import Serve, encoded
from tests.app.dicom_files import LIMIT_PIXELS, a_dicom

Pixels = npt.NDArray[np.uint8]
Xy = tuple[int, int]
SIZE = (600, 800)


def written(
    pixels: Pixels, text: str, at: Xy, size: int, grey: int = 255
) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """Pixels with that text, and where its ink is."""
    picture, ink = PIL.Image.fromarray(pixels), PIL.Image.new("L", pixels.shape[::-1], 0)
    font = PIL.ImageFont.load_default(size)
    for layer, value in ((picture, grey), (ink, 255)):
        PIL.ImageDraw.Draw(layer).text(at, text, fill=value, font=font)
    return np.asarray(picture), np.asarray(ink) > 128


def phantom(seed: int = 1, height: int = 600, width: int = 800) -> Pixels:
    return draw("breast", seed=seed, height_px=height, width_px=width).pixels


def stored(ingested: Ingested) -> Pixels:
    return np.asarray(PIL.Image.open(io.BytesIO(ingested.png)))


@pytest.mark.parametrize(
    ("text", "at", "size"),
    [
        ("MARIA GONZALEZ", (30, 4), 16),
        ("Schmidt, Hans", (500, 560), 12),
        ("12.03.1961", (640, 20), 14),
        ("58Y", (60, 300), 20),
        ("ID 4471209", (10, 570), 10),
        ("00412877", (700, 300), 14),
        ("TIRADS 4C", (300, 560), 24),
        ("PAT CA PAPILAR", (200, 300), 32),
    ],
)
def test_a_name_a_date_an_age_an_id_and_a_diagnosis_are_gone(text: str, at: Xy, size: int) -> None:
    pixels, ink = written(phantom(), text, at, size)
    ingested = ingest(encoded(PIL.Image.fromarray(pixels)), LIMIT_PIXELS, None, None, find_text)
    assert not stored(ingested)[ink].any()
    assert (ingested.image.pixels == stored(ingested)).all()
    assert ingested.image.info.text_blackened == 1
    changed = (stored(ingested) != pixels).mean()
    assert changed < 0.06


def test_text_in_a_colour_is_found_although_its_grey_value_is_low() -> None:
    _, ink = written(phantom(), "MARIA GONZALEZ", (40, 8), 18)
    pixels = np.repeat(phantom()[..., None], 3, axis=2)
    pixels[ink] = (60, 60, 255)
    data = encoded(PIL.Image.fromarray(pixels))
    assert not stored(ingest(data, LIMIT_PIXELS, None, None, find_text))[ink].any()


@pytest.mark.parametrize("seed", range(4))
def test_tissue_without_text_is_kept_as_it_is(seed: int) -> None:
    pixels = draw("breast" if seed % 2 else "intrapartum", seed=seed).pixels
    assert find_text(pixels) == ()


def test_marks_of_a_scale_stay() -> None:
    pixels = np.zeros(SIZE, np.uint8)
    pixels[60:560, 80:760] = phantom(2, 500, 680)
    for mark, y in (("1", 100), ("2", 220), ("3", 340), ("40", 460)):
        pixels, _ = written(pixels, mark, (10, y), 16)
    assert find_text(pixels) == ()


def a_line(text: str, box: PixelBox, read: float = 0.99) -> Line:
    return Line(box=box, detected=0.7, text=text, read=read)


@pytest.mark.parametrize(
    ("text", "box", "gone"),
    [
        ("40", (5, 300, 25, 316), False),
        ("120", (770, 10, 798, 26), False),
        ("40", (400, 300, 420, 316), True),  # Not at an edge.
        ("1961", (5, 300, 45, 316), True),  # A year.
        ("4O", (5, 300, 25, 316), True),
        ("4.5", (5, 300, 25, 316), True),
    ],
)
def test_only_bare_numbers_at_the_edge_stay(text: str, box: PixelBox, gone: bool) -> None:
    assert bool(blackened([a_line(text, box)], SIZE)) is gone


def test_a_number_that_is_read_with_doubt_goes() -> None:
    assert blackened([a_line("40", (5, 300, 25, 316), read=0.7)], SIZE)


@pytest.mark.parametrize(
    ("text", "read", "gone"),
    [
        ("+", 0.98, False),  # A caliper.
        (">", 0.96, False),
        ("oa", 0.77, False),  # A mirrored "60".
        ("L", 0.97, True),
        ("58", 0.6, True),
        ("Roe", 0.6, True),
        ("Roe", 0.4, False),
    ],
)
def test_what_only_looks_like_text_stays(text: str, read: float, gone: bool) -> None:
    assert bool(blackened([a_line(text, (400, 300, 420, 316), read)], SIZE)) is gone


def test_a_doubtful_letter_beside_text_goes_with_it_and_so_does_what_is_surely_text() -> None:
    name, sign = a_line("ROE", (100, 300, 140, 316)), a_line("j", (150, 300, 156, 316), 0.6)
    assert len(blackened([name, sign], SIZE)) == 2
    unread = Line(box=(100, 300, 140, 316), detected=0.85, text="", read=0.0)
    assert len(blackened([unread], SIZE)) == 1


def test_a_date_that_is_read_as_three_numbers_goes() -> None:
    parts = [("12", 10), ("03", 40), ("61", 70)]
    lines = [a_line(text, (x, 580, x + 20, 596)) for text, x in parts]
    assert len(blackened(lines, SIZE)) == 3


def test_a_sector_that_looks_like_a_letter_is_no_text() -> None:
    assert blackened([a_line("A", (0, 0, 800, 560), read=0.6)], SIZE) == ()


def test_a_still_dicom_image_is_searched_within_its_mask() -> None:
    pixels, ink = written(phantom(), "MARIA GONZALEZ", (40, 8), 16)
    ingested = ingest(a_dicom(pixels), LIMIT_PIXELS, None, None, find_text)
    assert not stored(ingested)[ink].any()


def test_each_frame_of_a_cine_loses_its_text() -> None:
    frames, inks = [], []
    for seed in range(3):
        pixels, ink = written(phantom(seed), "MARIA GONZALEZ", (40, 8), 16)
        frames.append(pixels)
        inks.append(ink)
    kept = ingest_frames(a_dicom(np.stack(frames)), LIMIT_PIXELS, None, find_text).frames
    assert len(kept) == 3
    for picture, ink in zip(kept, inks, strict=True):
        assert not np.asarray(PIL.Image.open(io.BytesIO(picture.png)))[ink].any()
        assert picture.info.text_blackened == 1


class _Found:
    """Finds given boxes, one tuple a call."""

    def __init__(self, *boxes: tuple[PixelBox, ...]) -> None:
        self.boxes, self.calls = boxes, 0

    def __call__(self, _: Pixels) -> tuple[PixelBox, ...]:
        self.calls += 1
        return self.boxes[min(self.calls, len(self.boxes)) - 1]


def test_text_that_stays_in_place_is_searched_in_the_samples_only() -> None:
    find = _Found(((10, 10, 90, 30),))
    cine = CineText(find)
    assert [cine.boxes(np.zeros((64, 99), np.uint8)) for _ in range(40)] == [
        ((10, 10, 90, 30),)
    ] * 40
    assert find.calls == SAMPLES


def test_text_that_moves_is_searched_in_every_frame() -> None:
    find = _Found(((10, 10, 90, 30),), ((10, 40, 90, 60),))
    cine = CineText(find)
    found = [cine.boxes(np.zeros((64, 99), np.uint8)) for _ in range(10)]
    assert find.calls == 10
    assert found[-1] == ((10, 10, 90, 30), (10, 40, 90, 60))


async def test_a_report_says_how_many_places_and_that_some_may_remain(serve: Serve) -> None:
    pixels, ink = written(phantom(), "MARIA GONZALEZ", (40, 8), 16)
    files = {"image": ("x.png", encoded(PIL.Image.fromarray(pixels)))}
    async with serve() as client:
        report = await _report(client, files)
        [line] = [text for text in report["limitations"] if text.startswith("Burned-in")]
        assert line == (
            "Burned-in text: 1 place was found and blackened before anything was stored; "
            "small or faint text may remain."
        )
        answer = await client.get(f"/analyses/{report['analysis_id']}/image.png")
        kept = np.asarray(PIL.Image.open(io.BytesIO(answer.content)))
        assert not kept[ink].any()
    async with serve(blacken_text=False) as client:
        report = await _report(client, files)
        assert "text_blackened" not in report["image"]
        assert any("not checked" in text for text in report["limitations"])


async def _report(client: httpx.AsyncClient, files: dict[str, tuple[str, bytes]]) -> dict[str, Any]:
    answer = await client.post("/analyze", files=files)
    assert answer.status_code == 200
    return dict(answer.json())


def test_the_reader_process_is_told_of_pixels_only() -> None:
    assert set(Search.model_fields) == {"height_px", "width_px", "channels"}
    with pytest.raises(ValidationError):
        Search(height_px=1, width_px=1, channels=2)


def test_screens_of_the_thyroid_data_lose_their_text() -> None:
    folder = Path(__file__).parents[4] / "shared" / "data" / "Segmentation" / "Two" / "ddti"
    if not folder.is_dir():
        pytest.skip("../shared is not here")
    for path in sorted((folder / "IMAGES").glob("3*_1.jpg"))[:6]:
        with PIL.Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"))
        boxes = find_text(pixels)
        assert boxes
        again = pixels.copy()
        for x_min, y_min, x_max, y_max in boxes:
            again[y_min:y_max, x_min:x_max] = 0
        assert len(find_text(again)) <= 1
