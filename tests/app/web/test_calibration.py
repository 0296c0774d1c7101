"""A reader's two points make millimetres of pixels, as a new version of the report."""

import asyncio
import io

import httpx
import pydicom
import pytest

from reports.model import MeasurementState, Report
from tests.app.conftest import Serve, a_png, some_pixels
from tests.app.dicom_files import a_dicom, a_region

BODY = {"points": [[100.0, 100.0], [400.0, 100.0]], "distance_mm": 60.0}
"""0.2 mm a pixel; each click within 1 px, so that 300 px are 298 to 302."""


async def analysed(client: httpx.AsyncClient, data: bytes | None = None, **fields: str) -> Report:
    answer = await client.post("/analyze", files={"image": data or a_png()}, data=fields)
    assert answer.status_code == 200, answer.text
    return Report.model_validate_json(answer.content)


async def calibrated(client: httpx.AsyncClient, first: Report, **changes: object) -> httpx.Response:
    return await client.post(f"/analyses/{first.analysis_id}/calibration", json=BODY | changes)


async def test_every_length_changes_by_the_known_factor(client: httpx.AsyncClient) -> None:
    first = await analysed(client)
    answer = await calibrated(client, first)
    assert answer.status_code == 201, answer.text
    second = Report.model_validate_json(answer.content)
    factors = {"px": ("mm", 0.2), "px²": ("mm²", 0.04)}
    lengths = 0
    for before, after in zip(first.measurements, second.measurements, strict=True):
        assert before.name == after.name
        if before.state is not MeasurementState.MEASURED or before.value is None:
            continue
        unit, factor = factors.get(before.unit or "", (before.unit, 1.0))
        lengths += unit != before.unit
        assert after.unit == unit
        assert after.value == pytest.approx(before.value * factor, abs=1e-4)
    assert lengths >= 3
    assert second.image.spacing_mm is not None
    assert second.image.spacing_source == "two points of a known distance, marked by the reader"
    assert "assuming square pixels" in " ".join(m.formula or "" for m in second.measurements)


async def test_it_is_the_next_version_in_every_form(client: httpx.AsyncClient) -> None:
    first = await analysed(client)
    second = Report.model_validate_json((await calibrated(client, first)).content)
    assert (second.version, second.supersedes, second.status) == (2, first.report_id, "preliminary")
    here = f"/analyses/{first.analysis_id}"
    assert (await client.get(f"{here}/report.json")).json()["report_id"] == second.report_id
    standing = (await client.get(here)).json()
    assert (standing["version"], standing["state"]) == (2, "done")
    assert standing["steps"] == len(first.steps)
    axis = next(m for m in second.measurements if m.name == "long axis")
    sr = pydicom.dcmread(io.BytesIO((await client.get(f"{here}/report.dcm")).content))
    assert axis.value is not None
    assert f"{axis.value:.4g}"[:4] in str(sr)
    assert "'mm'" in str(sr)
    texts = [str(item.value) for item in sr.iterall() if item.VR in ("UT", "LT", "ST")]
    assert any("from two marked points" in text for text in texts)
    for form in ("txt", "html", "fhir.json"):
        assert "mm" in (await client.get(f"{here}/report.{form}")).text
    text = (await client.get(f"{here}/report.txt")).text
    assert "marked by the reader, 60 mm apart" in text


async def test_the_same_body_makes_no_further_version(serve_either: Serve) -> None:
    async with serve_either() as client:
        first = await analysed(client)
        made = await calibrated(client, first)
        again = await calibrated(client, first)
        assert (made.status_code, again.status_code) == (201, 200)
        assert again.json() == made.json()
        at_once = [calibrated(client, first, distance_mm=mm) for mm in (30.0, 90.0)]
        answers = await asyncio.gather(*at_once)
        assert {answer.status_code for answer in answers} <= {201, 409}
        newest = (await client.get(f"/analyses/{first.analysis_id}/report.json")).json()
        assert newest["version"] == 2 + sum(answer.status_code == 201 for answer in answers)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"points": [[100, 100], [700, 100]]}, "must lie in the image"),
        ({"points": [[100, 100], [110, 100]]}, "10.0 px apart"),
        ({"distance_mm": 0}, "greater than 0"),
        ({"distance_mm": -3}, "greater than 0"),
        ({"points": [[100, 100]]}, "points"),
        ({"unit": "cm"}, "unit"),
    ],
)
async def test_what_gives_no_scale_is_refused_with_the_reason(
    client: httpx.AsyncClient, changes: dict[str, object], says: str
) -> None:
    first = await analysed(client)
    answer = await calibrated(client, first, **changes)
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert says in answer.json()["detail"]
    assert (await client.get(f"/analyses/{first.analysis_id}")).json()["version"] == 1


async def test_an_image_that_states_its_spacing_is_not_calibrated(
    client: httpx.AsyncClient,
) -> None:
    region = a_region(RegionLocationMaxX1=640, RegionLocationMaxY1=480)
    data = a_dicom(some_pixels(), SequenceOfUltrasoundRegions=[region])
    first = await analysed(client, data)
    answer = await calibrated(client, first)
    assert answer.status_code == 409, answer.text
    assert "states its millimetres itself" in answer.json()["detail"]


async def test_a_question_is_answered_where_it_was(client: httpx.AsyncClient) -> None:
    first = await analysed(client, question="How large is the lesion?")
    second = (await calibrated(client, first)).json()
    assert second["request"]["question_given"]
    assert second["asked"].startswith("The question was answered in version 1")
    narrow = await analysed(client, question="How large is the lesion?", scope="question")
    assert (await calibrated(client, narrow)).status_code == 409


async def test_there_is_nothing_to_calibrate_without_an_analysis(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/analyses/none/calibration", json=BODY)
    assert answer.status_code == 404


async def test_a_form_does_the_same_without_javascript(client: httpx.AsyncClient) -> None:
    first = await analysed(client)
    here = f"/analyses/{first.analysis_id}"
    fields = {"x1": "100", "y1": "100", "x2": "400", "y2": "100", "distance_mm": "60,0"}
    answer = await client.post(f"{here}/calibrate", data=fields)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{here}/view")
    assert (await client.get(f"{here}/report.json")).json()["version"] == 2
    wrong = await client.post(f"{here}/calibrate", data=fields | {"distance_mm": "six"})
    assert wrong.status_code == 422
    assert f'href="{here}/view"' in wrong.text
