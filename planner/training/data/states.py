"""Results for a case's slots: those of the survey, some altered as specialists typically err."""

from collections.abc import Mapping

import numpy as np

from reports.model import Box, ImageInfo, NamedPoint
from specialists.manifest import Kind, Manifest, SpecialistEntry
from specialists.result import (
    ClassifyResult,
    Component,
    DetectResult,
    RegressResult,
    Result,
    SegmentResult,
)

CHANGED_SHARE = 0.15
"""Share of results that are changed: nothing found, declined, moved away, or other scores."""

NOT_INSTALLED = "imagined"
"""The hash of a specialist that is not installed.

Its results are made up, so that its protocol is learnt too.
"""

Outcome = Result | str
"""A result, or the sentence with which the specialist declined."""


def all_installed(manifest: Manifest) -> Manifest:
    """Return the manifest with every specialist installed, to learn protocols without weights."""
    specialists = {
        name: entry
        if entry.installed
        else entry.model_copy(
            update={
                "weights": f"{name}.safetensors",
                "sha256": NOT_INSTALLED,
                "backbone_sha256": NOT_INSTALLED,
                "not_installed": None,
            }
        )
        for name, entry in manifest.specialists.items()
    }
    return manifest.model_copy(update={"specialists": specialists})


def outcome_of(
    entry: SpecialistEntry,
    surveyed: Mapping[str, Result],
    declined: Mapping[str, str],
    info: ImageInfo,
    rng: np.random.Generator,
) -> Outcome:
    """Return what the specialist answered for the image, or might have; in some cases changed."""
    found: Outcome | None = surveyed.get(entry.id, declined.get(entry.id))
    if found is None:
        found = imagined(entry, info, rng)
    return changed(entry, found, info, rng) if rng.random() < CHANGED_SHARE else found


def changed(
    entry: SpecialistEntry, found: Outcome, info: ImageInfo, rng: np.random.Generator
) -> Outcome:
    """Return another outcome: declined, nothing, or something that disagrees with the rest."""
    if rng.random() < 0.15:
        return "The image is too dark."
    if isinstance(found, (str, ClassifyResult)) or rng.random() < 0.5:
        return imagined(entry, info, rng)
    return nothing(entry)


def nothing(entry: SpecialistEntry) -> Result:
    """Return a result of the specialist that shows nothing; a classifier's scores are equal."""
    made_by = {"specialist": entry.id, "sha256": str(entry.sha256)}
    match entry.kind:
        case Kind.DETECT:
            return DetectResult(
                **made_by,
                label=entry.labels[0],
                score=0.1,
                box=None,
                absence_known=entry.absence_known,
            )
        case Kind.SEGMENT:
            return SegmentResult(**made_by, labels=entry.labels[1:], components=())
        case Kind.CLASSIFY:
            return ClassifyResult(
                **made_by, scores=dict.fromkeys(entry.labels, round(1 / len(entry.labels), 4))
            )
        case Kind.REGRESS:
            return RegressResult(**made_by, points=(), missing=entry.landmarks)


def imagined(entry: SpecialistEntry, info: ImageInfo, rng: np.random.Generator) -> Result:
    """Return a result that shows something, anywhere in the image."""
    made_by = {"specialist": entry.id, "sha256": str(entry.sha256)}
    match entry.kind:
        case Kind.DETECT:
            return DetectResult(
                **made_by,
                label=entry.labels[0],
                score=round(float(rng.uniform(0.5, 1)), 3),
                box=_box(info, rng),
                absence_known=entry.absence_known,
            )
        case Kind.SEGMENT:
            components = tuple(
                Component(
                    label=str(label),
                    polygons=(_ring(_box(info, rng)),),
                    score=round(float(rng.uniform(0.5, 1)), 3),
                )
                for label in rng.choice(entry.labels[1:], size=int(rng.integers(1, 4)))
            )
            return SegmentResult(**made_by, labels=entry.labels[1:], components=components)
        case Kind.CLASSIFY:
            shares = rng.dirichlet([0.6] * len(entry.labels))
            scores = {n: round(float(s), 4) for n, s in zip(entry.labels, shares, strict=True)}
            return ClassifyResult(**made_by, scores=scores)
        case Kind.REGRESS:
            points = tuple(
                NamedPoint(
                    name=name,
                    x=float(rng.uniform(0, info.width_px)),
                    y=float(rng.uniform(0, info.height_px)),
                    score=round(float(rng.uniform(0.3, 1)), 3),
                )
                for name in entry.landmarks
            )
            return RegressResult(**made_by, points=points)


def _box(info: ImageInfo, rng: np.random.Generator) -> Box:
    width, height = info.width_px, info.height_px
    wide, tall = rng.uniform(0.1, 0.6) * width, rng.uniform(0.1, 0.6) * height
    x, y = rng.uniform(0, width - wide), rng.uniform(0, height - tall)
    return (float(x), float(y), float(x + wide), float(y + tall))


def _ring(box: Box) -> tuple[tuple[float, float], ...]:
    """Return an ellipse in the box."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    x = (box[0] + box[2]) / 2 + (box[2] - box[0]) / 2 * np.cos(angles)
    y = (box[1] + box[3]) / 2 + (box[3] - box[1]) / 2 * np.sin(angles)
    return tuple((float(a), float(b)) for a, b in zip(x, y, strict=True))
