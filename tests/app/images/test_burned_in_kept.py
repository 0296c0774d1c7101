"""Burned-in text is gone from everything that is kept and given out; marks at the edge are not."""

import io
import logging
from itertools import pairwise

import numpy as np
import PIL.Image
import pytest

from app.images.burned_in.finder import find_text
from app.images.ingest import ingest
from app.images.multiframe import ingest_frames
from app.settings import Settings
from reports.forms.render import ReportForm
from tests.app.conftest import Serve, encoded
from tests.app.dicom_files import LIMIT_PIXELS, a_dicom, a_region
from tests.app.images.test_burned_in_text import Pixels, Xy, phantom, stored, written

NAME = "ZQXJVARO HANS"


def framed() -> Pixels:
    """A phantom in a black frame, as on a screen."""
    pixels = np.zeros((600, 800), np.uint8)
    pixels[60:540, 80:720] = phantom(2, 480, 640)
    return pixels


@pytest.mark.parametrize("mark", ["3", "40", "120"])
@pytest.mark.parametrize("at", [(8, 300), (744, 300), (400, 8), (400, 570)])
def test_a_number_of_one_to_three_digits_stays_at_each_edge(mark: str, at: Xy) -> None:
    assert find_text(written(framed(), mark, at, 20)[0]) == ()


@pytest.mark.parametrize("text", ["1961", "4.5 cm", "58Y", "03.61", "Roe", "G1P0", "2 JAN"])
@pytest.mark.parametrize("at", [(8, 300), (400, 8), (400, 570)])
def test_anything_else_goes_there(text: str, at: Xy) -> None:
    pixels, ink = written(framed(), text, at, 20)
    black = np.zeros_like(ink)
    for x_min, y_min, x_max, y_max in find_text(pixels):
        black[y_min:y_max, x_min:x_max] = True
    assert black[ink].all()


def test_text_inside_a_region_goes_and_the_rest_of_the_region_stays() -> None:
    pixels, ink = written(framed(), NAME, (300, 200), 20)
    region = a_region(
        RegionLocationMinX0=80,
        RegionLocationMinY0=60,
        RegionLocationMaxX1=719,
        RegionLocationMaxY1=539,
    )
    file = a_dicom(pixels, SequenceOfUltrasoundRegions=[region])
    ingested = ingest(file, LIMIT_PIXELS, None, None, find_text)
    assert ingested.image.info.text_blackened == 1
    assert not stored(ingested)[ink].any()
    inside = stored(ingested)[60:540, 80:720]
    assert (inside == pixels[60:540, 80:720]).mean() > 0.95


def test_text_that_moves_is_gone_from_every_frame_of_a_cine() -> None:
    places = [(90 + 60 * index, 80 + 70 * index) for index in range(6)]
    drawn = [written(framed(), NAME, at, 18) for at in places]
    frames = np.stack([pixels for pixels, _ in drawn])
    kept = ingest_frames(a_dicom(frames), LIMIT_PIXELS, None, find_text).frames
    assert kept  # On a busy machine, not all in the time that reading may take.
    for picture in kept:
        ink = drawn[picture.info.frame or 0][1]
        assert not np.asarray(PIL.Image.open(io.BytesIO(picture.png)))[ink].any()
    assert all(one.key != other.key for one, other in pairwise(kept))


async def test_a_burned_in_name_is_in_no_log_and_no_output(
    serve: Serve, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    pixels, ink = written(framed(), NAME, (90, 20), 18)
    files = {"image": ("x.png", encoded(PIL.Image.fromarray(pixels)))}
    async with serve(busy_s=10.0) as client:
        answer = await client.post("/analyze", files=files)
        here = f"/analyses/{answer.json()['analysis_id']}"
        forms = [f"{here}/report.{form}" for form in ReportForm]
        given = [
            (await client.get(path)).content
            for path in (here, f"{here}/events", f"{here}/view", "/", *forms)
        ]
        picture = (await client.get(f"{here}/image.png")).content
        asked = await client.post("/specialists/exam_cls", files=files)
        given.append(asked.content)
        kept = [path for path in settings.data_dir.rglob("*") if path.is_file()]
        given += [path.read_bytes() for path in kept]
    assert not np.asarray(PIL.Image.open(io.BytesIO(picture)))[ink].any()
    given.append(caplog.text.encode())
    assert [data[:80] for data in given if b"ZQXJVARO" in data] == []
    assert any(b"small or faint text may remain" in data for data in given)
