"""Clinical measurements from predictions, compared with those from the labels.

They are head size, angle of progression, and thickness. The formulas are the reports' own, without
the conditions under which a report declines: a prediction is scored, however odd it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.errors import NotMeasurable, OutlineDegenerate
from reports.measure.ellipse import ellipse_of
from reports.measure.geometry import Scale
from reports.measure.head import landmark_diameters
from reports.measure.lines import turn_deg
from reports.measure.progression import HEAD, SYMPHYSIS, progression_of_outlines
from reports.model import NamedPoint
from specialists.manifest import SpecialistEntry
from specialists.training.data.masks import LabelMap, Mask, largest_rings
from specialists.training.data.tables import Row

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

HALF_TURN_DEG = 180.0
"""The greatest error of an angle, and the error of a missing one."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One measurement of every image with a label of it, from the prediction and from the truth."""

    name: str
    short: str
    unit: str
    source: str
    """A phrase on the method and the reference; empty where there is only one way."""
    rows: Rows
    """(N,) indices of the images among the rows that were scored."""
    measured: Array
    """(N,) NaN where the prediction yields none."""
    truth: Array
    """(N,) finite."""

    @property
    def differences(self) -> Array:
        """Differences (N,), measured less true; NaN where nothing was measured.

        Those of an angle are in [-180, 180).
        """
        apart = self.measured - self.truth
        if self.unit != "deg":
            return apart
        return (apart + HALF_TURN_DEG) % (2 * HALF_TURN_DEG) - HALF_TURN_DEG

    @property
    def errors(self) -> Array:
        """Absolute differences (N,).

        Where nothing was measured, the error is the whole truth, or half a turn for an angle.
        """
        most = np.full_like(self.truth, HALF_TURN_DEG) if self.unit == "deg" else abs(self.truth)
        return np.where(np.isfinite(self.measured), abs(self.differences), most)


@dataclass(frozen=True, kw_only=True)
class Masks:
    """Label maps of a task's rows, None where none was predicted."""

    rows: Sequence[Row]
    guesses: Sequence[LabelMap | None]
    truths: Sequence[LabelMap]


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Landmarks (K, 2) of a task's rows in stored pixels, NaN where there is none."""

    rows: Sequence[Row]
    guesses: Sequence[Array]
    truths: Sequence[Array]
    heights_px: Sequence[float]
    """Heights of the stored images; NaN where one cannot be read."""


def agreements_of_masks(entry: SpecialistEntry, masks: Masks) -> list[Agreement]:
    """Return a report's measurements in the masks of this task; empty without a clinical number."""
    for slot, measure in _OF_MASKS.items():
        if slot in entry.provides:
            return measure(entry, masks)
    return []


def agreements_of_marks(entry: SpecialistEntry, marks: Marks) -> list[Agreement]:
    """Return a report's measurements between the landmarks of this task.

    The list is empty for a task without a clinical number.
    """
    for slot, measure in _OF_MARKS.items():
        if slot in entry.provides:
            return measure(entry, marks)
    return []


def column(rows: Sequence[Row], name: str) -> Array:
    """Return the (rows,) numbers of a column; NaN where a row has none."""
    return np.array([_number(row.get(name)) for row in rows], dtype=np.float64)


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def _agreement(
    what: tuple[str, str, str], source: str, measured: Array, truth: Array
) -> list[Agreement]:
    """Return the agreement over those rows whose truth is known; empty where none is.

    `what` holds name, short name and unit.
    """
    known = np.flatnonzero(np.isfinite(truth))
    if not len(known):
        return []
    name, short, unit = what
    return [
        Agreement(
            name=name,
            short=short,
            unit=unit,
            source=source,
            rows=known,
            measured=measured[known],
            truth=truth[known],
        )
    ]


def scales_of(rows: Sequence[Row]) -> list[Scale]:
    """Return the mm per pixel of each row along x and y; NaN where a row states none.

    `mm_per_px` is of a pixel's width where `pixel_aspect` says that its height is another.
    """
    across = column(rows, "mm_per_px")
    down = across * aspects_of(rows)
    return list(zip(across.tolist(), down.tolist(), strict=True))


def aspects_of(rows: Sequence[Row]) -> Array:
    """Return the (rows,) heights over widths of the images' pixels; 1 where a row states none."""
    stated = column(rows, "pixel_aspect")
    return np.where(np.isfinite(stated), stated, 1.0)


def circumference_mm(mask: Mask, scale: Scale) -> float:
    """Return the circumference of a head's mask by the reports' ellipse, at mm per pixel.

    It is NaN where the mask is empty or has no area.
    """
    rings = largest_rings(mask)
    if rings is None or not np.isfinite(scale).all():
        return float("nan")
    try:
        return ellipse_of(rings, scale).circumference
    except OutlineDegenerate:
        return float("nan")


def progression_deg(mask: LabelMap, labels: Sequence[str], aspect: float = 1.0) -> float:
    """Return the angle of progression of a label map, in square pixels as in a report.

    It is NaN where its outlines allow none. `aspect` is a pixel's height over its width.
    """
    symphysis, head = (
        largest_rings(mask == labels.index(label)) if label in labels else None
        for label in (SYMPHYSIS, HEAD)
    )
    if symphysis is None or head is None:
        return float("nan")
    try:
        return progression_of_outlines(symphysis, head, (1.0, aspect)).deg
    except (NotMeasurable, OutlineDegenerate):
        return float("nan")


def _heads(entry: SpecialistEntry, masks: Masks) -> list[Agreement]:
    what = ("head circumference", "hc", "mm")
    scales = scales_of(masks.rows)
    measured = np.array(
        [
            np.nan if guess is None else circumference_mm(guess == 1, scale)
            for guess, scale in zip(masks.guesses, scales, strict=True)
        ]
    )
    outlined = np.array(
        [circumference_mm(t == 1, scale) for t, scale in zip(masks.truths, scales, strict=True)]
    )
    spaced = np.isfinite(column(masks.rows, "mm_per_px"))
    stated = np.where(spaced, column(masks.rows, "hc_mm"), np.nan)
    return [
        *_agreement(what, "against hc_mm", measured, stated),
        *_agreement(what, "against the label mask", measured, outlined),
    ]


def _progressions(entry: SpecialistEntry, masks: Masks) -> list[Agreement]:
    what = ("angle of progression", "aop", "deg")
    aspects = aspects_of(masks.rows)
    measured = np.array(
        [
            np.nan if guess is None else progression_deg(guess, entry.labels, aspect)
            for guess, aspect in zip(masks.guesses, aspects, strict=True)
        ]
    )
    outlined = np.array(
        [
            progression_deg(truth, entry.labels, aspect)
            for truth, aspect in zip(masks.truths, aspects, strict=True)
        ]
    )
    stated = column(masks.rows, "aop_deg")
    return [
        *_agreement(what, "from masks, against aop_deg", measured, stated),
        *_agreement(what, "from masks, against the label mask", measured, outlined),
    ]


def _diameters(entry: SpecialistEntry, marks: Marks) -> list[Agreement]:
    scales = scales_of(marks.rows)

    def both(points: Sequence[Array]) -> Array:
        pairs = [_axes(entry, p, scale) for p, scale in zip(points, scales, strict=True)]
        return np.array(pairs).reshape(-1, 2)

    measured, truth = both(marks.guesses), both(marks.truths)
    named = (("occipitofrontal diameter", "ofd", "mm"), ("biparietal diameter", "bpd", "mm"))
    return [
        found
        for axis, what in enumerate(named)
        for found in _agreement(what, "", measured[:, axis], truth[:, axis])
    ]


def _axes(entry: SpecialistEntry, points: Array, scale: Scale) -> tuple[float, float]:
    """Return long and short diameter; NaN where an end or the spacing is missing."""
    seen = [
        NamedPoint(name=name, x=float(x), y=float(y))
        for name, (x, y) in zip(entry.landmarks, points, strict=True)
        if np.isfinite((x, y)).all()
    ]
    try:
        return landmark_diameters(seen, scale)
    except NotMeasurable:
        return float("nan"), float("nan")


def _angles(entry: SpecialistEntry, marks: Marks) -> list[Agreement]:
    square = [np.array([1.0, aspect]) for aspect in aspects_of(marks.rows)]

    def turns(points: Sequence[Array]) -> Array:
        return np.array(
            [
                turn_deg((far - near) * scale, (tangent - near) * scale)
                for (far, near, tangent), scale in zip(points, square, strict=True)
            ]
        )

    # Of the tissue, as a report's: psfhs, whose images were squashed by unknown factors, states
    # no `pixel_aspect`, and its `aop_deg` is of the stored pixels.
    stated = column(marks.rows, "aop_deg")
    truth = np.where(np.isfinite(stated), stated, turns(marks.truths))
    return _agreement(("angle of progression", "aop", "deg"), "", turns(marks.guesses), truth)


def _thickness(entry: SpecialistEntry, marks: Marks) -> list[Agreement]:
    """Return the muscle thickness at source scale.

    The observers' marks lie in one column, so that only the vertical scale counts.
    """
    scale = column(marks.rows, "source_height") / np.array(marks.heights_px, dtype=np.float64)
    observed = observers_px(marks.rows)
    known = np.isfinite(observed).any(1)
    mean = np.full(len(marks.rows), np.nan)
    mean[known] = np.nanmean(observed[known], axis=1)
    between = np.array([points[1, 1] - points[0, 1] for points in marks.truths])
    truth = np.where(known, mean, between)
    measured = np.array([points[1, 1] - points[0, 1] for points in marks.guesses])
    what = ("muscle thickness", "thickness", "px")
    return _agreement(what, "at source scale", measured * scale, truth * scale)


def observers_px(rows: Sequence[Row]) -> Array:
    """Return each observer's muscle thickness (rows, 3) in stored pixels; NaN where missing."""
    return np.stack([column(rows, f"thickness_px_obs{n}") for n in (1, 2, 3)], axis=1)


_OF_MASKS: dict[str, Callable[[SpecialistEntry, Masks], list[Agreement]]] = {
    "mask:head": _heads,
    "mask:head_symphysis": _progressions,
}
_OF_MARKS: dict[str, Callable[[SpecialistEntry, Marks], list[Agreement]]] = {
    "points:head_axes": _diameters,
    "points:aop": _angles,
    "points:thickness": _thickness,
}
"""Measurements by the slot that a task provides.

Two tasks that share a name (such as the challenge's) need not mean the same.
"""
