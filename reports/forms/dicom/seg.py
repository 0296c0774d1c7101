"""The outlines of a report as a DICOM segmentation (SEG) on the analysed frame.

Each outline is a segment.
"""

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.uid import UltrasoundImageStorage

from reports.errors import NothingOutlined
from reports.forms import codes
from reports.forms.attributes import fitted
from reports.forms.dicom.equipment import add_equipment
from reports.forms.dicom.image import (
    CHARACTER_SET,
    MANUFACTURER,
    MODEL_NAME,
    coded,
    file_of,
    reference,
    series_number,
    version_of,
)
from reports.forms.dicom.source import Source, own_source, sop_uid, uid_of
from reports.forms.dicom.sr_groups import tracking_uid
from reports.measure.geometry import rasterize
from reports.model import MaskEvidence, Report


def to_seg(report: Report, source: Source | None = None) -> bytes:
    """Return the SEG as a file (PS3.10); the same report gives the same bytes.

    `source` is `own_source` unless given. Segments follow the order of the evidence and carry the
    tracking UIDs of the SR.

    Raises:
        NothingOutlined: the report has no outline; a SEG must have a segment.
    """
    source = source or own_source(report)
    masks = [item for item in report.evidence if isinstance(item, MaskEvidence)]
    if not masks:
        raise NothingOutlined(
            "The report holds no outline, so that there is no segmentation of it."
        )
    width, height = report.image.width_px, report.image.height_px
    planes = np.stack([rasterize(item.polygons, width, height) for item in masks], axis=-1)
    segmentation = Segmentation(
        source_images=[_single_frame(reference(report, source))],
        pixel_array=planes[None].astype(np.uint8),  # (1, H, W, segments)
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _segment(number, item, report) for number, item in enumerate(masks, start=1)
        ],
        series_instance_uid=uid_of("seg series", source.study_uid, report.analysis_id),
        series_number=series_number("seg"),
        sop_instance_uid=sop_uid("seg", report.report_id, source),
        instance_number=report.version,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=fitted(report.provenance.code_version, "LO"),
        device_serial_number=fitted(report.provenance.code_version, "LO"),
        content_label="USTRI",
        content_description="Outlines of the analysed frame; research software",
        content_creator_name="USTri^",
        omit_empty_frames=False,
        series_description="USTri outlines",
        specific_character_set=CHARACTER_SET,
    )
    _settle(segmentation, report, source)
    add_equipment(segmentation, report)
    return file_of(segmentation, report)


def _segment(number: int, item: MaskEvidence, report: Report) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=fitted(f"{item.id} {codes.structure(item.label).meaning}", "LO"),
        segmented_property_category=coded(codes.category(item.label)),
        segmented_property_type=coded(codes.structure(item.label)),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=fitted(item.specialist, "LO"),
            version=fitted(version_of(item.specialist, report), "LO"),
            family=standard.DCM.ArtificialIntelligence,
            source=MANUFACTURER,
        ),
        tracking_uid=tracking_uid(report, item.id),
        tracking_id=item.id,
    )


def _single_frame(image: Dataset) -> Dataset:
    """Return the analysed frame as the single frame that highdicom accepts as a source.

    It is single-frame even if the source is a multi-frame instance.
    """
    image.SOPClassUID = UltrasoundImageStorage
    image.PatientOrientation = None
    return image


def _settle(segmentation: Segmentation, report: Report, source: Source) -> None:
    """Replace what highdicom draws at random, and state the class and frame of the source."""
    # Type 2C: empty states that the orientation of a freehand ultrasound frame is not known.
    segmentation.PatientOrientation = None
    organization = uid_of("seg dimensions", report.report_id)
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    for series in segmentation.ReferencedSeriesSequence:
        for image in series.ReferencedInstanceSequence:
            image.ReferencedSOPClassUID = source.sop_class_uid
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        for derived in frame.DerivationImageSequence:
            for image in derived.SourceImageSequence:
                image.ReferencedSOPClassUID = source.sop_class_uid
                if source.frame is not None:
                    image.ReferencedFrameNumber = source.frame
