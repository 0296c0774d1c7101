import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.errors import CodeNotAllowed
from reports.forms.fhir.bundle import to_fhir
from reports.forms.fhir.value_sets import SYSTEMS, check
from reports.model import Report, Status
from tests.builders import a_worded_report
from tests.processes import finished
from tests.reports.report_forms import REPORTS, a_fetal_report
from tests.tools import missing, module, require

VALIDATOR = "fhir@4.12.0"
SCRIPT = Path(__file__).with_name("validate_fhir.js")

Json = dict[str, Any]


@pytest.fixture(scope="session")
def validator(pytestconfig: pytest.Config) -> Path:
    """The folder that the npm package of the validator is installed in; it is kept between runs."""
    npm = require("npm", "apt-get install npm")
    require("node", "apt-get install nodejs")
    folder = Path(pytestconfig.rootpath) / ".pytest_cache" / "d" / "fhir-validator"
    if not (folder / "node_modules" / "fhir" / "package.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder))
        ran = finished([npm, "install", *quiet, VALIDATOR], limit_s=120)
        if ran.returncode:
            missing(f"npm could not install {VALIDATOR}.")
    return folder


def errors(validator: Path, folder: Path, bundles: dict[str, bytes]) -> dict[str, list[str]]:
    """What the validator calls an error, per bundle."""
    paths = []
    for index, data in enumerate(bundles.values()):
        path = folder / f"{index}.json"
        path.write_bytes(data)
        paths.append(str(path))
    ran = finished(["node", str(SCRIPT), str(validator), *paths], check=True)
    return dict(zip(bundles, json.loads(ran.stdout).values(), strict=True))


def resources(report: Report, kind: str) -> list[Json]:
    bundle = json.loads(to_fhir(report))
    found = [entry["resource"] for entry in bundle["entry"]]
    return [resource for resource in found if resource["resourceType"] == kind]


def observations(report: Report) -> dict[str, Json]:
    return {item["code"]["text"]: item for item in resources(report, "Observation")}


def test_every_kind_of_report_is_valid_in_r4_by_an_independent_validator(
    validator: Path, tmp_path: Path
) -> None:
    bundles = {name: to_fhir(report, "/image.png") for name, report in REPORTS.items()}
    assert errors(validator, tmp_path, bundles) == {name: [] for name in REPORTS}


def test_the_independent_validator_would_see_a_wrong_code(validator: Path, tmp_path: Path) -> None:
    wrong = to_fhir(REPORTS["breast"]).replace(b'"preliminary"', b'"nearly done"')
    assert errors(validator, tmp_path, {"wrong": wrong})["wrong"]


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_every_kind_of_report_is_valid_in_r4b(report: Report) -> None:
    bundle = module("fhir.resources.R4B.bundle", "pip install fhir.resources")
    bundle.Bundle.model_validate_json(to_fhir(report))


@pytest.mark.parametrize("status", Status)
def test_the_status_follows_the_report(status: Status) -> None:
    report = a_worded_report(status=status)
    for kind in ("DiagnosticReport", "Observation"):
        assert {item["status"] for item in resources(report, kind)} == {str(status)}


def test_a_code_outside_its_required_value_set_is_refused() -> None:
    bundle = json.loads(to_fhir(REPORTS["breast"]))
    check(bundle)
    bundle["entry"][0]["resource"]["status"] = "nearly done"
    with pytest.raises(CodeNotAllowed, match=r"DiagnosticReport\.status is 'nearly done'"):
        check(bundle)
    del bundle["entry"][0]["resource"]["status"]
    with pytest.raises(CodeNotAllowed, match="missing"):
        check(bundle)


def test_values_come_with_ucum_units_and_standard_codes() -> None:
    found = observations(REPORTS["breast in mm, synthetic"])
    report = REPORTS["breast in mm, synthetic"]
    for number in report.measurements:
        quantity = found[number.name]["valueQuantity"]
        assert quantity["value"] == number.value
        assert quantity["system"] == "http://unitsofmeasure.org"
        assert quantity["code"] == {"mm": "mm", "mm²": "mm2", "1": "1"}[str(number.unit)]
    coding = found["long axis"]["code"]["coding"][0]
    assert (coding["system"], coding["code"]) == ("http://snomed.info/sct", "103339001")


def test_an_interval_is_two_components_with_its_coverage() -> None:
    head = observations(a_fetal_report())["head circumference"]
    ends = {part["code"]["text"]: part["valueQuantity"]["value"] for part in head["component"]}
    assert ends == {"90 % interval, lower end": 170.0, "90 % interval, upper end": 184.0}
    assert head["code"]["coding"][0]["code"] == "11984-2"
    assert head["focus"] == [{"display": "Fetus"}]


def test_what_is_missing_has_a_reason_and_no_value() -> None:
    found = observations(a_fetal_report())
    for name, code in {
        "gestational age": "114009",
        "biparietal diameter": "114006",
        "cephalic index": "114011",
        "occipitofrontal diameter": "114007",
    }.items():
        assert "valueQuantity" not in found[name]
        absent = found[name]["dataAbsentReason"]
        assert [coding["code"] for coding in absent["coding"]][1] == code
        assert absent["text"]
    assert "valueCodeableConcept" not in found["cavum septi pellucidi"]
    for name, code in {"lateral ventricle": "272519000", "fetal brain": "52101004"}.items():
        assert found[name]["valueCodeableConcept"]["coding"][0]["code"] == code


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_the_bundle_is_whole_and_says_every_sentence(report: Report) -> None:
    text = to_fhir(report).decode()
    bundle = json.loads(text)
    urls = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(urls)) == len(urls)
    for part in text.split('"reference": "')[1:]:
        assert part.partition('"')[0] in urls
    (diagnostic,) = resources(report, "DiagnosticReport")
    for line in report.impression:
        assert line in diagnostic["conclusion"]
    assert "not for clinical use" in diagnostic["text"]["div"]
    for line in report.limitations:
        assert line.replace("'", "&#x27;") in diagnostic["text"]["div"]
    if report.reason:
        assert report.reason.replace("'", "&#x27;") in diagnostic["text"]["div"]
    assert ("HTEST" in text) == ("SYNTHETIC" in text) == report.image.synthetic


def test_the_image_the_devices_and_the_superseded_report_are_referred_to() -> None:
    report = REPORTS["amended"]
    (diagnostic,) = resources(report, "DiagnosticReport")
    assert diagnostic["media"][0]["link"]["reference"].startswith("urn:uuid:")
    replaced = diagnostic["extension"][0]["valueReference"]["identifier"]["value"]
    assert replaced == report.supersedes
    versions = {
        item["deviceName"][0]["name"]: item["version"][0]["value"]
        for item in resources(report, "Device")
    }
    for model in report.provenance.models:
        assert versions[model.id] == model.sha256


def codings(node: object) -> Iterator[Json]:
    """Every coding below a node."""
    if isinstance(node, dict):
        if {"system", "code", "display"} <= node.keys():
            yield node
        for value in node.values():
            yield from codings(value)
    elif isinstance(node, list):
        for item in node:
            yield from codings(item)


def every_display() -> dict[tuple[str, str], set[str]]:
    """The displays that the bundles of all kinds of report give each code."""
    found: dict[tuple[str, str], set[str]] = {}
    for report in REPORTS.values():
        for coding in codings(json.loads(to_fhir(report))):
            found.setdefault((coding["system"], coding["code"]), set()).add(coding["display"])
    return found


OF_LOINC = {
    "11820-8": "Fetal Head Diameter.biparietal US",
    "11984-2": "Fetal Head Circumference US",
    "18185-9": "Gestational age",
    "24601-7": "US Breast",
    "25061-3": "US Unspecified body region",
}
OF_HL7 = {
    ("http://terminology.hl7.org/CodeSystem/v2-0074", "RUS"): "Radiology Ultrasound",
    ("http://terminology.hl7.org/CodeSystem/v3-ActReason", "HTEST"): "test health data",
}


def test_a_code_has_one_display() -> None:
    assert {code: shown for code, shown in every_display().items() if len(shown) > 1} == {}


def test_displays_of_dicom_and_snomed_are_those_that_pydicom_lists() -> None:
    listed = module("pydicom.sr._concepts_dict", "pip install 'ustri[dicom]'").concepts
    for (system, code), shown in every_display().items():
        for scheme in ("DCM", "SCT"):
            if system == SYSTEMS[scheme] and code != "US":
                names = {of[code][0] for of in listed[scheme].values() if code in of}
                assert shown <= names, code
                full = {name for name in names if name.endswith(")")}
                assert not full or shown <= full, code


def test_displays_of_loinc_are_its_long_common_names() -> None:
    shown = {c: one for (system, c), one in every_display().items() if system == SYSTEMS["LN"]}
    assert shown == {code: {name} for code, name in OF_LOINC.items() if code in shown}
    assert {"11984-2", "24601-7", "25061-3"} <= shown.keys()


def test_displays_of_hl7_are_those_of_the_independent_validator(validator: Path) -> None:
    path = validator / "node_modules" / "fhir" / "profiles" / "valuesets.json"
    listed = dict(OF_HL7)
    for value_set in json.loads(path.read_text(encoding="utf-8")).values():
        for system in value_set.get("systems", []):
            for each in system["codes"]:
                listed[system["uri"], each["code"]] = each.get("display")
    shown = {key: one for key, one in every_display().items() if "hl7.org" in key[0]}
    assert shown == {key: {listed[key]} for key in shown}
    assert OF_HL7.keys() <= shown.keys()


def test_the_same_report_gives_the_same_bundle() -> None:
    assert to_fhir(REPORTS["breast"]) == to_fhir(REPORTS["breast"])
