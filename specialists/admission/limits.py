"""Whether an image shows an exam that is served, from whatever scanner, or none of them.

Two questions are kept apart. *Is it unlike the training images?* is answered by the distance of
`specialists.admission.novelty`: an image from another scanner is unlike them, and is analysed with
a flag. *Is it an image of this exam at all?* is answered by the distance of
`specialists.admission.exam_distance`: an image of another organ is far from all exams.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specialists.errors import Foreign
from specialists.manifest import ModelEntry, SpecialistEntry

if TYPE_CHECKING:  # the planner reads the thresholds' names in processes without torch
    from torch import Tensor

    from specialists.admission.novelty import Novelty

REFUSED = "exam_distance_refused"
"""Prefix of thresholds, one per exam.

Beyond the threshold an image does not show the exam, whatever the request names.
"""

UNNAMED = "exam_distance_unnamed"
"""Prefix of thresholds, one per exam.

Up to the threshold an image is taken for the exam even if the request does not name it.
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an image lies among the training images."""

    novelty: float | None = None
    """Distance from all of them; None where the model has no statistics."""
    exams: Mapping[str, float] | None = None
    """Distance from those of each exam; None where the model has no exam gate."""

    def of(self, exams: Iterable[str]) -> dict[str, float] | None:
        """Return the distances from those exams; None where no gate knows any of them."""
        if self.exams is None:
            return None
        return {exam: self.exams[exam] for exam in exams if exam in self.exams} or None


def places(distances: "Tensor | None", model: ModelEntry, images: int) -> list[Place]:
    """Return the place of each image.

    Args:
        distances: (B, 1 + E) from all training images and from each exam; None without statistics.
        model: the entry whose exam gate gave the distances.
        images: how many images there are.
    """
    if distances is None:
        return [Place()] * images
    found = []
    for novelty, *exams in distances.tolist():
        named = {str(e): round(d, 4) for e, d in zip(model.gate_exams, exams, strict=True)}
        found.append(Place(novelty=round(novelty, 4), exams=named or None))
    return found


class Refusals:
    """The rules by which a specialist is not run on an image."""

    def __init__(
        self, models: Mapping[str, ModelEntry], novelties: "Mapping[str, Novelty]"
    ) -> None:
        self._models, self._novelties = models, novelties

    def check(self, entry: SpecialistEntry, place: Place) -> None:
        """Check that the specialist may run on the image.

        Raises:
            Foreign: the image is unlike the specialist's training images or shows none of its
                exams.
        """
        if reason := self.reason(entry, place):
            raise Foreign(reason)

    def reason(self, entry: SpecialistEntry, place: Place) -> str | None:
        """Return why the specialist must not run, as part of a sentence; None where it may."""
        # Stated only for a task that the backbone's statistics do not cover.
        own = entry.thresholds.get("novelty")
        near = place.of(entry.exams)
        if own is None and near is not None:
            model = self._models[entry.model]
            return _no_such_exam({e: (d, limit_of(model, REFUSED, e)) for e, d in near.items()})
        novelty = self._novelties.get(entry.model)
        limit = math.inf if novelty is None else novelty.limit
        return _unlike(place.novelty, limit if own is None else own.value)


def limit_of(model: ModelEntry, kind: str, exam: str) -> float:
    """Return the model's limit of that kind for the exam; infinity where it states none."""
    threshold = model.thresholds.get(f"{kind} {exam}")
    return math.inf if threshold is None else threshold.value


def _no_such_exam(near: Mapping[str, tuple[float, float]]) -> str | None:
    """Return why the image shows none of the exams; None if it may show one.

    Args:
        near: distance and limit of each exam.
    """
    best = min(near, key=lambda exam: near[exam][0] - near[exam][1])
    distance, limit = near[best]
    if distance <= limit:
        return None
    what = "any of the exams that are known" if len(near) > 1 else f"an image of {best}"
    return (
        f"the image does not look like {what}, whatever the scanner "
        f"(distance {distance:.2f}, limit {limit:.2f})"
    )


def _unlike(distance: float | None, limit: float) -> str | None:
    if distance is None or distance <= limit:
        return None
    return (
        "the image is unlike the ultrasound images that the specialist was trained on "
        f"(distance {distance:.2f}, limit {limit:.2f})"
    )
