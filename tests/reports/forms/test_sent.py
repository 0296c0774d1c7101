"""What the sender states, the answer to a question, and doubts of a number, in SR and FHIR."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from reports.forms.dicom.biometry import to_biometry
from reports.forms.dicom.sr import to_sr
from reports.forms.fhir.bundle import to_fhir
from reports.measure.gestation import weeks_of
from reports.measure.head import BPD, HC, HC_PERCENTILE
from reports.model import Laterality, Measurement, Report
from tests.reports.forms.test_dicom_sr import items
from tests.reports.report_forms import a_sent_report
from tests.tools import KNOWN_WARNINGS, complaints

REPORT = a_sent_report()
FORMS = {"sr": to_sr, "biometry": to_biometry}


def number(name: str) -> Measurement:
    return next(item for item in REPORT.measurements if item.name == name)


def content(form: str, report: Report = REPORT) -> list[Dataset]:
    return list(items(dcmread(io.BytesIO(FORMS[form](report)))))


def coded(found: list[Dataset], value: str) -> list[Dataset]:
    return [
        item
        for item in found
        if "ConceptNameCodeSequence" in item and item.ConceptNameCodeSequence[0].CodeValue == value
    ]


def resources(kind: str) -> list[dict[str, Any]]:
    found = [entry["resource"] for entry in json.loads(to_fhir(REPORT))["entry"]]
    return [item for item in found if item["resourceType"] == kind]


@pytest.mark.parametrize("form", FORMS)
def test_dciodvfy_finds_no_error_in_a_report_with_all_that_was_sent(
    form: str, tmp_path: Path
) -> None:
    assert set(complaints(FORMS[form](REPORT), tmp_path)) <= KNOWN_WARNINGS


@pytest.mark.parametrize("form", FORMS)
def test_what_was_sent_and_asked_is_in_the_document(form: str) -> None:
    found = content(form)
    words = "\n".join(str(item.TextValue) for item in found if item.get("ValueType") == "TEXT")
    request = REPORT.request
    for said in (request.indication, request.label, request.site, request.gestational_age):
        assert said is not None
        assert said in words
    assert REPORT.asked is not None
    assert REPORT.asked in words
    (operator,) = coded(found, "121008")
    assert operator.PersonName == request.operator
    roles = [item.ConceptCodeSequence[0].CodeValue for item in coded(found, "121011")]
    assert roles == ["121094"]


def test_the_side_stands_at_the_site_of_every_group() -> None:
    sides = {i.ConceptCodeSequence[0].CodeValue for i in coded(content("sr"), "272741003")}
    assert sides == {"7771000"}
    without = REPORT.model_copy(
        update={"request": REPORT.request.model_copy(update={"laterality": None})}
    )
    assert coded(content("sr", without), "272741003") == []


@pytest.mark.parametrize("form", FORMS)
def test_an_unreliable_number_keeps_its_value_qualified_as_indeterminate(form: str) -> None:
    found = content(form)
    (size,) = [i for i in coded(found, "11984-2") if i.get("ValueType") == "NUM"]
    assert float(size.MeasuredValueSequence[0].NumericValue) == number(HC).value
    assert size.NumericValueQualifierCodeSequence[0].CodeValue == "114011"
    said = [str(i.TextValue) for i in size.ContentSequence if i.get("ValueType") == "TEXT"]
    assert any(f"Unreliable: {number(HC).unreliable}." in line for line in said)
    (other,) = [i for i in coded(found, "11820-8") if i.get("ValueType") == "NUM"]
    assert number(BPD).unreliable is None
    assert "NumericValueQualifierCodeSequence" not in other


@pytest.mark.parametrize("form", FORMS)
def test_the_percentile_is_a_growth_rank_in_percent(form: str) -> None:
    (rank,) = [i for i in coded(content(form), "125012") if i.get("ValueType") == "NUM"]
    measured = rank.MeasuredValueSequence[0]
    assert float(measured.NumericValue) == pytest.approx(number(HC_PERCENTILE).value)
    assert measured.MeasurementUnitsCodeSequence[0].CodeValue == "%"


def test_the_age_that_was_sent_is_in_the_biometrys_summary_in_days() -> None:
    ages = [i for i in coded(content("biometry"), "18185-9") if i.get("ValueType") == "NUM"]
    days = [float(item.MeasuredValueSequence[0].NumericValue) for item in ages]
    assert days[0] == round(7 * weeks_of("21w3d")) == 150
    assert len(days) == 2  # that from the circumference stands beside it


def test_fhir_holds_what_was_sent_where_r4_has_a_place_for_it() -> None:
    (study,) = resources("ImagingStudy")
    assert study["reasonCode"] == [{"text": REPORT.request.indication}]
    assert study["series"][0]["laterality"]["code"] == "7771000"
    assert study["series"][0]["performer"] == [{"actor": {"display": REPORT.request.operator}}]
    assert [note["text"] for note in study["note"]] == [
        f"Label as sent: {REPORT.request.label}",
        f"Site as sent: {REPORT.request.site}",
    ]
    (report,) = resources("DiagnosticReport")
    assert report["conclusion"].startswith(f"{REPORT.asked}\n")
    observed = resources("Observation")
    assert {item["bodySite"]["text"] for item in observed} == {"Head, left"}
    sent = next(i for i in observed if i["code"]["text"] == "Gestational age as sent")
    assert sent["valueQuantity"]["value"] == pytest.approx(21 + 3 / 7, abs=1e-4)
    size = next(item for item in observed if item["code"]["text"] == HC)
    assert size["valueQuantity"]["value"] == number(HC).value
    assert size["interpretation"][0]["coding"][0]["code"] == "unreliable"
    assert size["interpretation"][0]["text"] == number(HC).unreliable


def test_long_words_fit_the_attributes_that_carry_them() -> None:
    request = REPORT.request.model_copy(update={"operator": "Ü" * 90, "indication": "x" * 900})
    for form in FORMS:
        found = content(form, REPORT.model_copy(update={"request": request}))
        (operator,) = coded(found, "121008")
        assert len(str(operator.PersonName).encode()) <= 64


def test_the_side_of_a_request_is_one_of_three() -> None:
    assert {side.value for side in Laterality} == {"left", "right", "bilateral"}
