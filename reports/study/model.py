"""The summary of a study as data; every other form of it is rendered from it."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from reports.data import Data
from reports.model import ExamInfo, Laterality, Outcome, Score, Status, StudyRef


class MemberState(StrEnum):
    """How far the analysis of an image has come."""

    WAITING = "waiting"
    REPORTED = "reported"
    FAILED = "failed"


class StudyImage(Data):
    """One image of a study, by its newest report; `number` counts from 1 in order of arrival.

    Without a report, `problem` says why, or the image still waits for it.
    """

    number: Annotated[int, Field(ge=1)]
    analysis_id: str
    received_at: str
    state: MemberState
    problem: str | None = None
    report_id: str | None = None
    version: int | None = None
    outcome: Outcome | None = None
    status: Status | None = None
    exam: ExamInfo | None = None
    label: str | None = None
    laterality: Laterality | None = None
    site: str | None = None
    frame: int | None = None
    synthetic: bool = False
    impression: tuple[str, ...] = ()


class StudyValue(Data):
    """One value of a measurement, from one image; `text` is the value in words.

    `measurement` is its id in the report of that image. `outlier` says why the value does not fit
    the others, as a clause.
    """

    image: int
    analysis_id: str
    report_id: str
    measurement: str
    value: float
    unit: str | None
    interval: tuple[float, float] | None
    coverage: Score | None
    score: Score | None
    unreliable: str | None
    text: str
    outlier: str | None = None


class StudyMeasurement(Data):
    """One measurement over the images of a study that are of the same exam, side and site.

    `best` is the number of the image whose value is taken, null where there is none to take.
    `not_compared` says, as a clause, why the values are listed and not compared. `missing` are the
    numbers of the images in which it was not assessed.
    """

    id: str
    exam: ExamInfo
    laterality: Laterality | None
    site: str | None
    structure: str
    name: str
    unit: str | None
    values: tuple[StudyValue, ...]
    best: int | None
    not_compared: str | None
    missing: tuple[int, ...]
    statement: str

    @property
    def taken(self) -> StudyValue | None:
        """The value that is taken."""
        return next((value for value in self.values if value.image == self.best), None)


class Comparison(Data):
    """One measurement in an earlier study of the same patient, and in this one.

    `measurement` is the id of the `StudyMeasurement` here. `change` is now minus then, in `unit`;
    `change_text` says it with its sign.
    `overlap` says whether the two intervals overlap, null where one of them has none.
    """

    measurement: str
    study: StudyRef
    received_at: str
    then: tuple[StudyValue, ...]
    now: tuple[StudyValue, ...]
    unit: str | None
    change: float | None
    change_percent: float | None
    change_text: str | None
    overlap: bool | None
    not_compared: str | None
    statement: str


class EarlierStudy(Data):
    """An earlier study of the same patient; `compared` says whether its values were compared."""

    id: str
    received_at: str
    images: int
    compared: bool


class StudyReport(Data):
    """The summary of a study."""

    schema_version: Literal["1.0"] = "1.0"
    study: StudyRef
    label: str | None
    """What the sender calls the study; null where the DICOM files alone say what belongs to it."""
    received_at: str
    changed_at: str
    status: Status
    outcome: Outcome
    complete: bool
    """Whether no image waits for its report any more."""
    patients: int
    """How many patients the DICOM files of the images name, by keyed hash."""
    images: tuple[StudyImage, ...]
    measurements: tuple[StudyMeasurement, ...]
    earlier: tuple[EarlierStudy, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    summary: tuple[str, ...]
    flags: tuple[str, ...]
    limitations: tuple[str, ...]

    @property
    def synthetic(self) -> bool:
        """Whether a program drew each image that is reported."""
        reported = [image for image in self.images if image.report_id is not None]
        return bool(reported) and all(image.synthetic for image in reported)
