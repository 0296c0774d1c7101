import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from reports.errors import NothingOutlined
from reports.measure.geometry import rasterize
from reports.model import DicomSource, MaskEvidence, Region, Report, Spacing
from tests.builders import a_calibrated_image_info, a_worded_report, an_ellipse, an_image_info
from tests.reports.report_forms import HOLE, REPORTS, RING, frame_png
from tests.tools import DEVICE_UID_WARNINGS, complaints, module

pydicom = module("pydicom", "pip install 'ustri[dicom]'")
highdicom = module("highdicom", "pip install 'ustri[dicom]'")

from reports.forms.dicom.image import to_image  # noqa: E402
from reports.forms.dicom.seg import to_seg  # noqa: E402
from reports.forms.dicom.source import US_IMAGE, own_source  # noqa: E402
from reports.forms.dicom.sr import to_sr  # noqa: E402

MULTI_FRAME = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.3.1", "frame": 7}


def two_outlines() -> Report:
    """The breast report with a second outline that has a hole and overlaps nothing."""
    report = a_worded_report()
    second = MaskEvidence(
        id="e9", specialist="breast_lesion", step=2, label="lesion", polygons=(RING, HOLE)
    )
    return report.model_copy(update={"evidence": (*report.evidence, second)})


@pytest.mark.parametrize("kind", ["breast", "fetal head", "two outlines", "multi-frame"])
def test_dciodvfy_finds_no_error(kind: str, tmp_path: Path) -> None:
    report = REPORTS.get(kind, two_outlines())
    source = own_source(report)
    if kind == "multi-frame":
        source = source.model_copy(update=MULTI_FRAME)
    assert set(complaints(to_seg(report, source), tmp_path)) <= DEVICE_UID_WARNINGS


def test_each_segment_is_its_rasterised_outline() -> None:
    report = two_outlines()
    segmentation = highdicom.seg.segread(io.BytesIO(to_seg(report)))
    masks = [item for item in report.evidence if isinstance(item, MaskEvidence)]
    assert segmentation.number_of_segments == len(masks) == 2
    for number, (plane, mask) in enumerate(
        zip(segmentation.pixel_array, masks, strict=True), start=1
    ):
        expected = rasterize(mask.polygons, report.image.width_px, report.image.height_px)
        np.testing.assert_array_equal(plane.astype(bool), expected)
        description = segmentation.get_segment_description(number)
        assert description.tracking_id == mask.id
    assert not segmentation.pixel_array[1][135, 145]  # In the hole.


def test_segments_carry_the_tracking_uids_of_the_sr() -> None:
    report = REPORTS["breast"]
    segmentation = highdicom.seg.segread(io.BytesIO(to_seg(report)))
    uid = segmentation.get_segment_description(1).tracking_uid
    assert uid.encode() in to_sr(report)


def test_a_segmentation_names_its_frame_and_orientation() -> None:
    report = REPORTS["breast"]
    source = own_source(report).model_copy(update=MULTI_FRAME)
    dataset = pydicom.dcmread(io.BytesIO(to_seg(report, source)))
    assert "PatientOrientation" in dataset
    frame = dataset.PerFrameFunctionalGroupsSequence[0]
    image = frame.DerivationImageSequence[0].SourceImageSequence[0]
    assert image.ReferencedFrameNumber == 7
    assert image.ReferencedSOPClassUID == source.sop_class_uid
    assert image.ReferencedSOPInstanceUID == source.instance_uid


def test_the_same_report_gives_the_same_segmentation() -> None:
    assert to_seg(REPORTS["breast"]) == to_seg(REPORTS["breast"])


def test_a_report_without_outlines_has_no_segmentation() -> None:
    with pytest.raises(NothingOutlined, match="no outline"):
        to_seg(REPORTS["refused"])


@pytest.mark.parametrize("colour", [False, True])
def test_the_picture_beside_the_report_has_the_pixels_that_were_analysed(
    colour: bool, tmp_path: Path
) -> None:
    png = frame_png(colour)
    data = to_image(a_worded_report(image=a_calibrated_image_info((0.1, 0.2))), png)
    dataset = pydicom.dcmread(io.BytesIO(data))
    with PIL.Image.open(io.BytesIO(png)) as picture:
        np.testing.assert_array_equal(dataset.pixel_array, np.asarray(picture))
    assert list(dataset.PixelSpacing) == [0.2, 0.1]  # Rows apart first (PS3.3 10.7.1.3).
    assert dataset.PatientIdentityRemoved == "NO"
    assert "Burned-in text: not checked" in dataset.DeidentificationMethod
    assert not [line for line in complaints(data, tmp_path) if line.startswith("Error")]


@pytest.mark.parametrize("spacing", [(0.1, 0.1), (0.1, 0.2)])
def test_a_picture_with_calibrated_regions_is_an_ultrasound_image_that_carries_them(
    spacing: tuple[float, float], tmp_path: Path
) -> None:
    across, down = spacing
    box = (10.0, 20.0, 300.0, 200.0)
    info = a_calibrated_image_info(
        spacing, regions=(Region(box=box, spacing_mm=Spacing(x=across, y=down)),)
    )
    report = a_worded_report(image=info)
    data = to_image(report, frame_png())
    dataset = pydicom.dcmread(io.BytesIO(data))
    assert dataset.SOPClassUID == US_IMAGE == own_source(report).sop_class_uid
    [region] = dataset.SequenceOfUltrasoundRegions
    assert (region.RegionLocationMinX0, region.RegionLocationMinY0) == (10, 20)
    assert (region.RegionLocationMaxX1, region.RegionLocationMaxY1) == (299, 199)
    assert (region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection) == (3, 3)
    assert (region.PhysicalDeltaX, region.PhysicalDeltaY) == (across / 10, down / 10)
    ratio = dataset.get("PixelAspectRatio")
    assert (list(ratio) if ratio else None) == ([2, 1] if across != down else None)
    assert "PixelSpacing" not in dataset
    for each in (data, to_sr(report), to_seg(report)):
        assert not [line for line in complaints(each, tmp_path) if line.startswith("Error")]


def test_a_spacing_that_a_person_stated_is_said_to_be_one(tmp_path: Path) -> None:
    data = to_image(a_worded_report(image=a_calibrated_image_info((0.1, 0.2))), frame_png())
    dataset = pydicom.dcmread(io.BytesIO(data))
    assert dataset.PixelSpacingCalibrationType == "FIDUCIAL"
    assert dataset.PixelSpacingCalibrationDescription == "DICOM PixelSpacing"


def test_forms_of_one_study_belong_together_under_its_remapped_uid() -> None:
    dicom = DicomSource(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.6.1",
        study_uid="2.25.1234",
        series_uid="2.25.1235",
        instance_uid="2.25.1236",
        frames=1,
        burned_in="no",
        masked_px=0,
    )
    report = a_worded_report(image=an_image_info(dicom=dicom))
    files = (to_image(report, frame_png()), to_sr(report), to_seg(report))
    read = [pydicom.dcmread(io.BytesIO(data)) for data in files]
    assert {dataset.StudyInstanceUID for dataset in read} == {"2.25.1234"}
    assert len({dataset.PatientID for dataset in read}) == 1
    assert len({dataset.SOPInstanceUID for dataset in read}) == 3
    assert read[0].BurnedInAnnotation == "NO"


def test_an_ellipse_off_the_frame_is_cut_at_its_edge() -> None:
    report = a_worded_report()
    outside = MaskEvidence(
        id="e2",
        specialist="breast_lesion",
        step=2,
        label="lesion",
        polygons=(an_ellipse((0.0, 0.0)),),
    )
    changed = report.model_copy(update={"evidence": (outside,), "measurements": (), "findings": ()})
    plane = highdicom.seg.segread(io.BytesIO(to_seg(changed))).pixel_array
    assert plane.squeeze()[0, 0] == 1
