"""A study's summary in every form: what each holds, and that each is valid."""

import io
import json
import zipfile
from functools import cache
from pathlib import Path

import pytest

from reports.errors import NothingReported
from reports.forms.study.render import StudyForm, StudySubject, render_study
from reports.model import Report, StudyRef
from reports.study.model import StudyReport
from reports.study.summary import summarise
from tests.reports.forms.test_fhir import errors
from tests.reports.forms.test_fhir import validator as validator
from tests.reports.report_forms import REPORTS, frame_png
from tests.reports.study.test_summary import (
    STUDY,
    a_head,
    a_number,
    a_study,
    earlier,
)
from tests.tools import KNOWN_WARNINGS, complaints, module

module("pydicom", "pip install 'ustri[dicom]'")
module("highdicom", "pip install 'ustri[dicom]'")
module("reportlab", "pip install 'ustri[dicom]'")

from pydicom import Dataset, dcmread  # noqa: E402
from pypdf import PdfReader  # noqa: E402


def of_study(report: Report, place: int) -> Report:
    """A report as one of the study's, with ids of its own."""
    changes = {
        "study": StudyRef(id=STUDY),
        "analysis_id": f"a{place}",
        "report_id": f"report{place}",
    }
    return report.model_copy(update=changes)


HEADS = tuple(
    of_study(a_head(number), place)
    for place, number in enumerate((a_number(176, 3), a_number(178, 5), a_number(160, 5)))
)
THEN = earlier(a_number(150, 4))
STUDIES: dict[str, tuple[tuple[Report, ...], StudyReport]] = {
    "heads, one of them an outlier, with an earlier study": (
        HEADS,
        summarise(a_study(*HEADS, patients=1), [THEN]),
    ),
    "every kind of report": (
        every := tuple(of_study(report, place) for place, report in enumerate(REPORTS.values())),
        summarise(a_study(*every)),
    ),
    "one that waits": (HEADS[:1], summarise(a_study(HEADS[0], None))),
}


@cache
def made(form: StudyForm, name: str) -> bytes:
    return render_study(form, subject_of(name))


def subject_of(name: str) -> StudySubject:
    members, report = STUDIES[name]
    return StudySubject(
        report=report,
        members=members,
        png=lambda _: frame_png(),
        code_version="0.1.0",
        analyses="/analyses",
        studies="/studies",
    )


@pytest.mark.parametrize("form", StudyForm)
def test_the_same_study_gives_the_same_bytes(form: StudyForm) -> None:
    name = next(iter(STUDIES))
    assert render_study(form, subject_of(name)) == made(form, name)


def items(node: Dataset) -> list[Dataset]:
    found = []
    for child in node.get("ContentSequence", []):
        found += [child, *items(child)]
    return found


@pytest.mark.parametrize("name", STUDIES)
def test_every_sentence_stands_in_json_text_page_pdf_sr_and_fhir(name: str) -> None:
    report = STUDIES[name][1]
    statements = [item.statement for item in report.measurements]
    statements += [item.statement for item in report.comparisons]
    whole = [*report.summary, *report.flags, *report.limitations]
    text = made(StudyForm.TXT, name).decode()
    assert all(line in text for line in (*whole, *statements))
    assert StudyReport.model_validate_json(made(StudyForm.JSON, name)) == report
    page = made(StudyForm.HTML, name).decode()
    assert page.count("<article") == 1
    sentences = {
        item.TextValue for item in items(read(made(StudyForm.SR, name))) if item.ValueType == "TEXT"
    }
    assert sentences >= {*whole, *statements}
    resource = json.loads(made(StudyForm.FHIR, name))["entry"][0]["resource"]
    assert all(line in resource["conclusion"] for line in (*report.summary, *report.flags))
    printed = "".join(page.extract_text() for page in PdfReader(pdf(name)).pages)
    squeezed = "".join(printed.split())
    assert all("".join(line.split()) in squeezed for line in (*report.summary, *report.flags))


def pdf(name: str) -> io.BytesIO:
    return io.BytesIO(made(StudyForm.PDF, name))


def read(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


@pytest.mark.parametrize("name", STUDIES)
def test_dciodvfy_finds_no_error_in_the_sr_of_a_study(name: str, tmp_path: Path) -> None:
    assert set(complaints(made(StudyForm.SR, name), tmp_path)) <= KNOWN_WARNINGS


def test_the_sr_has_each_value_with_its_image_what_is_taken_and_what_does_not_fit() -> None:
    name = next(iter(STUDIES))
    document = read(made(StudyForm.SR, name))
    assert document.StudyInstanceUID == f"2.25.{int(STUDY, 16)}"
    numbers = [item for item in items(document) if item.ValueType == "NUM"]
    circumferences = [
        float(item.MeasuredValueSequence[0].NumericValue)
        for item in numbers
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Head Circumference"
    ]
    assert circumferences == [176.0, 178.0, 160.0]
    places = [
        item.ConceptCodeSequence[0].CodeMeaning
        for item in items(document)
        if item.ValueType == "CODE"
        and item.ConceptNameCodeSequence[0].CodeMeaning == "Place in the summary of a study"
    ]
    assert places == [
        "Taken: the best of the study's images",
        "Outlier among the study's images",
    ]
    images = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in items(document)
        if item.ValueType == "IMAGE"
    }
    assert len(images) == 3


def test_the_archive_holds_the_images_that_its_sr_refers_to(tmp_path: Path) -> None:
    data = made(StudyForm.ARCHIVE, next(iter(STUDIES)))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        files = {name: archive.read(name) for name in names if name.endswith(".dcm")}
    assert {"study.dcm", "image-1.dcm", "image-3.sr.dcm", "README.txt"} <= set(names)
    assert {read(file).StudyInstanceUID for file in files.values()} == {f"2.25.{int(STUDY, 16)}"}
    assert len({read(file).PatientID for file in files.values()}) == 1
    assert len({(read(f).StudyDate, read(f).StudyTime) for f in files.values()}) == 1
    kept = {read(file).SOPInstanceUID for file in files.values()}
    referred = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in items(read(files["study.dcm"]))
        if item.ValueType == "IMAGE"
    }
    assert referred <= kept


def test_the_bundle_of_a_study_is_valid_by_an_independent_validator(
    validator: Path, tmp_path: Path
) -> None:
    bundles = {str(at): made(StudyForm.FHIR, name) for at, name in enumerate(STUDIES)}
    assert errors(validator, tmp_path, bundles) == {name: [] for name in bundles}


def test_the_bundle_has_one_patient_and_no_dangling_reference() -> None:
    entries = json.loads(made(StudyForm.FHIR, next(iter(STUDIES))))["entry"]
    kinds = [entry["resource"]["resourceType"] for entry in entries]
    assert kinds.count("Patient") == 1
    assert kinds.count("DiagnosticReport") == 1 + len(HEADS)
    urns = [entry["fullUrl"] for entry in entries]
    assert len(set(urns)) == len(urns)
    text = json.dumps(entries)
    for piece in text.split('"reference": "')[1:]:
        assert piece.partition('"')[0] in urns


@pytest.mark.parametrize("form", [StudyForm.SR, StudyForm.FHIR, StudyForm.ARCHIVE])
def test_a_form_made_of_reports_is_refused_while_there_is_none(form: StudyForm) -> None:
    subject = StudySubject(
        report=summarise(a_study(None)), members=(), png=lambda _: b"", code_version="0.1.0"
    )
    with pytest.raises(NothingReported):
        render_study(form, subject)
    assert "Not reported yet: image 1." in render_study(StudyForm.TXT, subject).decode()
