"""What a specialist answers, in pixels of the analysed frame.

The classes hold pure data, which is stored row by row.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from reports.model import Box, NamedPoint, Ring, Score


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    specialist: str
    sha256: str
    """SHA-256 of the specialist's weights file."""
    novelty: float | None = None
    """Distance of the image from the training images; None where the model has no statistics."""
    exam_distances: dict[str, float] | None = None
    """Distance of the image from each exam of the specialist; None without an exam gate."""
    quality: tuple[str, ...] | None = None
    """What is wrong with the image, a sentence each; None where the model states no limits."""


class DetectResult(_Result):
    """A presence score and, when it passes the threshold, one box.

    `absence_known` says whether the training data had negatives; without them a missing box is
    reported as "not assessed".
    """

    kind: Literal["detect"] = "detect"
    label: str
    score: Score
    box: Box | None
    absence_known: bool


class Component(BaseModel):
    """One connected part of a mask: rings under the even-odd rule, outer ring first."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label: str
    polygons: tuple[Ring, ...]
    score: Score
    """Mean foreground probability inside the component."""


class SegmentResult(_Result):
    """Components of all foreground labels, largest first; a label without any was not seen."""

    kind: Literal["segment"] = "segment"
    labels: tuple[str, ...]
    components: tuple[Component, ...]


class ClassifyResult(_Result):
    """Calibrated probabilities in the manifest's class order.

    `label_set` holds every class that is not ruled out.
    """

    kind: Literal["classify"] = "classify"
    scores: dict[str, Score]
    label_set: tuple[str, ...] | None = None


class RegressResult(_Result):
    """Landmarks in the manifest's order.

    A landmark whose heatmap is flat is left out and named in `missing`.
    """

    kind: Literal["regress"] = "regress"
    points: tuple[NamedPoint, ...]
    missing: tuple[str, ...] = ()


Result = Annotated[
    DetectResult | SegmentResult | ClassifyResult | RegressResult, Field(discriminator="kind")
]
