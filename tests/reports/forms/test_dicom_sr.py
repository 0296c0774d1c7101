import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from reports.forms import codes
from reports.model import ExamCode, MaskEvidence, Report, Status
from tests.builders import LESION_BOX, a_worded_report, an_ellipse
from tests.reports.report_forms import HOLE, REPORTS, a_fetal_report, frame_png
from tests.tools import KNOWN_WARNINGS, complaints, module

module("pydicom", "pip install 'ustri[dicom]'")
module("highdicom", "pip install 'ustri[dicom]'")

from highdicom import sr  # noqa: E402
from pydicom import Dataset, dcmread  # noqa: E402

from reports.forms.dicom.image import to_image  # noqa: E402
from reports.forms.dicom.source import Source, own_source  # noqa: E402
from reports.forms.dicom.sr import to_sr  # noqa: E402

MULTI_FRAME = Source(
    study_uid="1.2.3.1",
    series_uid="1.2.3.2",
    instance_uid="1.2.3.3",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.3.1",
    frame=5,
    patient_id="P1",
    patient_name="Doe^Jane",
    patient_birth_date="19800101",
    patient_sex="F",
    study_id="S1",
    study_date="20261119",
    study_time="101500",
    accession_number="A1",
)


def read(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


def items(node: Dataset) -> Iterator[Dataset]:
    for child in node.get("ContentSequence", []):
        yield child
        yield from items(child)


def name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def named(report: Report, meaning: str) -> list[Dataset]:
    return [
        item
        for item in items(read(to_sr(report)))
        if "ConceptNameCodeSequence" in item and name(item) == meaning
    ]


def drawn(group: sr.PlanarROIMeasurementsAndQualitativeEvaluations) -> sr.ImageRegion:
    """The region of a planar group."""
    assert isinstance(group.roi, sr.ImageRegion)
    return group.roi


def regions(report: Report) -> dict[str, sr.PlanarROIMeasurementsAndQualitativeEvaluations]:
    content = sr.srread(io.BytesIO(to_sr(report))).content
    assert isinstance(content, sr.MeasurementReport)
    return {
        str(group.tracking_identifier): group
        for group in content.get_planar_roi_measurement_groups()
    }


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_dciodvfy_finds_no_error_and_warns_of_what_it_does_not_know_only(
    report: Report, tmp_path: Path
) -> None:
    assert set(complaints(to_sr(report), tmp_path)) <= KNOWN_WARNINGS


def test_dciodvfy_finds_no_error_beside_a_multi_frame_original(tmp_path: Path) -> None:
    data = to_sr(a_worded_report(), MULTI_FRAME)
    assert set(complaints(data, tmp_path)) <= KNOWN_WARNINGS
    document = read(data)
    assert document.StudyInstanceUID == "1.2.3.1"
    assert document.PatientName == "Doe^Jane"
    images = [item for item in items(document) if item.ValueType == "IMAGE"]
    assert images
    for image in images:
        assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.3"
        assert image.ReferencedSOPSequence[0].ReferencedFrameNumber == 5


def test_values_and_units_come_back() -> None:
    found = {}
    for item in items(read(to_sr(REPORTS["breast in mm, synthetic"]))):
        if item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0]
            found[name(item)] = (
                float(value.NumericValue),
                value.MeasurementUnitsCodeSequence[0].CodeValue,
            )
    for number in REPORTS["breast in mm, synthetic"].measurements:
        unit = {"mm": "mm", "mm²": "mm2", "1": "1"}[str(number.unit)]
        value, found_unit = found[number.name.capitalize()]
        assert value == pytest.approx(number.value)
        assert found_unit == unit
    assert found["Classifier score for malignant; not a probability"] == (0.18, "1")
    assert found["Detector's presence score; not a probability"] == (0.93, "1")


def test_boxes_and_contours_come_back_in_the_coordinates_of_the_report() -> None:
    groups = regions(REPORTS["breast"])
    box = drawn(groups["e1"]).value
    assert tuple(box.min(axis=0)) + tuple(box.max(axis=0)) == LESION_BOX
    contour = drawn(groups["e2"]).value
    outline = an_ellipse()
    np.testing.assert_allclose(contour, [*outline, outline[0]], atol=1e-4)
    source = own_source(REPORTS["breast"])
    image = drawn(groups["e2"]).ContentSequence[0].ReferencedSOPSequence[0]
    assert image.ReferencedSOPInstanceUID == source.instance_uid


def test_the_ends_of_an_axis_are_the_points_of_its_measurement() -> None:
    (long_axis,) = named(REPORTS["breast"], "Long axis")
    (line,) = [item for item in long_axis.ContentSequence if item.ValueType == "SCOORD"]
    (points,) = [item for item in REPORTS["breast"].evidence if item.id == "e4"]
    expected = [c for point in points.points for c in (point.x, point.y)]  # type: ignore[union-attr]
    assert line.GraphicType == "POLYLINE"
    assert list(line.GraphicData) == pytest.approx(expected, abs=1e-4)


def test_a_hole_and_landmarks_are_regions_of_their_own() -> None:
    document = read(to_sr(REPORTS["landmarks"]))
    shapes = {}
    for group in items(document):
        below = group.get("ContentSequence", [])
        tracks = [i for i in below if i.ValueType == "TEXT" and name(i) == "Tracking Identifier"]
        drawn = [i for i in below if i.ValueType == "SCOORD" and name(i) == "Image Region"]
        if tracks and drawn:
            shapes[tracks[0].TextValue] = (drawn[0].GraphicType, list(drawn[0].GraphicData))
    assert shapes["e1 hole 1"] == ("POLYLINE", [c for p in (*HOLE, HOLE[0]) for c in p])
    assert shapes["e2 long axis left end"] == ("POINT", [240.25, 210.5])


def test_a_missing_number_has_no_value_and_says_why() -> None:
    why = {
        "Gestational Age": "114009",
        "Biparietal Diameter": "114006",
        "Cephalic Index": "114011",
        "Occipital-Frontal Diameter": "114007",
    }
    for meaning, code in why.items():
        (number,) = named(a_fetal_report(), meaning)
        assert number.ValueType == "NUM"
        assert len(number.MeasuredValueSequence) == 0
        assert number.NumericValueQualifierCodeSequence[0].CodeValue == code


def test_an_interval_is_an_uncertainty_above_and_below() -> None:
    (number,) = named(a_fetal_report(), "Head Circumference")
    assert float(number.MeasuredValueSequence[0].NumericValue) == 176.5
    ends = {
        child.ConceptNameCodeSequence[0].CodeValue: child.MeasuredValueSequence[0]
        for child in number.ContentSequence
        if child.ValueType == "NUM"
    }
    assert float(ends["371886008"].NumericValue) == 7.5
    assert float(ends["371885007"].NumericValue) == 6.5
    for end in ends.values():  # The unit is that of the number.
        assert end.MeasurementUnitsCodeSequence[0].CodeValue == "mm"


def test_a_refused_report_names_what_was_not_attempted_and_why() -> None:
    numbers = [i for i in items(read(to_sr(REPORTS["refused"]))) if i.ValueType == "NUM"]
    expected = {code.meaning for code in codes.EXAM_MEASUREMENTS[ExamCode.NERVE]}
    assert {name(item) for item in numbers} == expected
    for item in numbers:
        assert item.NumericValueQualifierCodeSequence[0].CodeValue == "114007"
    (outcome,) = named(REPORTS["refused"], "Outcome of the analysis")
    assert outcome.TextValue == f"Refused: {REPORTS['refused'].reason}"


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_every_sentence_of_the_report_is_in_the_document(report: Report) -> None:
    words = "\n".join(
        str(item.TextValue) for item in items(read(to_sr(report))) if item.ValueType == "TEXT"
    )
    for line in (*report.impression, *report.limitations):
        assert line in words
    for finding in report.findings:
        assert finding.statement in words
    for number in report.measurements:
        assert number.statement in words
    assert ("SYNTHETIC" in words) == report.image.synthetic


def test_a_fetus_is_the_subject_where_it_is() -> None:
    (subject,) = named(a_fetal_report(), "Subject Class")
    assert subject.ConceptCodeSequence[0].CodeValue == "121026"
    assert not named(REPORTS["breast"], "Subject Class")


def test_each_specialist_is_identified_by_its_weights() -> None:
    groups = regions(REPORTS["breast"])
    models = {model.id: model.sha256 for model in REPORTS["breast"].provenance.models}
    for track, specialist in (("e1", "breast_lesion_det"), ("e2", "breast_lesion")):
        texts = {
            name(item): item.TextValue
            for item in groups[track][0].ContentSequence
            if item.ValueType == "TEXT"
        }
        assert texts["Algorithm Name"] == specialist
        assert texts["Algorithm Version"] == models[specialist]


def test_the_document_says_how_far_it_was_reviewed() -> None:
    flags = {
        status: read(to_sr(a_worded_report(status=status))).PreliminaryFlag for status in Status
    }
    assert flags == {
        Status.PRELIMINARY: "PRELIMINARY",
        Status.FINAL: "FINAL",
        Status.AMENDED: "FINAL",
    }
    assert read(to_sr(REPORTS["breast"])).CompletionFlag == "COMPLETE"
    assert read(to_sr(REPORTS["refused"])).CompletionFlag == "PARTIAL"


def test_a_later_version_names_the_one_it_supersedes() -> None:
    first = a_worded_report()
    second = a_worded_report(report_id="1" * 32, version=2, supersedes=first.report_id)
    earlier, later = read(to_sr(first)), read(to_sr(second))
    series = later.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == earlier.SeriesInstanceUID == later.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    assert later.SOPInstanceUID != earlier.SOPInstanceUID


def test_the_same_report_gives_the_same_bytes_at_another_time() -> None:
    first = to_sr(REPORTS["breast"])
    time.sleep(0.01)
    assert to_sr(REPORTS["breast"]) == first


def test_the_document_refers_to_the_picture_beside_it() -> None:
    report = REPORTS["breast"]
    picture, document = read(to_image(report, frame_png())), read(to_sr(report))
    series = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == picture.SeriesInstanceUID
    named_there = series.ReferencedSOPSequence[0]
    assert named_there.ReferencedSOPInstanceUID == picture.SOPInstanceUID
    assert named_there.ReferencedSOPClassUID == picture.SOPClassUID
    assert document.StudyInstanceUID == picture.StudyInstanceUID
    assert document.PatientID == picture.PatientID


def test_tracking_uids_differ_between_items() -> None:
    report = REPORTS["fetal head"]
    tracks = [str(item.UID) for item in named(report, "Tracking Unique Identifier")]
    labels = [item.TextValue for item in named(report, "Tracking Identifier")]
    assert len(set(zip(labels, tracks, strict=True))) == len(set(labels)) == len(set(tracks))
    masks = [item for item in report.evidence if isinstance(item, MaskEvidence)]
    assert {mask.id for mask in masks} <= set(labels)


def test_an_outline_of_too_many_points_is_thinned_and_says_so(tmp_path: Path) -> None:
    long = MaskEvidence(
        id="e2",
        specialist="breast_lesion",
        step=2,
        label="a \\ strange label",
        polygons=(an_ellipse(points=20_000),),
    )
    report = REPORTS["breast"].model_copy(
        update={"evidence": (long,), "measurements": (), "findings": ()}
    )
    assert len(drawn(regions(report)["e2"]).value) == 6667 + 1
    assert "6667 are kept" in named(report, "Comment")[0].TextValue
    assert set(complaints(to_sr(report), tmp_path)) <= KNOWN_WARNINGS
