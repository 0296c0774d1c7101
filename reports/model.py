"""The report as data; every other form (JSON, HTML, text, PDF, DICOM, FHIR) is rendered from it."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION: Literal["1.0"] = "1.0"

Point = tuple[float, float]
"""(x, y) in the analysed frame's pixels after EXIF orientation; pixel (0, 0) covers [0, 1)²."""

Box = tuple[float, float, float, float]
"""Half-open (x_min, y_min, x_max, y_max) in the same pixels as `Point`."""

Ring = tuple[Point, ...]
"""A closed outline without a repeated last point."""

Score = Annotated[float, Field(ge=0.0, le=1.0)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


TERMS_UNSTATED = "it was made before reports stated what their weights may be used for"
"""The reason that `Provenance.research_only` gives for stored reports that state none.

It withholds them: what is not known to be permitted does not leave the deployment.
"""


def _is_none(value: object) -> bool:
    """Return whether to leave a field out: the JSON of reports without it keeps its form."""
    return value is None


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
    """Who chose a step."""

    LLAVA = "llava"
    RULES = "rules"
    FORCED = "forced"


class Spacing(_Data):
    """Millimetres per pixel along each axis."""

    x: Annotated[float, Field(gt=0.0)]
    y: Annotated[float, Field(gt=0.0)]


class Region(_Data):
    """One calibrated part of a frame; a measurement's points must lie in one region."""

    box: Box
    spacing_mm: Spacing | None


class RequestInfo(_Data):
    """What the request named; its free text is never stored."""

    exam: ExamCode | None
    question_given: bool
    frame: int | None


class ExamInfo(_Data):
    """The exam that the image was taken for; `score` is the router's, null if it did not run."""

    code: ExamCode | None
    title: str
    chosen_by: Literal["request", "image"]
    score: Score | None


class DicomSource(_Data):
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


class ImageInfo(_Data):
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
    frame_reason: str | None = Field(default=None, exclude_if=_is_none)
    spacing_reason: str | None = Field(default=None, exclude_if=_is_none)
    aspect_ratio: Annotated[float, Field(gt=0.0)] | None = Field(default=None, exclude_if=_is_none)
    not_analysed: str | None = Field(default=None, exclude_if=_is_none)
    dicom: DicomSource | None = Field(default=None, exclude_if=_is_none)
    text_blackened: Annotated[int, Field(ge=0)] | None = Field(default=None, exclude_if=_is_none)


class Finding(_Data):
    """One structure, and whether it was found."""

    id: str
    label: str
    state: FindingState
    reason: str | None = None
    score: Score | None = None
    label_set: tuple[str, ...] | None = None
    held_elsewhere: Score | None = Field(default=None, exclude_if=_is_none)
    """Lowest coverage of the label sets, by class, on images of a source left out of training."""
    statement: str = ""
    evidence: tuple[str, ...] = ()


class Measurement(_Data):
    """One number; `interval` is null, with `reason`, where it was not calibrated."""

    id: str
    name: str
    state: MeasurementState
    reason: str | None = None
    value: float | None = None
    unit: str | None = None
    interval: tuple[float, float] | None = None
    coverage: Score | None = None
    held_elsewhere: Score | None = Field(default=None, exclude_if=_is_none)
    """Lowest coverage of the intervals on images of a source left out of training."""
    formula: str | None = None
    statement: str = ""
    evidence: tuple[str, ...] = ()


class NamedPoint(_Data):
    """A landmark; `score` is its heatmap peak."""

    name: str
    x: float
    y: float
    score: Score | None = None


class _Evidence(_Data):
    id: str
    specialist: str
    step: int
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


class Step(_Data):
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


class Check(_Data):
    """A comparison of two results; it flags a disagreement and never replaces a value."""

    name: str
    outcome: CheckOutcome
    detail: str


class ModelRef(_Data):
    """A weights file that took part, identified by the SHA-256 of its content."""

    id: str
    sha256: str


def _is_false(value: object) -> bool:
    """Return whether to leave a flag out of the JSON: it is true of few planners."""
    return value is False


class PlannerRef(ModelRef):
    """The planner that chose the steps; `licence` is that of its model's weights.

    `research_only` says that the licence allows research only; `blind` that the planner failed the
    test of whether it uses the image.
    """

    licence: str | None = Field(default=None, exclude_if=_is_none)
    research_only: bool = Field(default=False, exclude_if=_is_false)
    blind: bool = Field(default=False, exclude_if=_is_false)

    @model_validator(mode="before")
    @classmethod
    def _without_released(cls, given: object) -> object:
        """Drop `released` from older reports; that setting is read when a report is to leave."""
        if isinstance(given, dict):
            return {name: value for name, value in given.items() if name != "released"}
        return given


class Provenance(_Data):
    """What made the report; `content_sha256` covers the results and what follows from them.

    `research_only` says, as a clause, which of the weights that made it may be used for research
    only, and why; null where none of them. `reports.release` decides by it whether the report may
    become final or leave the deployment.
    """

    code_version: str
    runtime: str
    models: tuple[ModelRef, ...]
    planner: PlannerRef
    content_sha256: str
    research_only: str | None = TERMS_UNSTATED


class Report(_Data):
    """A structured report; a new version supersedes, and never overwrites, an older one."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    report_id: str
    analysis_id: str
    version: Annotated[int, Field(ge=1)]
    supersedes: str | None = None
    status: Status = Status.PRELIMINARY
    created_at: str
    outcome: Outcome
    reason: str | None = None
    request: RequestInfo
    external_id: str | None = None
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
