import json
from pathlib import Path
from typing import Any

import pytest

from reports.errors import CodeNotAllowed
from reports.forms.fhir.bundle import to_fhir
from reports.forms.fhir.value_sets import check
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


def test_the_same_report_gives_the_same_bundle() -> None:
    assert to_fhir(REPORTS["breast"]) == to_fhir(REPORTS["breast"])
