"""The report's forms over HTTP and as files; their content is tested with the forms themselves."""

import io
import json
import sys
from pathlib import Path

import httpx
import pytest

from app.web.negotiation import negotiated
from reports.errors import NoBiometry, NothingOutlined
from reports.forms.render import MEDIA, ReportForm, Subject, render
from tests.app.conftest import Serve, a_png
from tests.app.stand_in import StandInTools
from tests.processes import finished
from tests.reports.report_forms import REPORTS, frame_png
from tests.tools import module

pydicom = module("pydicom", "pip install 'ustri[dicom]'")
module("highdicom", "pip install 'ustri[dicom]'")
module("reportlab", "pip install 'ustri[dicom]'")

OF_HEADS_IN_MM = ("fetal head", "fetal biometry", "landmarks")
STARTS = {
    ReportForm.PDF: b"%PDF-",
    ReportForm.FHIR: b"{",
    ReportForm.JSON: b"{",
    ReportForm.HTML: b"<!DOCTYPE html>",
}


async def analysed(client: httpx.AsyncClient) -> str:
    sent = await client.post("/analyze", files={"image": ("a.png", a_png(), "image/png")})
    assert sent.status_code == 200
    return f"/analyses/{sent.json()['analysis_id']}"


async def test_every_form_has_its_suffix_and_its_media_type(client: httpx.AsyncClient) -> None:
    here = await analysed(client)
    for form in ReportForm:
        answer = await client.get(f"{here}/report.{form}")
        if form is ReportForm.BIOMETRY:  # The analysis is of a breast.
            assert answer.status_code == 404
            assert "of: Breast ultrasound" in answer.json()["detail"]
            continue
        assert answer.status_code == 200, form
        assert answer.headers["content-type"].partition(";")[0] == MEDIA[form]
        assert answer.headers["content-location"] == f"{here}/report.{form}"
        assert answer.content.startswith(STARTS.get(form, b"")), form
        if MEDIA[form] == "application/dicom":
            assert answer.content[128:132] == b"DICM"
            assert f'.{form}"' in answer.headers["content-disposition"]


async def test_accept_gets_the_same_bytes_as_the_suffix(client: httpx.AsyncClient) -> None:
    here = await analysed(client)
    for accept, form in (
        ("application/pdf", ReportForm.PDF),
        ("application/dicom", ReportForm.SR),
        ("application/fhir+json", ReportForm.FHIR),
    ):
        by_accept = await client.get(f"{here}/report", headers={"Accept": accept})
        assert by_accept.content == (await client.get(f"{here}/report.{form}")).content


async def test_the_dicom_forms_of_an_analysis_belong_together(client: httpx.AsyncClient) -> None:
    here = await analysed(client)
    files = {}
    for form in (ReportForm.SR, ReportForm.SEG, ReportForm.IMAGE):
        answer = await client.get(f"{here}/report.{form}")
        files[form] = pydicom.dcmread(io.BytesIO(answer.content))
    assert len({(file.StudyInstanceUID, file.PatientID) for file in files.values()}) == 1
    picture = files[ReportForm.IMAGE].SOPInstanceUID
    segmented = files[ReportForm.SEG].ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert segmented[0].ReferencedSOPInstanceUID == picture
    evidence = files[ReportForm.SR].CurrentRequestedProcedureEvidenceSequence[0]
    referred = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert referred.ReferencedSOPInstanceUID == picture


async def test_a_report_without_outlines_has_no_segmentation_and_says_so(
    serve: Serve, tools: StandInTools
) -> None:
    async with serve() as client:
        sent = await client.post(
            "/analyze",
            files={"image": ("a.png", a_png(), "image/png")},
            data={"exam": "nerve"},
        )
        here = f"/analyses/{sent.json()['analysis_id']}"
        assert sent.json()["outcome"] == "refused"
        missing = await client.get(f"{here}/report.seg.dcm")
        assert missing.status_code == 404
        assert missing.headers["content-type"] == "application/problem+json"
        assert "no outline" in missing.json()["detail"]
        for suffix in ("dcm", "pdf", "fhir.json", "image.dcm", "html", "txt", "json"):
            assert (await client.get(f"{here}/report.{suffix}")).status_code == 200, suffix


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, ReportForm.JSON),
        ("*/*", ReportForm.JSON),
        ("application/*", ReportForm.JSON),
        ("application/pdf, application/json;q=0.5", ReportForm.PDF),
        ("application/fhir+json, */*;q=0.1", ReportForm.FHIR),
        ("application/dicom", ReportForm.SR),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", ReportForm.HTML),
    ],
)
def test_negotiation_takes_what_is_liked_best(accept: str | None, form: ReportForm) -> None:
    assert negotiated(accept) is form


@pytest.mark.parametrize("name", REPORTS)
def test_every_kind_of_report_is_rendered_in_every_form(name: str) -> None:
    subject = Subject(report=REPORTS[name], png=frame_png())
    for form in ReportForm:
        if form is ReportForm.SEG and not any(e.kind == "mask" for e in REPORTS[name].evidence):
            with pytest.raises(NothingOutlined, match="no outline"):
                render(form, subject)
        elif form is ReportForm.BIOMETRY and name not in OF_HEADS_IN_MM:
            with pytest.raises(NoBiometry):
                render(form, subject)
        else:
            assert render(form, subject)


def test_without_the_extra_the_service_starts_and_such_a_form_says_what_to_install() -> None:
    script = """
import json, sys
for name in ("pydicom", "highdicom", "reportlab"):
    sys.modules[name] = None  # As if it were not installed.
import app.application, app.standalone, app.web.negotiation
from reports.errors import FormNotInstalled
from reports.forms.render import ReportForm, Subject, render
from tests.builders import a_worded_report
said = {}
for form in ReportForm:
    try:
        render(form, Subject(report=a_worded_report(), png=b"", image_href="/image.png"))
    except FormNotInstalled as error:
        said[form] = str(error)
print(json.dumps(said))
"""
    root = Path(__file__).parents[3]
    ran = finished([sys.executable, "-c", script], check=True, cwd=root)
    said = json.loads(ran.stdout)
    assert set(said) == {"pdf", "dcm", "seg.dcm", "biometry.dcm", "image.dcm"}
    for sentence in said.values():
        assert "pip install 'ustri[dicom]'" in sentence
