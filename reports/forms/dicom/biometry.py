"""A fetal head's biometry as an OB-GYN Ultrasound Procedure Report: Comprehensive SR, TID 5000.

Its rows are those from which reporting systems fill their own fields: PS3.16 TID 5002 to 5005 and
5008, TID 300 and TID 1008, as in the examples of PS3.17 I.8. Only numbers that were measured have
rows, since readers take the first number of a group as its value; an unreliable one is qualify as
indeterminate, with the reason as a comment. The age and the percentile stand beside the
circumference that they follow from, and not in the summary: one size alone does not date a fetus.
The age in the summary is the sender's.
"""

from dataclasses import dataclass, field

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian

from reports.forms import codes
from reports.forms.attributes import fitted, person_name
from reports.forms.biometry import Known, biometry_of
from reports.forms.dicom.basis import outline_of, points_of, thinned
from reports.forms.dicom.content import (
    Relation,
    by_reference,
    code,
    container,
    image,
    link,
    number,
    person,
    polyline,
    qualify,
    root,
    text,
    uid,
)
from reports.forms.dicom.equipment import add_equipment, device_uid
from reports.forms.dicom.image import (
    CHARACTER_SET,
    MANUFACTURER,
    MODEL_NAME,
    coded,
    file_of,
    patient_and_study,
    series_number,
    version_of,
)
from reports.forms.dicom.source import Source, own_source, sop_uid, uid_of
from reports.forms.dicom.sr import SYNTHETIC, sent_of
from reports.forms.dicom.sr_groups import tracking_uid
from reports.measure.gestation import weeks_of
from reports.measure.head import BPD, HC, OFD
from reports.model import Measurement, Outcome, Report, Status
from reports.wording.phrases import NOT_FOR_CLINICAL_USE

FETUS = "1"
"""The fetus of the image; the other SR names it so too. How many there are is not known."""

TEMPLATE = "5000"

_FETUS_ID = Code("11951-1", "LN", "Fetus ID")
_ROLE = Code("121011", "DCM", "Person Observer's Role in this Procedure")
_DAYS_A_WEEK = 7
_DECIMALS = 4


def to_biometry(report: Report, source: Source | None = None) -> bytes:
    """Return the biometry report as a file (PS3.10); the same report gives the same bytes.

    `source` is `own_source` unless given.

    Raises:
        NoBiometry: the report is of another exam, or states no size of the head in millimetres.
    """
    source = source or own_source(report)
    content = _Content(report, source).tree()
    document = _header(report, source)
    document.update(content)
    add_equipment(document, report)
    document.file_meta = FileMetaDataset()
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return file_of(document, report)


@dataclass(frozen=True)
class _Content:
    report: Report
    source: Source
    targets: dict[int, Dataset] = field(default_factory=dict)
    """What each relationship by reference leads to, by the `id` of its item."""

    def tree(self) -> Dataset:
        """Return the content tree, TID 5000."""
        biometry = biometry_of(self.report)
        picture = image(Relation.CONTAINS, standard.DCM.SourceOfMeasurement, self.source)
        sizes = {size.measurement.name: self._size(size, picture) for size in biometry.sizes}
        sections = [
            container(standard.DCM.ImageLibrary, [picture]),
            container(standard.DCM.Summary, [self._summary()]),
        ]
        if biometry.cephalic_index is not None:
            ratio = self._ratio(biometry.cephalic_index, sizes)
            sections.append(container(standard.DCM.FetalBiometryRatios, [*_fetus(), ratio]))
        groups = {name: [size] for name, size in sizes.items()}
        if biometry.gestational_age is not None and HC in sizes:
            groups[HC].append(self._age(biometry.gestational_age, sizes[HC]))
        if biometry.percentile is not None and HC in sizes:
            groups[HC].append(self._rank(biometry.percentile, sizes[HC]))
        sections.append(
            container(
                standard.DCM.FetalBiometry,
                [*_fetus(), *(container(standard.DCM.BiometryGroup, g) for g in groups.values())],
            )
        )
        title = standard.DCM.OBGYNUltrasoundProcedureReport
        tree = root(title, TEMPLATE, [*_context(self.report), *sections])
        link(tree, self.targets)
        return tree

    def _summary(self) -> Dataset:
        """Return what is said of the fetus in words, TID 5003."""
        lines = [NOT_FOR_CLINICAL_USE, *([SYNTHETIC] if self.report.image.synthetic else [])]
        lines += [line for line in self.report.impression if line not in lines]
        lines += [line for line in self.report.limitations if line not in lines]
        lines += [] if self.report.asked is None else [self.report.asked]
        lines += [f"{name.meaning}: {words}" for name, words in sent_of(self.report)]
        comments = [text(Relation.CONTAINS, standard.DCM.Comment, line) for line in lines]
        return container(standard.DCM.FetusSummary, [*_fetus(), *_sent_age(self.report), *comments])

    def _size(self, known: Known, picture: Dataset) -> Dataset:
        """Return a size with its uncertainty, its place in the image and its algorithm, TID 300."""
        item, measured = _number(known), known.measurement
        items = [code(Relation.HAS_CONCEPT_MOD, standard.DCM.Derivation, standard.SCT.Measured)]
        if measured.interval is not None:
            low, high = measured.interval
            unit = coded(codes.unit(measured.unit))
            for name, width in (
                (standard.SCT.RangeOfUpperMeasurementUncertainty, high - known.value),
                (standard.SCT.RangeOfLowerMeasurementUncertainty, known.value - low),
            ):
                rounded = round(width, _DECIMALS)
                items.append(number(Relation.HAS_PROPERTIES, name, rounded, unit))
        items += [*_formula(measured), self._place(measured, picture), *self._track(measured)]
        item.ContentSequence = [*items, *self._algorithm(measured), *_doubt(measured)]
        return item

    def _ratio(self, known: Known, sizes: dict[str, Dataset]) -> Dataset:
        """Return the cephalic index and what it is the ratio of, TID 5004."""
        item, measured = _number(known), known.measurement
        sides = [self._reference(sizes[name]) for name in (BPD, OFD) if name in sizes]
        item.ContentSequence = [
            *sides,
            *_formula(measured),
            *self._track(measured),
            *_doubt(measured),
        ]
        return item

    def _rank(self, known: Known, circumference: Dataset) -> Dataset:
        """Return the circumference's percentile at the age that the sender states, CID 12017."""
        item, measured = _number(known), known.measurement
        item.ContentSequence = [
            *_formula(measured),
            self._reference(circumference),
            *self._track(measured),
            *_doubt(measured),
        ]
        return item

    def _age(self, known: Known, circumference: Dataset) -> Dataset:
        """Return the age in days with its equation, TID 5008.

        The rows for the spread of a population stay empty: the interval of the report is that of
        the measurement.
        """
        days = round(_DAYS_A_WEEK * known.value, _DECIMALS)
        item = number(Relation.CONTAINS, coded(codes.GESTATIONAL_AGE), days, coded(codes.DAYS))
        qualify(item, _qualifier(known.measurement))
        equation = coded(codes.HC_HADLOCK_1984)
        item.ContentSequence = [
            code(Relation.INFERRED_FROM, standard.DCM.Equation, equation),
            self._reference(circumference),
            *self._track(known.measurement),
            *_doubt(known.measurement),
        ]
        return item

    def _place(self, measured: Measurement, picture: Dataset) -> Dataset:
        """Return where in the image a number was measured, TID 320."""
        points = [(point.x, point.y) for point in points_of(self.report, measured)]
        if not points and (outline := outline_of(self.report, measured)) is not None:
            ring = thinned(outline.polygons[0])
            points = [*ring, ring[0]]
        if not points:
            return self._reference(picture)
        item = polyline(Relation.INFERRED_FROM, standard.DCM.SourceOfMeasurement, points)
        item.ContentSequence = [self._reference(picture, Relation.SELECTED_FROM)]
        return item

    def _track(self, measured: Measurement) -> list[Dataset]:
        """Return the identifiers that the number has in the other SR too, TID 4108."""
        context, track = Relation.HAS_OBS_CONTEXT, tracking_uid(self.report, measured.id)
        return [
            text(context, standard.DCM.TrackingIdentifier, measured.id),
            uid(context, standard.DCM.TrackingUniqueIdentifier, track),
        ]

    def _algorithm(self, measured: Measurement) -> list[Dataset]:
        """Return what outlined the measured structure, TID 4019."""
        outline = outline_of(self.report, measured)
        if outline is None:
            return []
        version, dcm = version_of(outline.specialist, self.report), standard.DCM
        return [
            text(Relation.HAS_CONCEPT_MOD, dcm.AlgorithmName, outline.specialist),
            text(Relation.HAS_CONCEPT_MOD, dcm.AlgorithmVersion, version),
            code(Relation.HAS_CONCEPT_MOD, dcm.AlgorithmFamily, dcm.ArtificialIntelligence),
        ]

    def _reference(self, target: Dataset, relation: Relation = Relation.INFERRED_FROM) -> Dataset:
        item = by_reference(relation)
        self.targets[id(item)] = target
        return item


def _context(report: Report) -> list[Dataset]:
    """Return the language and the observer, TID 1204 and 1001; the patient is the subject."""
    context, version, dcm = Relation.HAS_OBS_CONTEXT, report.provenance.code_version, standard.DCM
    operator = report.request.operator
    performed = (
        []
        if operator is None
        else [
            code(context, dcm.ObserverType, dcm.Person),
            person(context, dcm.PersonObserverName, person_name(operator)),
            code(context, _ROLE, dcm.Performing),
        ]
    )
    return [
        code(
            Relation.HAS_CONCEPT_MOD,
            dcm.LanguageOfContentItemAndDescendants,
            coded(codes.ENGLISH),
        ),
        *performed,
        code(context, dcm.ObserverType, dcm.Device),
        uid(context, dcm.DeviceObserverUID, device_uid(MODEL_NAME, version)),
        text(context, dcm.DeviceObserverName, MANUFACTURER),
        text(context, dcm.DeviceObserverManufacturer, MANUFACTURER),
        text(context, dcm.DeviceObserverModelName, MODEL_NAME),
        text(context, dcm.DeviceObserverSerialNumber, version),
    ]


def _fetus() -> list[Dataset]:
    """Return which fetus a section is about, TID 1008: readers know one or the other name."""
    return [
        text(Relation.HAS_OBS_CONTEXT, standard.DCM.SubjectID, FETUS),
        text(Relation.HAS_OBS_CONTEXT, _FETUS_ID, FETUS),
    ]


def _number(known: Known) -> Dataset:
    name, unit = known.measurement.name, known.measurement.unit
    item = number(
        Relation.CONTAINS, coded(codes.measured(name)), known.value, coded(codes.unit(unit))
    )
    return qualify(item, _qualifier(known.measurement))


def _qualifier(measured: Measurement) -> Code | None:
    found = codes.qualifier(measured)
    return None if found is None else coded(found)


def _doubt(measured: Measurement) -> list[Dataset]:
    """Return the comment that says why a number is unreliable, where it is."""
    if measured.unreliable is None:
        return []
    words = f"{codes.UNRELIABLE.meaning}: {measured.unreliable}."
    return [text(Relation.HAS_PROPERTIES, standard.DCM.Comment, words)]


def _sent_age(report: Report) -> list[Dataset]:
    """Return the age that the sender states, in days, CID 12018."""
    age = report.request.gestational_age
    if age is None:
        return []
    days = round(_DAYS_A_WEEK * weeks_of(age))
    item = number(Relation.CONTAINS, coded(codes.GESTATIONAL_AGE), days, coded(codes.DAYS))
    item.ContentSequence = [
        text(Relation.HAS_PROPERTIES, standard.DCM.Comment, codes.SENT_AGE.meaning)
    ]
    return [item]


def _formula(measured: Measurement) -> list[Dataset]:
    name = coded(codes.EQUATION_CITATION)
    formula = measured.formula
    return [text(Relation.INFERRED_FROM, name, formula)] if formula else []


def _header(report: Report, source: Source) -> Dataset:
    """Return the modules of a Comprehensive SR (PS3.3 A.35.3) but for its content."""
    document = patient_and_study(source)
    document.SpecificCharacterSet = CHARACTER_SET
    document.SOPClassUID = ComprehensiveSRStorage
    document.SOPInstanceUID = sop_uid("biometry", report.report_id, source)
    document.Modality = "SR"
    document.SeriesInstanceUID = _series_uid(report, source)
    document.SeriesNumber = series_number("biometry")
    document.SeriesDescription = "USTri fetal biometry"
    document.Manufacturer = MANUFACTURER
    document.InstanceNumber = report.version
    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime"):
        setattr(document, keyword, "")  # `file_of` writes the report's.
    complete = report.outcome is Outcome.REPORTED
    document.CompletionFlag = "COMPLETE" if complete else "PARTIAL"
    if not complete and report.reason:
        document.CompletionFlagDescription = fitted(report.reason, "LO")
    document.VerificationFlag = "UNVERIFIED"
    preliminary = report.status is Status.PRELIMINARY
    document.PreliminaryFlag = "PRELIMINARY" if preliminary else "FINAL"
    document.ReferencedPerformedProcedureStepSequence = []
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = codes.US_REPORT
    document.PerformedProcedureCodeSequence = [title]
    document.CurrentRequestedProcedureEvidenceSequence = [
        _referred(source, source.series_uid, source.sop_class_uid, source.instance_uid)
    ]
    if report.supersedes is not None:
        earlier = sop_uid("biometry", report.supersedes, source)
        series = _series_uid(report, source)
        document.PredecessorDocumentsSequence = [
            _referred(source, series, ComprehensiveSRStorage, earlier)
        ]
    return document


def _series_uid(report: Report, source: Source) -> str:
    return uid_of("biometry series", source.study_uid, report.analysis_id)


def _referred(source: Source, series_uid: str, class_uid: str, instance_uid: str) -> Dataset:
    """Return a reference to an instance of the study (PS3.3 table C.17-3)."""
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = class_uid, instance_uid
    series.SeriesInstanceUID, series.ReferencedSOPSequence = series_uid, [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = source.study_uid, [series]
    return study
