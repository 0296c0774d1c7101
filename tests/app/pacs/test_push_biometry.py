"""The biometry of a fetal head is offered, and sent to a real Orthanc, where it exists."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from app.cli.terminal import Exit
from app.settings import Settings
from app.storage.store import Store
from reports.forms.dicom.biometry import to_biometry
from reports.forms.dicom.source import own_source
from reports.model import ExamCode
from tests.app.conftest import Serve, a_png
from tests.app.dicom_files import a_dicom, a_region
from tests.app.orthanc import Orthanc
from tests.app.pacs.test_patient_links import (  # noqa: F401
    analysed,
    key_file,
    linking,
    refers_to,
)
from tests.app.pacs.test_push import (  # noqa: F401
    environment,
    orthanc,
    password_file,
    push,
    signed_in,
)
from tests.app.stand_in import StandInTools
from tests.planner.exam_answers import TOOLS, fetal_head_answers
from tests.planner.stand_ins import a_manifest
from tests.tools import DEVICE_UID_WARNINGS, complaints

COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"


def a_head_in_mm() -> bytes:
    """An even frame whose region is calibrated: 0.25 mm per pixel."""
    region = a_region(
        RegionLocationMaxX1=639, RegionLocationMaxY1=479, PhysicalDeltaX=0.025, PhysicalDeltaY=0.025
    )
    pixels = np.full((480, 640), 90, dtype=np.uint8)
    return a_dicom(pixels, SequenceOfUltrasoundRegions=[region])


@pytest.fixture
def tools() -> StandInTools:
    """Stand-ins of the fetal head's specialists."""
    return StandInTools(
        answers=dict(fetal_head_answers()), manifest=a_manifest(TOOLS[ExamCode.FETAL_HEAD])
    )


def stored_in(orthanc: Orthanc) -> dict[str, bytes]:  # noqa: F811
    """The instances that a server holds, by their SOP Class UID."""
    files = orthanc.instances()
    return {str(pydicom.dcmread(io.BytesIO(data)).SOPClassUID): data for data in files}


async def test_the_biometry_report_arrives_with_the_others(
    serve: Serve,
    settings: Settings,
    orthanc: Orthanc,  # noqa: F811
    password_file: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    analysis = await analysed(serve, a_head_in_mm())
    answer = push(analysis, *signed_in(orthanc, password_file))
    assert answer.exit_code == Exit.OK, answer.output
    stored = stored_in(orthanc)
    assert len(stored) == 4
    store = Store.open(settings)
    report, created = store.report(analysis), store.analysis(analysis).created_at
    store.close()
    assert report is not None
    ours = to_biometry(report, own_source(report, started_at=created))
    there, here = (
        pydicom.Dataset(pydicom.dcmread(io.BytesIO(data)))
        for data in (stored[COMPREHENSIVE_SR], ours)
    )
    assert there.to_json_dict() == here.to_json_dict()
    assert set(complaints(stored[COMPREHENSIVE_SR], tmp_path)) <= DEVICE_UID_WARNINGS
    [picture] = [
        read.SOPInstanceUID
        for read in (pydicom.dcmread(io.BytesIO(data)) for data in stored.values())
        if read.Modality == "US"
    ]
    assert refers_to(there) == picture
    with orthanc.rest as client:
        assert len(client.get("/studies").json()) == len(client.get("/patients").json()) == 1


async def test_it_is_filed_beside_the_original_where_the_link_is_kept(
    serve: Serve,
    orthanc: Orthanc,  # noqa: F811
    password_file: Path,  # noqa: F811
    linking: Path,  # noqa: F811
) -> None:
    data = a_head_in_mm()
    orthanc.store(data)
    analysis = await analysed(serve, data, link_key_file=linking)
    answer = push(analysis, "--form", "biometry", *signed_in(orthanc, password_file))
    assert answer.exit_code == Exit.OK, answer.output
    original, filed = pydicom.dcmread(io.BytesIO(data)), stored_in(orthanc)
    document = pydicom.dcmread(io.BytesIO(filed[COMPREHENSIVE_SR]))
    assert len(filed) == 2
    assert refers_to(document) == original.SOPInstanceUID
    assert document.StudyInstanceUID == original.StudyInstanceUID
    assert document.PatientName == original.PatientName


async def test_the_page_offers_it_where_the_head_is_in_millimetres(serve: Serve) -> None:
    offered = {}
    async with serve() as client:
        for name, data in (("mm", a_head_in_mm()), ("px", a_png())):
            sent = await client.post("/analyze", files={"image": ("x", data)})
            here = f"/analyses/{sent.json()['analysis_id']}"
            page = (await client.get(f"{here}/view")).text
            form = await client.get(f"{here}/report.biometry.dcm")
            offered[name] = (f"{here}/report.biometry.dcm" in page, form)
    (shown, form), (hidden, missing) = offered["mm"], offered["px"]
    assert shown
    assert form.status_code == 200
    assert '.biometry.dcm"' in form.headers["content-disposition"]
    assert pydicom.dcmread(io.BytesIO(form.content)).SOPClassUID == COMPREHENSIVE_SR
    assert not hidden
    assert missing.status_code == 404
    assert "No size of the head is in millimetres. Lengths are in px" in missing.json()["detail"]


async def test_a_push_of_one_that_does_not_exist_is_refused_with_the_reason(
    serve: Serve,
    orthanc: Orthanc,  # noqa: F811
    password_file: Path,  # noqa: F811
) -> None:
    analysis = await analysed(serve, a_png())
    answer = push(analysis, "--form", "biometry", *signed_in(orthanc, password_file))
    assert answer.exit_code == Exit.FAILED
    assert "No size of the head is in millimetres" in answer.output
    answer = push(analysis, *signed_in(orthanc, password_file))
    assert answer.exit_code == Exit.OK, answer.output
    assert COMPREHENSIVE_SR not in stored_in(orthanc)
    assert len(stored_in(orthanc)) == 3
