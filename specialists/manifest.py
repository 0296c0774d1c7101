"""The registry of models and specialists, from TOML: the shipped manifest, then the user's own."""

import tomllib
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from reports.measure.intervals import LEVEL, Form
from reports.model import ExamCode
from specialists.errors import Rejected, WeightsError
from specialists.int8 import Int8

PACKAGE_DIR = Path(__file__).parent
PACKAGE_MANIFEST = PACKAGE_DIR / "manifest.toml"
PACKAGE_WEIGHTS = PACKAGE_DIR / "weights"
CHALLENGE = "fmc_"
"""Prefix of the ids of the FMC-UIA challenge's own tasks."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Kind(StrEnum):
    """The type of a specialist's answer."""

    DETECT = "detect"
    SEGMENT = "segment"
    CLASSIFY = "classify"
    REGRESS = "regress"


class Roi(StrEnum):
    """Whether a specialist reads a region of interest."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class GeometryPolicy(_Entry):
    """Which geometric changes keep this task's labels true, in training and at test time."""

    hflip: bool
    vflip: bool
    rotate_deg: Annotated[float, Field(ge=0.0)]
    x_scale: Annotated[float, Field(ge=1.0)]
    """Largest factor of a random change of the pixel aspect."""


class Threshold(_Entry):
    """A decision threshold, with the data and the rule that it comes from."""

    value: float
    source: str


class Metric(_Entry):
    """A measured figure with its 95 % bootstrap interval over groups."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int
    split: str


class Transfer(_Entry):
    """A figure on a source that decoder and head were trained without.

    `low` and `high` are its 95 % interval over groups.
    """

    left_out: str
    """The column and its value, as in `dataset=busi`."""
    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int
    backbone_saw: bool = True
    """Whether Stage I was trained with the source; if not, neither backbone nor head was."""
    note: str | None = None
    """What could not be learned from the other sources, as a clause."""


RENAMED = {"fascicle angle": "pennation angle"} | {
    f"{part} cross-section area": f"{part} cross-sectional area" for part in ("nerve", "vessel")
}
"""Measurements by the names that they had in older manifests."""


class MeasuredInterval(_Entry):
    """The conformal interval of a report's measurement that rests on the specialist.

    `low` and `high` are added to the value, as shares of it where the form is relative. `coverage`
    is the share of held-out references inside the interval, over folds of whole groups;
    `coverage_low` and `coverage_high` are its 95 % interval. An entry without `low` and `high`
    gives the reason why there is no interval.
    """

    measurement: Annotated[str, AfterValidator(lambda name: RENAMED.get(name, name))]
    form: Form
    low: Annotated[float, Field(le=0.0)] | None = None
    high: Annotated[float, Field(ge=0.0)] | None = None
    level: Annotated[float, Field(gt=0.0, lt=1.0)] = LEVEL
    coverage: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    coverage_low: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    coverage_high: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    n: int
    """Images on which both the reference and the prediction could be measured."""
    groups: int
    not_measured: int = 0
    """Images with a reference on whose prediction nothing could be measured."""
    source: str
    reason: str | None = None
    """Why there is no interval, as a clause."""
    calibrated_with: dict[str, str] = {}
    """SHA-256 of the other specialists that its calibration ran, by id."""

    @model_validator(mode="after")
    def _is_given_or_says_why(self) -> Self:
        given = self.low is not None and self.high is not None
        if given == (self.reason is not None) or (self.low is None) != (self.high is None):
            raise ValueError(
                f"{self.measurement}: an interval has both ends, or a reason why it has none"
            )
        if self.form is Form.RELATIVE and self.low is not None and self.low < -1:
            raise ValueError(f"{self.measurement}: a relative interval ends below zero")
        return self


class DataSource(_Entry):
    """A training set, its licence, and whether that licence was read at the source."""

    name: str
    reference: str
    licence: str
    licence_verified: bool


class ModelEntry(_Entry):
    """A frozen backbone; `config` holds the sizes that its family needs."""

    id: str
    family: str
    config: dict[str, int | float | str | list[int]]
    input_px: Annotated[int, Field(ge=32)]
    mean: float
    std: Annotated[float, Field(gt=0.0)]
    weights: str | None = None
    sha256: str | None = None
    decoders: str | None = None
    """Stage I's decoders by kind, from which Stage II starts."""
    decoders_sha256: str | None = None
    novelty: str | None = None
    """Feature statistics of the training images, by which foreign images are recognised."""
    novelty_sha256: str | None = None
    gate_exams: tuple[ExamCode, ...] = ()
    """Exams that the statistics tell apart, in the order of their distances."""
    thresholds: dict[str, Threshold] = {}
    metrics: tuple[Metric, ...] = ()
    training_data: tuple[DataSource, ...] = Field(default=(), exclude=True)
    """Data of all its manifest's specialists, with and without weights: it learned from all."""
    without: tuple[str, ...] = ()
    """Sources that Stage I was trained without, as in `dataset=busi`."""
    int8: Int8 | None = None
    directory: Path = Field(default=PACKAGE_WEIGHTS, exclude=True)


class LineEnds(_Entry):
    """Two landmarks that are the ends of one line, in the order of their `along` coordinate."""

    first: str
    second: str
    along: Literal["x", "y"]


class SpecialistEntry(_Entry):
    """One tool of the closed set; without `weights` it is listed as not installed, never chosen."""

    id: str
    kind: Kind
    title: str
    model: str
    backbone_sha256: str | None = None
    exams: tuple[ExamCode, ...]
    task_id: str
    labels: tuple[str, ...]
    """Class names in order, background first for segmentation; the one structure of a detector."""
    landmarks: tuple[str, ...] = ()
    line_ends: tuple[LineEnds, ...] = ()
    units: str
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...]
    """State slots: `box:lesion`, `mask:lesion`, `points:aop`, `scores:exam`."""
    features: tuple[str, ...]
    """Backbone levels that the head reads."""
    roi: Roi
    roi_slot: str | None = None
    """The slot that its region is from; in training, the labels of the detector that fills it."""
    geometry: GeometryPolicy
    absence_known: bool = False
    holds_without: str | None = None
    """A column of its CSV whose values its classes follow.

    The specialist ships only if it still works on values of that column that training left out.
    """
    rows: dict[str, float] = {}
    """Numbers that rows of its CSV must have, by column.

    Rows with other numbers are used neither for training nor for evaluation.
    """
    temperature: float | None = None
    thresholds: dict[str, Threshold] = {}
    training_data: tuple[DataSource, ...] = ()
    metrics: tuple[Metric, ...] = ()
    transfer: tuple[Transfer, ...] = ()
    """Figures on sources left out of training, of heads trained for this, not of these weights."""
    intervals: tuple[MeasuredInterval, ...] = ()
    not_installed: str | None = None
    """Why there are no weights."""
    stands_in: str | None = None
    """For a challenge task without weights: our specialist that answers the same question."""
    weights: str | None = None
    sha256: str | None = None
    bf16_sha256: str | None = None
    """SHA-256 of weights for which `ustri precision --heads` showed no loss in bf16."""
    int8: Int8 | None = None
    directory: Path = Field(default=PACKAGE_WEIGHTS, exclude=True)

    @model_validator(mode="after")
    def _region_has_a_source(self) -> Self:
        if (self.roi is Roi.NONE) != (self.roi_slot is None):
            raise ValueError(f"{self.id}: roi_slot is needed where roi is not none, and only there")
        return self

    @model_validator(mode="after")
    def _line_ends_are_landmarks(self) -> Self:
        for line in self.line_ends:
            if not {line.first, line.second} <= set(self.landmarks):
                raise ValueError(f"{self.id}: line_ends names what is no landmark of it")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Its classes, or its points, in order."""
        return self.landmarks or self.labels

    @property
    def installed(self) -> bool:
        """Whether weights are named; their integrity is checked when the service starts."""
        return self.weights is not None

    @property
    def bf16(self) -> bool:
        """Whether decoder and head may run in bf16, as was shown for these very weights."""
        return self.sha256 is not None and self.bf16_sha256 == self.sha256


class Manifest(_Entry):
    """All models and specialists by id, in file order."""

    models: dict[str, ModelEntry]
    specialists: dict[str, SpecialistEntry]

    def specialist(self, specialist_id: str) -> SpecialistEntry:
        """Return the entry of that id.

        Raises:
            Rejected: no specialist has that id.
        """
        try:
            return self.specialists[specialist_id]
        except KeyError:
            raise Rejected(
                f"There is no specialist {specialist_id!r}; GET /specialists lists them."
            ) from None

    def only(self, ids: Collection[str]) -> Self:
        """Return the manifest with those specialists alone."""
        kept = {name: entry for name, entry in self.specialists.items() if name in ids}
        return self.model_copy(update={"specialists": kept})

    def provider(self, slot: str) -> SpecialistEntry | None:
        """Return the first specialist that fills that slot; None where none does."""
        return next((e for e in self.specialists.values() if slot in e.provides), None)

    def stand_in(self, entry: SpecialistEntry) -> SpecialistEntry | None:
        """Return the specialist that answers for an entry without weights.

        The result is None where the entry has weights or names no stand-in.
        """
        if entry.installed or entry.stands_in is None:
            return None
        return self.specialists.get(entry.stands_in)

    def installed(self) -> tuple[SpecialistEntry, ...]:
        """Return the specialists that have weights."""
        return tuple(entry for entry in self.specialists.values() if entry.installed)


def read_manifest(user_dir: Path | None = None) -> Manifest:
    """Read the shipped manifest, overlaid by `user_dir/manifest.toml` where that exists.

    Raises:
        WeightsError: a manifest is not readable or not valid; the message names the file, or the
            entry whose stand-in answers another question.
    """
    models, specialists = _read_file(PACKAGE_MANIFEST, PACKAGE_WEIGHTS)
    if user_dir is not None and (user_dir / "manifest.toml").exists():
        user_models, user_specialists = _read_file(user_dir / "manifest.toml", user_dir)
        models |= user_models
        replaced = {name: _without(entry, user_models) for name, entry in specialists.items()}
        standing = {name: _outlived(entry, models) for name, entry in user_specialists.items()}
        specialists = replaced | standing
    for entry in specialists.values():
        _check_stand_in(entry, specialists)
    return Manifest(models=models, specialists=specialists)


def _check_stand_in(entry: SpecialistEntry, listed: Mapping[str, SpecialistEntry]) -> None:
    """Check that the specialist named as stand-in for the entry, if any, is suitable.

    Raises:
        WeightsError: the entry is no task of the challenge, or the other is not listed, is such a
            task itself, or answers with another kind or another number of classes or points.
    """
    if entry.stands_in is None:
        return
    other, why = listed.get(entry.stands_in), None
    if not entry.id.startswith(CHALLENGE):
        why = f"only the challenge's tasks, {CHALLENGE}…, have stand-ins"
    elif other is None or other.id.startswith(CHALLENGE):
        why = "that is no specialist of ours"
    elif other.kind is not entry.kind:
        why = f"that one has the kind {other.kind}, not {entry.kind}"
    elif len(other.names) != len(entry.names):
        why = f"that one has {len(other.names)} classes or points, not {len(entry.names)}"
    if why is not None:
        raise WeightsError(f"{entry.stands_in} cannot stand in for {entry.id}: {why}.")


def _without(entry: SpecialistEntry, models: Mapping[str, ModelEntry]) -> SpecialistEntry:
    """Mark a shipped entry as not installed where the user's backbone replaces its own.

    All other entries are returned as they are.
    """
    model = models.get(entry.model)
    if model is None or not entry.installed or entry.backbone_sha256 == model.sha256:
        return entry
    reason = (
        f"Your own backbone {model.id} took the place of the one it was trained on: train it again."
    )
    return entry.model_copy(update={"weights": None, "sha256": None, "not_installed": reason})


def _outlived(entry: SpecialistEntry, models: Mapping[str, ModelEntry]) -> SpecialistEntry:
    """Mark a user's entry as not installed where another shipped backbone replaces its own.

    All other entries are returned as they are.
    """
    model = models.get(entry.model)
    stated = entry.backbone_sha256
    if model is None or model.directory != PACKAGE_WEIGHTS or stated in (None, model.sha256):
        return entry
    reason = f"Another {model.id} was shipped than the one it was trained on: train it again."
    return entry.model_copy(update={"weights": None, "sha256": None, "not_installed": reason})


def _read_file(
    path: Path, directory: Path
) -> tuple[dict[str, ModelEntry], dict[str, SpecialistEntry]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        specialists = [
            SpecialistEntry(**entry, directory=directory)
            for entry in document.get("specialist", [])
        ]
        models = [
            ModelEntry(
                **entry,
                directory=directory,
                training_data=_learnt_from(entry.get("id"), specialists),
            )
            for entry in document.get("model", [])
        ]
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"The manifest {path} cannot be read: {error}") from error
    return {entry.id: entry for entry in models}, {entry.id: entry for entry in specialists}


def _learnt_from(model: str | None, specialists: list[SpecialistEntry]) -> tuple[DataSource, ...]:
    """Return every data set of the specialists of that backbone, each once."""
    sources = (source for e in specialists if e.model == model for source in e.training_data)
    return tuple(dict.fromkeys(sources))
