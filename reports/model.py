"""The report as data; every other form (JSON, HTML, text, PDF, DICOM, FHIR) is rendered from it."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from reports.data import Data, is_none
from reports.provenance import Provenance

SCHEMA_VERSION: Literal["2.0"] = "2.0"
"""From 2.0 on, versions 2.x only add keys; `reports.upgrade` reads what 1.0 wrote."""

Point = tuple[float, float]
"""(x, y) in the analysed frame's pixels after EXIF orientation; pixel (0, 0) covers [0, 1)²."""

Box = tuple[float, float, float, float]
"""Half-open (x_min, y_min, x_max, y_max) in the same pixels as `Point`."""

Ring = tuple[Point, ...]
"""A closed outline without a repeated last point."""

Score = Annotated[float, Field(ge=0.0, le=1.0)]


class ExamCode(StrEnum):
    """The exams that the service knows, in the router's class order."""

    BREAST = "breast"
    FETAL_HEAD = "fetal_head"
    INTRAPARTUM = "intrapartum"
    NERVE = "nerve"
    MUSCLE = "muscle"
    THYROID = "thyroid"
    HEART = "heart"
    OVARY = "ovary"
    LUNG = "lung"


class Status(StrEnum):
    """How far a report has been reviewed."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"


class Outcome(StrEnum):
    """Whether the exam's required questions were answered: all, some, or none."""

    REPORTED = "reported"
    PARTIAL = "partial"
    REFUSED = "refused"


class FindingState(StrEnum):
    """What is known of a structure; `not_assessed` always carries a reason."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    NOT_ASSESSED = "not_assessed"


class MeasurementState(StrEnum):
    """Whether a number stands; `not_assessed` always carries a reason."""

    MEASURED = "measured"
    NOT_ASSESSED = "not_assessed"


class CheckOutcome(StrEnum):
    """How two results that should agree compare."""

    AGREE = "agree"
    FLAG = "flag"
    SKIPPED = "skipped"


class PixelAspect(StrEnum):
    """Whether the ratio of a pixel's sides is proven."""

    KNOWN = "known"
    ASSUMED_SQUARE = "assumed_square"


class Colour(StrEnum):
    """What the source's colours say, found before the conversion to grey."""

    GREY = "grey"
    TINTED = "tinted"
    COLOUR = "colour"


class ChosenBy(StrEnum):
    """Who chose a step: the planner's model, the rules, or nobody (one action was legal)."""

    MODEL = "model"
    RULES = "rules"
    FORCED = "forced"


class Spacing(Data):
    """Millimetres per pixel along each axis."""

    x: Annotated[float, Field(gt=0.0)]
    y: Annotated[float, Field(gt=0.0)]


class Region(Data):
    """One calibrated part of a frame; a measurement's points must lie in one region."""

    box: Box
    spacing_mm: Spacing | None


class Scope(StrEnum):
    """What a question in words does to a report: it orders the protocol, or it narrows it."""

    PROTOCOL = "protocol"
    QUESTION = "question"


class Laterality(StrEnum):
    """The side of the body, as the sender names it."""

    LEFT = "left"
    RIGHT = "right"
    BILATERAL = "bilateral"


GestationalAge = Annotated[str, Field(pattern=r"^\d{1,2}w[0-6]d$")]
"""Completed weeks and days, such as `19w6d`."""


class RequestInfo(Data):
    """What the request named; the text of its question is never stored.

    `label`, `study`, `site`, `indication` and `operator` are the sender's own words: they are shown
    and kept with the report, and never logged. `study` is what the sender calls the study, left out
    where nothing was sent. `gestational_age` is the sender's, on the day of the image.
    """

    exam: ExamCode | None
    question_given: bool
    scope: Scope = Scope.PROTOCOL
    frame: int | None
    label: str | None = None
    study: str | None = Field(default=None, exclude_if=is_none)
    laterality: Laterality | None = None
    site: str | None = None
    indication: str | None = None
    gestational_age: GestationalAge | None = None
    operator: str | None = None


class StudyRef(Data):
    """The study that the analysis belongs to; `id` is a keyed hash of what names it."""

    id: str


class ExamInfo(Data):
    """The exam that the image was taken for; `score` is the router's, null if it did not run."""

    code: ExamCode | None
    title: str
    chosen_by: Literal["request", "image"]
    score: Score | None


class DicomSource(Data):
    """The DICOM file that the frame is from; its UIDs are keyed hashes, which identify nobody."""

    sop_class_uid: str
    study_uid: str
    series_uid: str
    instance_uid: str
    frames: int
    burned_in: Literal["yes", "no"] | None
    """BurnedInAnnotation of the file as it was received."""
    masked_px: int
    """How many pixels outside the analysed regions were blackened before any other step."""


class ReaderCalibration(Data):
    """Two points of a known distance that a reader marked on an image that states no millimetres.

    `error_px` is how far each point may lie from where the reader meant it, in image pixels.
    """

    points: tuple[Point, Point]
    distance_mm: Annotated[float, Field(gt=0.0)]
    error_px: Annotated[float, Field(gt=0.0)]


class ImageInfo(Data):
    """The analysed frame; `frame` counts from 0, null for a still image.

    `sha256` is of the uploaded bytes. `frame_reason` says why that frame was chosen where the
    request names none, `spacing_reason` why a DICOM frame has no millimetres, `not_analysed` why no
    part of it is analysed. `aspect_ratio` is a pixel's height over its width where the source
    states it beside, or instead of, millimetres. `text_blackened` counts the places of burned-in
    text that were blackened before any other step, null where none was looked for.
    """

    sha256: str
    width_px: int
    height_px: int
    frame: int | None
    spacing_mm: Spacing | None
    spacing_source: str | None
    pixel_aspect: PixelAspect
    regions: tuple[Region, ...] = ()
    colour: Colour = Colour.GREY
    conversions: tuple[str, ...] = ()
    synthetic: bool = False
    frame_reason: str | None = Field(default=None, exclude_if=is_none)
    spacing_reason: str | None = Field(default=None, exclude_if=is_none)
    aspect_ratio: Annotated[float, Field(gt=0.0)] | None = Field(default=None, exclude_if=is_none)
    not_analysed: str | None = Field(default=None, exclude_if=is_none)
    dicom: DicomSource | None = Field(default=None, exclude_if=is_none)
    text_blackened: Annotated[int, Field(ge=0)] | None = Field(default=None, exclude_if=is_none)
    reader_calibration: ReaderCalibration | None = Field(default=None, exclude_if=is_none)
    """What the millimetres follow from, where a reader stated them and not the source."""


class Finding(Data):
    """One structure, and whether it was found.

    `structure` names what findings and measurements are grouped by, such as "lesion". `value` is
    what was found of a quality, in a word, such as "oval" of a shape; its geometry is the `reason`.
    """

    id: str
    label: str
    structure: str | None = None
    state: FindingState
    value: str | None = Field(default=None, exclude_if=is_none)
    reason: str | None = None
    score: Score | None = None
    label_set: tuple[str, ...] | None = None
    held_elsewhere: Score | None = Field(default=None, exclude_if=is_none)
    """Lowest coverage of the label sets, by class, on images of a source left out of training."""
    statement: str = ""
    evidence: tuple[str, ...] = ()


class Measurement(Data):
    """One number; `interval` is null, with `reason`, where it was not calibrated.

    `unreliable` says, as a clause, why a number that was measured must not be relied on;
    `structure` is what it was measured on.
    """

    id: str
    name: str
    structure: str | None = None
    state: MeasurementState
    unreliable: str | None = None
    reason: str | None = None
    value: float | None = None
    unit: str | None = None
    interval: tuple[float, float] | None = None
    coverage: Score | None = None
    held_elsewhere: Score | None = Field(default=None, exclude_if=is_none)
    """Lowest coverage of the intervals on images of a source left out of training."""
    formula: str | None = None
    statement: str = ""
    evidence: tuple[str, ...] = ()


class NamedPoint(Data):
    """A landmark; `score` is its heatmap peak."""

    name: str
    x: float
    y: float
    score: Score | None = None


class _Evidence(Data):
    id: str
    specialist: str
    step: int
    frame: int | None = None
    score: Score | None = None
    edited_by: str | None = None


class BoxEvidence(_Evidence):
    """A detector's box."""

    kind: Literal["box"] = "box"
    box: Box


class MaskEvidence(_Evidence):
    """One segmented component: rings under the even-odd rule, outer ring first."""

    kind: Literal["mask"] = "mask"
    label: str
    polygons: tuple[Ring, ...]


class PointsEvidence(_Evidence):
    """Landmarks in the specialist's order, or the points through which a measurement is drawn."""

    kind: Literal["points"] = "points"
    points: tuple[NamedPoint, ...]


class ScoresEvidence(_Evidence):
    """A classifier's calibrated scores in class order."""

    kind: Literal["scores"] = "scores"
    scores: dict[str, Score]


Evidence = Annotated[
    BoxEvidence | MaskEvidence | PointsEvidence | ScoresEvidence, Field(discriminator="kind")
]


class Step(Data):
    """One choice of the planner: what was legal, what was chosen, by whom and how clearly.

    `legal` and the keys of `scores` are specialist ids, followed by `@` and a parameter where there
    is one to choose.
    """

    index: int
    action: str
    parameters: dict[str, str] = {}
    legal: tuple[str, ...]
    chosen_by: ChosenBy
    scores: dict[str, float] = {}
    margin: float | None = None
    duration_ms: float
    reason: str = ""


class Check(Data):
    """A comparison of two results; it flags a disagreement and never replaces a value."""

    name: str
    outcome: CheckOutcome
    detail: str


class Report(Data):
    """A structured report; a new version supersedes, and never overwrites, an older one."""

    schema_version: Literal["2.0"] = SCHEMA_VERSION
    report_id: str
    analysis_id: str
    version: Annotated[int, Field(ge=1)]
    supersedes: str | None = None
    status: Status = Status.PRELIMINARY
    created_at: str
    outcome: Outcome
    reason: str | None = None
    request: RequestInfo
    asked: str | None = None
    """The answer to the request's question, in one or two sentences; null without a question."""
    study: StudyRef | None = None
    external_id: str | None = None
    signed_by: str | None = None
    signed_at: str | None = None
    amendment_reason: str | None = None
    exam: ExamInfo
    image: ImageInfo
    findings: tuple[Finding, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    steps: tuple[Step, ...] = ()
    checks: tuple[Check, ...] = ()
    impression: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()
    provenance: Provenance
