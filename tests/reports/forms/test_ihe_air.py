"""What IHE AI Results asks of results in DICOM, and that docs/ihe-air.md says of ours no more."""

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reports.model import Report
from tests.reports.report_forms import REPORTS
from tests.tools import module

module("pydicom", "pip install 'ustri[dicom]'")
module("highdicom", "pip install 'ustri[dicom]'")

from pydicom import Dataset, dcmread  # noqa: E402

from reports.forms.dicom.biometry import to_biometry  # noqa: E402
from reports.forms.dicom.image import MANUFACTURER  # noqa: E402
from reports.forms.dicom.seg import to_seg  # noqa: E402
from reports.forms.dicom.source import own_source  # noqa: E402
from reports.forms.dicom.sr import to_sr  # noqa: E402

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "docs" / "ihe-air.md"
GROUP = "125007"
"""Measurement Group, which in TID 1500 holds findings and numbers."""

each_report = pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)


def read(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


def everywhere(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from everywhere(child)


def code(sequence: list[Dataset]) -> str:
    return str(sequence[0].CodeValue)


def named(item: Dataset) -> str:
    return code(item.ConceptNameCodeSequence)


def groups(report: Report) -> list[Dataset]:
    return [
        item
        for item in everywhere(read(to_sr(report)))
        if item.ValueType == "CONTAINER" and named(item) == GROUP
    ]


def of_name(item: Dataset, name: str) -> list[Dataset]:
    return [child for child in item.get("ContentSequence", []) if named(child) == name]


def equipment(dataset: Dataset) -> set[tuple[str, str]]:
    """The model names and versions of what contributed, each described as the profile asks."""
    found = set()
    for item in dataset.ContributingEquipmentSequence:
        assert code(item.PurposeOfReferenceCodeSequence) == "109102"
        assert item.ContributionDateTime
        if item.Manufacturer == MANUFACTURER:
            assert str(item.DeviceUID).startswith("2.25.")
            found.add((str(item.ManufacturerModelName), str(item.SoftwareVersions)))
    uids = [i.DeviceUID for i in dataset.ContributingEquipmentSequence if "DeviceUID" in i]
    assert len(uids) == len(set(uids)) == len(found)
    return found


@each_report
def test_every_algorithm_of_the_tree_is_contributing_equipment(report: Report) -> None:
    document = read(to_sr(report))
    described = equipment(document)
    names = [item.TextValue for item in everywhere(document) if named(item) == "111001"]
    versions = [item.TextValue for item in everywhere(document) if named(item) == "111003"]
    assert set(zip(names, versions, strict=True)) <= described
    assert {(model.id, model.sha256) for model in report.provenance.models} <= described
    assert {item.specialist for item in report.evidence} <= {name for name, _ in described}


@pytest.mark.parametrize("make", [to_sr, to_biometry])
def test_the_observer_is_contributing_equipment_with_the_same_values(
    make: Callable[[Report], bytes],
) -> None:
    document = read(make(REPORTS["fetal biometry"]))
    observer = {named(item): item for item in document.ContentSequence}
    [device] = [
        item
        for item in document.ContributingEquipmentSequence
        if item.get("DeviceUID") == observer["121012"].UID
    ]
    assert device.Manufacturer == observer["121014"].TextValue
    assert device.ManufacturerModelName == observer["121015"].TextValue
    assert device.SoftwareVersions == observer["121016"].TextValue


def test_the_algorithm_of_a_segment_is_contributing_equipment() -> None:
    for name in ("breast", "fetal biometry"):
        segmentation = read(to_seg(REPORTS[name]))
        for segment in segmentation.SegmentSequence:
            [algorithm] = segment.SegmentationAlgorithmIdentificationSequence
            assert algorithm.AlgorithmSource == MANUFACTURER
            pair = (str(algorithm.AlgorithmName), str(algorithm.AlgorithmVersion))
            assert pair in equipment(segmentation)


def test_another_version_of_the_weights_is_another_device() -> None:
    report = REPORTS["breast"]
    changed = report.model_copy(
        update={
            "provenance": report.provenance.model_copy(
                update={
                    "models": tuple(
                        model.model_copy(update={"sha256": model.sha256[::-1]})
                        for model in report.provenance.models
                    )
                }
            )
        }
    )
    uids = [
        {str(i.DeviceUID) for i in read(to_sr(each)).ContributingEquipmentSequence[1:]}
        for each in (report, changed)
    ]
    assert len(uids[0] & uids[1]) == 1  # USTri itself.


def test_the_document_is_a_measurement_report_of_an_imaging_procedure() -> None:
    document = read(to_sr(REPORTS["breast"]))
    assert document.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert document.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert named(document) == "126000"
    [procedure] = of_name(document, "121058")
    assert code(procedure.ConceptCodeSequence) == "24601-7"  # LOINC: ultrasound of a breast.


def test_present_absent_and_not_assessed_are_three_standard_codes() -> None:
    states = {}
    for group in groups(REPORTS["fetal head"])[:3]:
        [finding] = of_name(group, "121071")
        [state] = of_name(group, "state")
        meaning = state.ConceptCodeSequence[0]
        states[finding.ConceptCodeSequence[0].CodeMeaning] = (
            str(meaning.CodingSchemeDesignator),
            str(meaning.CodeValue),
        )
    assert states == {
        "Brain": ("SCT", "52101004"),
        "Cavum of septum pellucidum": ("SCT", "373121007"),
        "Lateral ventricle": ("SCT", "272519000"),
    }


def test_a_refused_report_is_a_document_too_that_says_not_evaluated() -> None:
    [group] = groups(REPORTS["refused"])
    [state] = of_name(group, "state")
    assert code(state.ConceptCodeSequence) == "373121007"
    for number in (item for item in everywhere(group) if item.ValueType == "NUM"):
        assert code(number.NumericValueQualifierCodeSequence) == "114007"


@each_report
def test_every_group_and_number_is_tracked(report: Report) -> None:
    for group in groups(report):
        numbers = [
            item
            for item in group.ContentSequence
            if item.ValueType == "NUM"
            and "score" not in item.ConceptNameCodeSequence[0].CodeMeaning
        ]
        for item in (group, *numbers):
            [identifier], [uid] = of_name(item, "112039"), of_name(item, "112040")
            assert identifier.TextValue
            assert str(uid.UID).startswith("2.25.")


def test_an_outline_has_the_same_tracking_uid_in_the_sr_and_in_the_seg() -> None:
    report = REPORTS["fetal biometry"]
    tracked = {
        (of_name(group, "112039")[0].TextValue, str(of_name(group, "112040")[0].UID))
        for group in groups(report)
    }
    for segment in read(to_seg(report)).SegmentSequence:
        assert (str(segment.TrackingID), str(segment.TrackingUID)) in tracked


@each_report
def test_every_group_refers_to_the_image_and_the_evidence_lists_it(report: Report) -> None:
    document = read(to_sr(report))
    source = own_source(report)
    for group in groups(report):
        referred = {
            str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            for item in everywhere(group)
            if item.ValueType == "IMAGE"
        }
        assert referred == {source.instance_uid}
    [study] = document.CurrentRequestedProcedureEvidenceSequence
    [series] = study.ReferencedSeriesSequence
    [instance] = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == document.StudyInstanceUID
    assert instance.ReferencedSOPInstanceUID == source.instance_uid


def test_a_finding_that_rests_on_one_algorithm_names_it() -> None:
    report = REPORTS["breast"]  # Its lesion rests on two, its classification on one.
    lesion, classification = groups(report)[:2]
    assert not of_name(lesion, "111001")
    [algorithm] = of_name(classification, "111001")
    assert algorithm.TextValue == "breast_2cls"


def test_numbers_carry_ucum_units_and_their_intervals_too() -> None:
    units = set()
    for name in ("breast in mm, synthetic", "fetal biometry", "fetal head in px"):
        for item in everywhere(read(to_sr(REPORTS[name]))):
            for value in item.get("MeasuredValueSequence", []):
                [unit] = value.MeasurementUnitsCodeSequence
                assert unit.CodingSchemeDesignator == "UCUM"
                units.add((named(item), str(unit.CodeValue)))
    assert {("11984-2", "mm"), ("371886008", "mm"), ("371885007", "mm")} <= units
    assert {("11984-2", "{pixels}"), ("371886008", "{pixels}")} <= units


def rows() -> list[list[str]]:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    cells = [[c.strip() for c in line.strip("|").split(" | ")] for line in lines if line[:1] == "|"]
    return [row for row in cells if len(row) == 4 and row[2] != "state" and "---" not in row[0]]


def test_the_table_names_a_test_for_all_that_it_says_is_met() -> None:
    tests = "".join(
        path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_dicom*.py")
    ) + Path(__file__).read_text(encoding="utf-8")
    assert len(rows()) > 15
    for requirement, _, state, shown_by in rows():
        assert state in {"met", "in part", "open", "not made"}, requirement
        shown = re.findall(r"`(test_\w+)`", shown_by)
        assert shown or state in {"open", "not made"}, requirement
        for test in shown:
            assert f"def {test}(" in tests, test
