"""The biometry report, read back row by row: the rows are those of PS3.16 TID 5000."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.errors import NoBiometry
from reports.model import Report, Status
from tests.processes import finished
from tests.reports.report_forms import REPORTS, a_biometry_report
from tests.tools import DEVICE_UID_WARNINGS, complaints, module, require

module("pydicom", "pip install 'ustri[dicom]'")
module("highdicom", "pip install 'ustri[dicom]'")

from pydicom import Dataset, dcmread  # noqa: E402

from reports.forms.dicom.biometry import to_biometry  # noqa: E402
from reports.forms.dicom.source import own_source  # noqa: E402
from reports.forms.dicom.sr import to_sr  # noqa: E402
from tests.reports.forms.test_dicom_sr import MULTI_FRAME  # noqa: E402

WHOLE = a_biometry_report()
NO_NAME = ("", "", "")
WHOSE = [
    ("HAS OBS CONTEXT", "TEXT", ("121030", "DCM", "Subject ID")),
    ("HAS OBS CONTEXT", "TEXT", ("11951-1", "LN", "Fetus ID")),
]
TRACK = [
    ("HAS OBS CONTEXT", "TEXT", ("112039", "DCM", "Tracking Identifier")),
    ("HAS OBS CONTEXT", "UIDREF", ("112040", "DCM", "Tracking Unique Identifier")),
]
SIZE = [
    ("HAS CONCEPT MOD", "CODE", ("121401", "DCM", "Derivation")),
    ("HAS PROPERTIES", "NUM", ("371886008", "SCT", "+, range of upper measurement uncertainty")),
    ("HAS PROPERTIES", "NUM", ("371885007", "SCT", "-, range of lower measurement uncertainty")),
    ("INFERRED FROM", "TEXT", ("121421", "DCM", "Equation Citation")),
    ("INFERRED FROM", "SCOORD", ("121112", "DCM", "Source of Measurement")),
    *TRACK,
    ("HAS CONCEPT MOD", "TEXT", ("111001", "DCM", "Algorithm Name")),
    ("HAS CONCEPT MOD", "TEXT", ("111003", "DCM", "Algorithm Version")),
    ("HAS CONCEPT MOD", "CODE", ("111000", "DCM", "Algorithm Family")),
]
HEAD_CIRCUMFERENCE = ("11984-2", "LN", "Head Circumference")
BIPARIETAL = ("11820-8", "LN", "Biparietal Diameter")
OCCIPITOFRONTAL = ("11851-3", "LN", "Occipital-Frontal Diameter")
CEPHALIC_INDEX = ("11823-2", "LN", "Cephalic Index")
AGE = ("18185-9", "LN", "Gestational Age")

Triple = tuple[str, str, str]
Row = tuple[str, str, Triple]


def read(report: Report) -> Dataset:
    return dcmread(io.BytesIO(to_biometry(report)))


def triple(sequence: list[Dataset]) -> Triple:
    item = sequence[0]
    return str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning)


def named(item: Dataset) -> Triple:
    return triple(item.ConceptNameCodeSequence) if "ConceptNameCodeSequence" in item else NO_NAME


def below(item: Dataset, *path: Triple) -> list[Dataset]:
    """The items below `item` that a path of names leads to."""
    found = [item]
    for step in path:
        found = [
            child
            for each in found
            for child in each.get("ContentSequence", [])
            if named(child) == step
        ]
    return found


def rows(item: Dataset) -> list[Row]:
    """The items right below that one; a relationship by reference has neither type nor name."""
    return [
        (str(child.RelationshipType), str(child.get("ValueType", "")), named(child))
        for child in item.ContentSequence
    ]


def everywhere(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from everywhere(child)


def at(document: Dataset, place: list[int]) -> Dataset:
    """The item that those numbers lead to (PS3.3 C.17.3.2.5)."""
    item = document
    for index in list(place)[1:]:
        item = item.ContentSequence[index - 1]
    return item


LIBRARY = ("111028", "DCM", "Image Library")
SUMMARY = ("121111", "DCM", "Summary")
FETUS_SUMMARY = ("125008", "DCM", "Fetus Summary")
RATIOS = ("125001", "DCM", "Fetal Biometry Ratios")
BIOMETRY = ("125002", "DCM", "Fetal Biometry")
GROUP = ("125005", "DCM", "Biometry Group")


def test_the_root_is_the_template_with_its_sections_in_order() -> None:
    document = read(WHOLE)
    assert document.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"
    assert triple(document.ConceptNameCodeSequence) == (
        *("125000", "DCM"),
        "OB-GYN Ultrasound Procedure Report",
    )
    template = document.ContentTemplateSequence[0]
    assert (template.MappingResource, template.TemplateIdentifier) == ("DCMR", "5000")
    observer = "HAS OBS CONTEXT"
    assert rows(document) == [
        ("HAS CONCEPT MOD", "CODE", ("121049", "DCM", "Language of Content Item and Descendants")),
        (observer, "CODE", ("121005", "DCM", "Observer Type")),
        (observer, "UIDREF", ("121012", "DCM", "Device Observer UID")),
        (observer, "TEXT", ("121013", "DCM", "Device Observer Name")),
        (observer, "TEXT", ("121014", "DCM", "Device Observer Manufacturer")),
        (observer, "TEXT", ("121015", "DCM", "Device Observer Model Name")),
        (observer, "TEXT", ("121016", "DCM", "Device Observer Serial Number")),
        *(("CONTAINS", "CONTAINER", name) for name in (LIBRARY, SUMMARY, RATIOS, BIOMETRY)),
    ]


def test_a_section_names_its_fetus_and_has_a_group_for_each_size() -> None:
    document = read(WHOLE)
    [biometry] = below(document, BIOMETRY)
    assert rows(biometry) == [*WHOSE, *(3 * [("CONTAINS", "CONTAINER", GROUP)])]
    circumference, biparietal, occipitofrontal = below(document, BIOMETRY, GROUP)
    num = "CONTAINS", "NUM"
    assert rows(circumference) == [(*num, HEAD_CIRCUMFERENCE), (*num, AGE)]
    assert rows(biparietal) == [(*num, BIPARIETAL)]
    assert rows(occipitofrontal) == [(*num, OCCIPITOFRONTAL)]
    [ratios] = below(document, RATIOS)
    assert rows(ratios) == [*WHOSE, (*num, CEPHALIC_INDEX)]
    [summary] = below(document, SUMMARY, FETUS_SUMMARY)
    comments = [("CONTAINS", "TEXT", ("121106", "DCM", "Comment"))]
    assert rows(summary) == [*WHOSE, *comments * (len(summary.ContentSequence) - 2)]


@pytest.mark.parametrize("size", [HEAD_CIRCUMFERENCE, BIPARIETAL, OCCIPITOFRONTAL])
def test_a_size_has_the_rows_of_a_measurement(size: Triple) -> None:
    document = read(WHOLE)
    [item] = below(document, BIOMETRY, GROUP, size)
    assert rows(item) == SIZE
    [derivation] = below(item, ("121401", "DCM", "Derivation"))
    assert triple(derivation.ConceptCodeSequence) == ("258104002", "SCT", "Measured")
    [place] = below(item, ("121112", "DCM", "Source of Measurement"))
    assert place.GraphicType == "POLYLINE"
    assert rows(place) == [("SELECTED FROM", "", NO_NAME)]
    picture = at(document, place.ContentSequence[0].ReferencedContentItemIdentifier)
    assert picture.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == (
        own_source(WHOLE).instance_uid
    )


def test_values_and_units_are_those_of_the_report() -> None:
    document = read(WHOLE)
    names = {
        "head circumference": (BIOMETRY, GROUP, HEAD_CIRCUMFERENCE),
        "biparietal diameter": (BIOMETRY, GROUP, BIPARIETAL),
        "occipitofrontal diameter": (BIOMETRY, GROUP, OCCIPITOFRONTAL),
        "cephalic index": (RATIOS, CEPHALIC_INDEX),
        "gestational age": (BIOMETRY, GROUP, AGE),
    }
    units = {"mm": ("mm", "UCUM", "millimeter"), "%": ("%", "UCUM", "percent")}
    assert {number.name for number in WHOLE.measurements} == set(names)
    for number in WHOLE.measurements:
        [item] = below(document, *names[number.name])
        [value] = item.MeasuredValueSequence
        assert number.value is not None
        if number.unit == "wk":  # The template wants days.
            assert float(value.NumericValue) == pytest.approx(7 * number.value)
            assert triple(value.MeasurementUnitsCodeSequence) == ("d", "UCUM", "day")
        else:
            assert float(value.NumericValue) == number.value
            assert triple(value.MeasurementUnitsCodeSequence) == units[str(number.unit)]


def test_the_age_names_its_equation_and_the_circumference_that_it_follows_from() -> None:
    document = read(WHOLE)
    [age] = below(document, BIOMETRY, GROUP, AGE)
    by_reference = ("INFERRED FROM", "", NO_NAME)
    assert rows(age) == [
        ("INFERRED FROM", "CODE", ("121420", "DCM", "Equation")),
        by_reference,
        *TRACK,
    ]
    equation, circumference, *_ = age.ContentSequence
    assert triple(equation.ConceptCodeSequence) == ("11932-1", "LN", "HC, Hadlock 1984")
    place = circumference.ReferencedContentItemIdentifier
    assert named(at(document, place)) == HEAD_CIRCUMFERENCE


def test_the_index_is_inferred_from_the_two_diameters() -> None:
    document = read(WHOLE)
    [index] = below(document, RATIOS, CEPHALIC_INDEX)
    places = [
        child.ReferencedContentItemIdentifier
        for child in index.ContentSequence
        if "ReferencedContentItemIdentifier" in child
    ]
    assert [named(at(document, place)) for place in places] == [BIPARIETAL, OCCIPITOFRONTAL]


def test_an_interval_is_an_uncertainty_in_the_unit_of_the_number() -> None:
    [item] = below(read(WHOLE), BIOMETRY, GROUP, HEAD_CIRCUMFERENCE)
    circumference = WHOLE.measurements[0]
    assert circumference.interval is not None
    assert circumference.value is not None
    low, high = circumference.interval
    for name, width in (
        ("+, range of upper measurement uncertainty", high - circumference.value),
        ("-, range of lower measurement uncertainty", circumference.value - low),
    ):
        [end] = [child for child in item.ContentSequence if named(child)[2] == name]
        [value] = end.MeasuredValueSequence
        assert float(value.NumericValue) == pytest.approx(width, abs=1e-4)
        assert triple(value.MeasurementUnitsCodeSequence)[0] == "mm"


def test_what_is_not_measured_has_no_row() -> None:
    document = read(REPORTS["fetal head"])
    assert len(below(document, BIOMETRY, GROUP)) == 1
    [group] = below(document, BIOMETRY, GROUP)
    assert [name for _, _, name in rows(group)] == [HEAD_CIRCUMFERENCE]
    assert not below(document, RATIOS)
    assert document.CompletionFlag == "PARTIAL"
    numbers = [item for item in everywhere(document) if item.get("ValueType") == "NUM"]
    assert all(len(item.MeasuredValueSequence) == 1 for item in numbers)


def test_the_summary_says_what_the_report_says_and_that_it_is_research() -> None:
    [summary] = below(read(WHOLE), SUMMARY, FETUS_SUMMARY)
    words = [item.TextValue for item in summary.ContentSequence if item.ValueType == "TEXT"]
    assert "not for clinical use" in words[2]
    for line in (*WHOLE.impression, *WHOLE.limitations):
        assert line in words
    assert len(set(words[2:])) == len(words[2:])


def test_its_numbers_and_its_observer_have_the_uids_of_the_other_sr() -> None:
    theirs = dcmread(io.BytesIO(to_sr(WHOLE)))
    kept = ("Tracking Unique Identifier", "Device Observer UID")

    def uids(document: Dataset) -> set[str]:
        return {
            str(item.UID)
            for item in everywhere(document)
            if item.get("ValueType") == "UIDREF" and named(item)[2] in kept
        }

    ours = uids(read(WHOLE))
    assert len(ours) == 1 + len(WHOLE.measurements)
    assert ours <= uids(theirs)
    assert read(WHOLE).SOPInstanceUID != theirs.SOPInstanceUID
    assert read(WHOLE).SeriesInstanceUID != theirs.SeriesInstanceUID
    assert read(WHOLE).StudyInstanceUID == theirs.StudyInstanceUID


@pytest.mark.parametrize("name", ["fetal biometry", "fetal head", "landmarks"])
def test_dciodvfy_finds_no_error(name: str, tmp_path: Path) -> None:
    data = to_biometry(REPORTS[name])
    assert set(complaints(data, tmp_path)) <= DEVICE_UID_WARNINGS


@pytest.mark.parametrize("beside", [False, True])
def test_dcmtk_reads_the_whole_document(beside: bool, tmp_path: Path) -> None:
    program = require("dsrdump", "apt-get install dcmtk")
    path = tmp_path / "biometry.dcm"
    path.write_bytes(to_biometry(WHOLE, MULTI_FRAME if beside else None))
    ran = finished([program, "+Pc", "+Pl", str(path)])
    assert ran.returncode == 0, ran.stderr
    assert not [line for line in ran.stderr.splitlines() if line.startswith(("E:", "F:"))]
    shown = ran.stdout
    circumference, age = WHOLE.measurements[0].value, WHOLE.measurements[4].value
    assert age is not None
    for line in (
        "Comprehensive SR Document",
        '<CONTAINER:(125000,DCM,"OB-GYN Ultrasound Procedure Report")=SEPARATE>',
        f'<contains NUM:(11984-2,LN,"Head Circumference")="{circumference}" '
        '(mm,UCUM,"millimeter")>',
        '<contains NUM:(18185-9,LN,"Gestational Age")="',
        '<inferred from CODE:(121420,DCM,"Equation")=(11932-1,LN,"HC, Hadlock 1984")>',
        '<has obs context TEXT:(11951-1,LN,"Fetus ID")="1">',
    ):
        assert line in shown
    assert shown.count("<inferred from 1.") == 3
    assert shown.count("<selected from 1.8.1>") == 3


def test_beside_a_multi_frame_original_it_names_the_frame(tmp_path: Path) -> None:
    data = to_biometry(WHOLE, MULTI_FRAME)
    assert set(complaints(data, tmp_path)) <= DEVICE_UID_WARNINGS
    document = dcmread(io.BytesIO(data))
    [picture] = document.ContentSequence[7].ContentSequence
    referred = picture.ReferencedSOPSequence[0]
    assert (referred.ReferencedSOPInstanceUID, referred.ReferencedFrameNumber) == ("1.2.3.3", 5)
    evidence = document.CurrentRequestedProcedureEvidenceSequence[0]
    assert evidence.StudyInstanceUID == document.StudyInstanceUID == "1.2.3.1"
    series = evidence.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == "1.2.3.2"
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.3"
    assert document.PatientName == "Doe^Jane"
    source = MULTI_FRAME.model_copy(update={"original": True})
    original = dcmread(io.BytesIO(to_biometry(WHOLE, source)))
    assert original.SOPInstanceUID != read(WHOLE).SOPInstanceUID


def test_a_later_version_names_the_one_it_supersedes_and_says_how_far_it_was_reviewed() -> None:
    earlier = read(WHOLE)
    later = read(
        a_biometry_report(
            report_id="1" * 32, version=2, supersedes=WHOLE.report_id, status=Status.FINAL
        )
    )
    series = later.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == earlier.SeriesInstanceUID == later.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    assert (earlier.PreliminaryFlag, later.PreliminaryFlag) == ("PRELIMINARY", "FINAL")
    assert earlier.CompletionFlag == "COMPLETE"


def test_the_same_report_gives_the_same_bytes() -> None:
    assert to_biometry(WHOLE) == to_biometry(a_biometry_report())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("breast in mm, synthetic", "this report is of: Breast ultrasound"),
        ("fetal head in px", "in millimetres. Lengths are in px"),
        ("intrapartum", "this report is of: Intrapartum"),
        ("refused, no exam", "this report is of: Exam not recognised"),
    ],
)
def test_other_reports_have_none_and_say_why(name: str, reason: str) -> None:
    reports = REPORTS | {
        "intrapartum": WHOLE.model_copy(
            update={
                "exam": WHOLE.exam.model_copy(
                    update={"code": "intrapartum", "title": "Intrapartum ultrasound"}
                )
            }
        )
    }
    with pytest.raises(NoBiometry, match=reason):
        to_biometry(reports[name])


def test_a_head_that_was_not_measured_has_none_and_says_why() -> None:
    refused = a_biometry_report(
        outcome="refused", reason="The image is black.", findings=(), measurements=(), evidence=()
    )
    with pytest.raises(NoBiometry, match=r"in millimetres\. The image is black\."):
        to_biometry(refused)
    unseen = a_biometry_report(findings=(), measurements=(), evidence=())
    with pytest.raises(NoBiometry, match="measures no head"):
        to_biometry(unseen)
