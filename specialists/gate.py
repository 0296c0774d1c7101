"""Whether an image shows an exam that is served, whoever's scanner it is from, or none of them.

Two questions are kept apart. *Is it unlike the training images?* is the distance of `specialists.novelty`: another
scanner's image is, and is analysed with a flag. *Is it an image of this exam at all?* is the distance to the
training images of each exam, in the few directions in which exams differ: another organ is far from all of them.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specialists.errors import Foreign
from specialists.manifest import ModelEntry, SpecialistEntry

if TYPE_CHECKING:  # the planner reads the thresholds' names in processes that load no network
    from torch import Tensor

    from specialists.novelty import Novelty

REFUSED = "exam_distance_refused"
"""Threshold of a model: from here on an image shows no such exam, whatever the request names."""

UNNAMED = "exam_distance_unnamed"
"""Threshold of a model: up to here an image is taken for its exam although no request names one."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an image lies among the training images."""

    novelty: float | None = None
    """Distance from all of them; null where the model has no statistics."""
    exams: Mapping[str, float] | None = None
    """Distance from those of each exam; null where the model has no gate."""

    def of(self, exams: Iterable[str]) -> dict[str, float] | None:
        """Return the distances from those exams; null without a gate, or where it knows none of them."""
        if self.exams is None:
            return None
        return {exam: self.exams[exam] for exam in exams if exam in self.exams} or None


def places(distances: "Tensor | None", model: ModelEntry, images: int) -> list[Place]:
    """Return the place of each image.

    Args:
        distances: (B, 1 + E) from all images and from those of each exam that the model's gate knows; null without
            statistics.
        model: whose gate it is.
        images: how many there are.
    """
    if distances is None:
        return [Place()] * images
    found = []
    for novelty, *exams in distances.tolist():
        named = {str(e): round(d, 4) for e, d in zip(model.gate_exams, exams, strict=True)}
        found.append(Place(novelty=round(novelty, 4), exams=named or None))
    return found


class Refusals:
    """What a specialist is not asked about."""

    def __init__(
        self, models: Mapping[str, ModelEntry], novelties: "Mapping[str, Novelty]"
    ) -> None:
        self._models, self._novelties = models, novelties

    def check(self, entry: SpecialistEntry, place: Place) -> None:
        """Pass where the specialist may be asked.

        Raises:
            Foreign: the image shows none of the specialist's exams.
        """
        if reason := self.reason(entry, place):
            raise Foreign(reason)

    def reason(self, entry: SpecialistEntry, place: Place) -> str | None:
        """Return why the specialist is not asked, as part of a sentence; null where it may be."""
        own = entry.thresholds.get("novelty")  # of a task that the backbone's statistics do not know
        near = place.of(entry.exams)
        refused = self._models[entry.model].thresholds.get(REFUSED)
        if own is None and near is not None and refused is not None:
            return _no_such_exam(near, refused.value)
        novelty = self._novelties.get(entry.model)
        limit = math.inf if novelty is None else novelty.limit
        return _unlike(place.novelty, limit if own is None else own.value)


def _no_such_exam(near: Mapping[str, float], limit: float) -> str | None:
    best = min(near, key=near.__getitem__)
    if near[best] <= limit:
        return None
    what = "any of the exams that are known" if len(near) > 1 else f"an image of {best}"
    return (
        f"the image does not look like {what}, whatever the scanner "
        f"(distance {near[best]:.2f}, limit {limit:.2f})"
    )


def _unlike(distance: float | None, limit: float) -> str | None:
    if distance is None or distance <= limit:
        return None
    return (
        "the image is unlike the ultrasound images that the specialist was trained on "
        f"(distance {distance:.2f}, limit {limit:.2f})"
    )
