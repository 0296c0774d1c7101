"""The image that an SR and a SEG refer to, as DICOM, and what the three have in common.

Unless the link to the original is kept, a report refers to an image that USTri makes of the
stored, de-identified frame, so that nothing is orphaned: an Ultrasound Image where it has
calibrated regions, else a Secondary Capture, whose PixelSpacing is that of the whole frame. UIDs
are hashed from ids of the report and times are the report's: the same report gives the same
bytes.
"""

import io
import math
from datetime import datetime
from fractions import Fraction

import numpy as np
import PIL.Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from reports.forms.attributes import TEXT_VRS, fitted
from reports.forms.codes import FETAL_EXAMS, PRIVATE_SCHEME, PRIVATE_SCHEME_NAME, Coded
from reports.forms.dicom.identity import PATIENT_AND_STUDY, InstanceIdentity
from reports.forms.dicom.source import US_IMAGE, Source, own_source
from reports.model import Region, Report
from reports.wording.phrases import NOT_FOR_CLINICAL_USE

MANUFACTURER = "USTri"
MODEL_NAME = "USTri agentic ultrasound reporting"
CHARACTER_SET = "ISO_IR 192"

_DEIDENTIFICATION = "No attribute of the source is kept"
_SERIES = {"image": 9001, "sr": 9002, "seg": 9003, "biometry": 9004, "study": 9005}


def _text(places: int | None) -> str:
    """Return what was done about burned-in text, in the 64 characters of a LO."""
    if places is None:
        return "Burned-in text: not checked"
    return f"Burned-in text: {places} places blackened; faint may remain"


def to_image(report: Report, png: bytes, source: Source | None = None) -> bytes:
    """Return the stored frame as a de-identified file (PS3.10) of the class that `source` names.

    `source` is `own_source` unless given.
    """
    source = source or own_source(report)
    image = reference(report, source)
    image.update(_pixels(png))
    # "YES" would include the pixels, in which faint text may remain where text was looked for.
    image.PatientIdentityRemoved = "YES" if report.image.synthetic else "NO"
    image.DeidentificationMethod = [_DEIDENTIFICATION, _text(report.image.text_blackened)]
    image.ImageComments = NOT_FOR_CLINICAL_USE
    if report.exam.code in FETAL_EXAMS:
        image.ImageLaterality = "U"  # A head is unpaired.
    else:
        image.Laterality = None  # The side of a breast or an arm is not known.
    if report.image.dicom is not None and report.image.dicom.burned_in is not None:
        image.BurnedInAnnotation = report.image.dicom.burned_in.upper()
    image.Manufacturer = MANUFACTURER
    image.SeriesNumber = series_number("image")
    image.InstanceNumber = 1
    image.PatientOrientation = None
    image.ContentDate = image.ContentTime = ""
    if source.sop_class_uid == US_IMAGE:
        image.update(_ultrasound(report))
    else:
        image.update(_capture(report))
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return file_of(image, report)


def _capture(report: Report) -> Dataset:
    """Return what only a Secondary Capture states (PS3.3 C.8.6.1), with the whole frame's spacing.

    PixelSpacing holds the distance of rows first.
    """
    part = Dataset()
    part.ConversionType = "WSD"
    spacing = report.image.spacing_mm
    if spacing is None or report.image.regions:
        return part
    part.PixelSpacing = [spacing.y, spacing.x]
    if report.image.dicom is None:
        part.PixelSpacingCalibrationType = "FIDUCIAL"
        part.PixelSpacingCalibrationDescription = fitted(
            report.image.spacing_source or "stated", "LO"
        )
    return part


def _ultrasound(report: Report) -> Dataset:
    """Return what only an Ultrasound Image states: the calibrated regions (PS3.3 C.8.5.5).

    Their spacing is in cm, with x and y apart.
    """
    part = Dataset()
    part.ImageType = ["DERIVED", "SECONDARY"]
    part.DerivationDescription = "Everything outside the calibrated tissue regions is blackened"
    calibrated = [region for region in report.image.regions if region.spacing_mm is not None]
    part.SequenceOfUltrasoundRegions = [_region(region) for region in calibrated]
    ratios = {
        Fraction(item.spacing_mm.y / item.spacing_mm.x) for item in calibrated if item.spacing_mm
    }
    if len(ratios) == 1 and (ratio := ratios.pop().limit_denominator(10_000)) != 1:
        part.PixelAspectRatio = [ratio.numerator, ratio.denominator]
    return part


def _region(region: Region) -> Dataset:
    """Return one region item: 2D tissue, both axes in cm, its last row and column included."""
    x_min, y_min, x_max, y_max = region.box
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = math.floor(x_min), math.floor(y_min)
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = math.ceil(x_max) - 1, math.ceil(y_max) - 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    if region.spacing_mm is not None:
        item.PhysicalDeltaX = region.spacing_mm.x / 10
        item.PhysicalDeltaY = region.spacing_mm.y / 10
    return item


def _pixels(png: bytes) -> Dataset:
    """Return the Image Pixel module: 8-bit grey, or RGB by pixel."""
    with PIL.Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
        grey = picture.mode == "L"
        pixels = np.asarray(picture if grey else picture.convert("RGB"))
    image = Dataset()
    image.SamplesPerPixel = 1 if grey else 3
    image.PhotometricInterpretation = "MONOCHROME2" if grey else "RGB"
    if not grey:
        image.PlanarConfiguration = 0
    image.Rows, image.Columns = pixels.shape[:2]
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    image.PixelRepresentation = 0
    data = pixels.tobytes()
    image.add_new("PixelData", "OB", data + b"\0" * (len(data) % 2))
    return image


def reference(report: Report, source: Source) -> Dataset:
    """Return what highdicom needs of the image to refer to it, without pixels."""
    image = patient_and_study(source)
    image.SOPClassUID = source.sop_class_uid
    image.SOPInstanceUID = source.instance_uid
    image.SeriesInstanceUID = source.series_uid
    image.Modality = "US"
    image.Rows = report.image.height_px
    image.Columns = report.image.width_px
    image.SpecificCharacterSet = CHARACTER_SET
    return image


def patient_and_study(source: InstanceIdentity) -> Dataset:
    """Return the attributes of patient and study."""
    dataset = Dataset()
    dataset.StudyInstanceUID = source.study_uid
    for name, keyword in PATIENT_AND_STUDY.items():
        value = getattr(source, name)
        if value or keyword != "IssuerOfPatientID":  # that one is left out where it is not stated
            setattr(dataset, keyword, value)
    return dataset


def series_number(form: str) -> int:
    """Return the Series Number of a form's series."""
    return _SERIES[form]


def coded(code: Coded) -> Code:
    """Convert a code to pydicom's."""
    return Code(*code)


def version_of(specialist: str, report: Report) -> str:
    """Return the SHA-256 of a specialist's weights; where none is listed, the code's version."""
    hashes = {model.id: model.sha256 for model in report.provenance.models}
    return hashes.get(specialist, report.provenance.code_version)


def file_of(dataset: Dataset, report: Report) -> bytes:
    """Return the dataset as a file, dated by the report's creation and naming the private scheme.

    The present time takes no part in it.
    """
    when = datetime.fromisoformat(report.created_at)
    for keyword in ("InstanceCreation", "Content", "Series", "OfSecondaryCapture"):
        date, time = _keywords(keyword)
        if date in dataset:
            setattr(dataset, date, when.strftime("%Y%m%d"))
            setattr(dataset, time, when.strftime("%H%M%S"))
    for equipment in dataset.get("ContributingEquipmentSequence", []):
        equipment.ContributionDateTime = when.strftime("%Y%m%d%H%M%S%z")
    dataset.TimezoneOffsetFromUTC = when.strftime("%z") or "+0000"
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.SoftwareVersions = fitted(report.provenance.code_version, "LO")
    if report.image.synthetic:
        dataset.QualityControlSubject = "YES"
    if PRIVATE_SCHEME in str(dataset):
        dataset.CodingSchemeIdentificationSequence = [_scheme()]
    _fit(dataset)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _fit(dataset: Dataset) -> None:
    """Bound every text of a dataset and of its items, as `reports.forms.attributes` does."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _fit(item)
        elif element.VR in TEXT_VRS and element.value:
            given = list(element.value) if element.VM > 1 else [element.value]
            texts = [fitted(str(value), element.VR) for value in given]
            if texts != [str(value) for value in given]:
                element.value = texts if element.VM > 1 else texts[0]


def _keywords(stem: str) -> tuple[str, str]:
    if stem.startswith("Of"):
        return f"Date{stem}", f"Time{stem}"
    return f"{stem}Date", f"{stem}Time"


def _scheme() -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = PRIVATE_SCHEME_NAME
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
