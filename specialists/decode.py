"""Decoding of a head's raw output into a result in image pixels."""

from collections.abc import Mapping
from functools import lru_cache
from typing import cast

import contourpy
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from reports.measure.geometry import area, rasterize
from reports.model import Box, NamedPoint, Ring
from specialists.errors import WeightsError
from specialists.heads.regress import decode_heatmaps
from specialists.letterbox import Letterbox
from specialists.manifest import Kind, SpecialistEntry
from specialists.model import Output, line_ends
from specialists.result import (
    ClassifyResult,
    Component,
    DetectResult,
    RegressResult,
    Result,
    SegmentResult,
)

Array = npt.NDArray[np.float64]
Map = npt.NDArray[np.float32] | npt.NDArray[np.float64]

NEEDED_THRESHOLDS = {
    Kind.DETECT: ("presence",),
    Kind.SEGMENT: ("mask", "min_area"),
    Kind.REGRESS: ("peak",),
    Kind.CLASSIFY: (),
}


LABEL_SET = "label_set"
"""Prefix of the thresholds `label_set CLASS`: scores from which the class is not ruled out."""


def check_decodable(entry: SpecialistEntry) -> None:
    """Check that the entry has every number that its decoding needs.

    Raises:
        WeightsError: a threshold or the temperature is missing.
    """
    for name in NEEDED_THRESHOLDS[entry.kind]:
        if name not in entry.thresholds:
            raise WeightsError(f"The manifest entry {entry.id} lacks the threshold {name!r}.")
    calibrated = entry.kind is Kind.CLASSIFY or (entry.kind is Kind.DETECT and entry.absence_known)
    if calibrated and entry.temperature is None:
        raise WeightsError(f"The manifest entry {entry.id} lacks a temperature.")


def decode(entry: SpecialistEntry, output: Output, box: Letterbox) -> Result:
    """Decode the output of one image (batch of one) and map it back through its letterbox."""
    if entry.kind is Kind.DETECT:
        return _detect(entry, output, box)
    if not isinstance(output, Tensor):
        raise TypeError(f"{entry.id} gave no tensor")
    if entry.kind is Kind.SEGMENT:
        return _segment(entry, output, box)
    if entry.kind is Kind.REGRESS:
        return _regress(entry, output, box)
    return _classify(entry, output)


def attention_inside(attention: Tensor, box: Tensor) -> Tensor:
    """Return (B,) share of the attention (B, cells) that lies in the box (B, 4) in [0, 1]."""
    side = int(round(attention.shape[1] ** 0.5))
    centre = (torch.arange(side, device=box.device) + 0.5) / side
    in_x = (centre >= box[:, :1]) & (centre < box[:, 2:3])
    in_y = (centre >= box[:, 1:2]) & (centre < box[:, 3:4])
    inside = (in_y[:, :, None] & in_x[:, None, :]).flatten(1)
    return (attention.softmax(1) * inside).sum(1)


def presence_scores(entry: SpecialistEntry, logits: Tensor, inside: Tensor | None) -> Tensor:
    """Return (B,) scores that a detector's presence threshold is compared with.

    Args:
        entry: a detector's entry; the presence logits are meaningless if it has not learned
            absence.
        logits: (B,) presence logits.
        inside: (B,) share of the attention in the box; ignored where absence was learned.
    """
    if not entry.absence_known:
        if inside is None:
            raise TypeError(f"{entry.id} has not learned absence: its score is the attention's.")
        return inside
    if entry.temperature is None:
        raise WeightsError(f"The manifest entry {entry.id} lacks a temperature.")
    return torch.sigmoid(logits / entry.temperature)


def margins(logits: Tensor, side_px: int) -> Tensor:
    """Return (B, classes - 1, S, S) margins of each foreground class over all other classes.

    A margin is a difference of probabilities, in [-1, 1].
    """
    logits = logits.float()
    if logits.shape[1] == 2:  # two softmax shares differ by tanh(difference / 2)
        return enlarged(logits[:, 1:] - logits[:, :1], side_px).div_(2).tanh_()
    shares = enlarged(logits, side_px).softmax(1)
    found = []
    for index in range(1, shares.shape[1]):
        others = torch.cat([shares[:, :index], shares[:, index + 1 :]], dim=1)
        found.append(shares[:, index] - others.amax(1))
    return torch.stack(found, dim=1)


def enlarged(maps: Tensor, side_px: int) -> Tensor:
    """Resize (B, C, h, w) maps to (B, C, S, S) by bicubic interpolation.

    Two matrix products take a fraction of the time of torch's own interpolation.
    """
    rows, columns = (_bicubic(side, side_px).to(maps.device) for side in maps.shape[-2:])
    return rows @ maps @ columns.T


@lru_cache(maxsize=16)
def _bicubic(side: int, side_px: int) -> Tensor:
    """Return (S, side) float32 weights of each of `side` values in each of S values.

    They are those of torch's bicubic interpolation.
    """
    with torch.inference_mode(False):  # the cached tensor is also used outside it
        each = torch.eye(side)[None, None]
        return F.interpolate(each, (side_px, side), mode="bicubic", align_corners=False)[0, 0]


def outlines(margin: Map, level: float, box: Letterbox) -> list[tuple[Ring, ...]]:
    """Return the components of a (S, S) margin map above `level`.

    Each component is a tuple of rings in image pixels, outer ring first.
    """
    index = np.arange(-2, margin.shape[0] + 2)
    x0, y0, x1, y1 = box.field()
    rows, beyond_y = _within(index, y0, y1)
    columns, beyond_x = _within(index, x0, x1)
    above: npt.NDArray[np.bool_] = np.greater(margin[:, columns[0] : columns[-1] + 1], level)
    in_y = _around(np.flatnonzero(np.asarray(above.any(1))[rows] & ~beyond_y))
    if in_y is None:
        return []
    above = np.greater(margin[rows[in_y][0] : rows[in_y][-1] + 1], level)
    in_x = _around(np.flatnonzero(np.asarray(above.any(0))[columns] & ~beyond_x))
    if in_x is None:
        return []
    seen = margin[np.ix_(rows[in_y], columns[in_x])].astype(np.float64)
    seen[beyond_y[in_y]], seen[:, beyond_x[in_x]] = -1.0, -1.0
    polygons, offsets = _filled(index[in_x] + 0.5, index[in_y] + 0.5, seen, level)
    found = []
    for points, offset in zip(polygons, offsets, strict=True):
        rings = [
            _ring(points[start : stop - 1], box)  # the last point repeats the first
            for start, stop in zip(offset[:-1], offset[1:], strict=True)
        ]
        found.append(tuple(ring for ring in rings if len(ring) >= 3))
    return [rings for rings in found if rings]


def _filled(x: Array, y: Array, seen: Array, level: float) -> tuple[list[Array], list[Array]]:
    """Return polygons of (h, w) values above `level`, and where in each its rings begin.

    The contour generator is constructed directly: contourpy's factory function takes longer to
    check its arguments than the polygons take.
    """
    generator = contourpy.SerialContourGenerator(
        *np.meshgrid(x, y),
        seen,
        ~np.isfinite(seen),
        corner_mask=True,
        line_type=contourpy.LineType.Separate,
        fill_type=contourpy.FillType.OuterOffset,
        quad_as_tri=False,
        z_interp=contourpy.ZInterp.Linear,
        x_chunk_size=0,
        y_chunk_size=0,
    )
    return cast("tuple[list[Array], list[Array]]", generator.filled(level, np.inf))


def _around(found: npt.NDArray[np.intp]) -> slice | None:
    """Return the slice from one before the first index to one after the last; None if empty."""
    return slice(max(found[0] - 1, 0), found[-1] + 2) if len(found) else None


def _within(
    index: npt.NDArray[np.int64], low: float, high: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the nearest pixel centred in the field for each of `index`, and which are beyond it.

    Beyond means more than one pixel past the field. An outline thus continues past the field's edge
    before it closes, and is then cut exactly at the edge.
    """
    first, last = int(np.ceil(low - 0.5)), int(np.floor(high - 0.5))
    return index.clip(first, last), (index < first - 1) | (index > last + 1)


def _ring(points: Array, box: Letterbox) -> Ring:
    moved = np.clip(box.to_image(points), 0, [box.width_px, box.height_px]).round(2)
    before = np.concatenate([moved[-1:], moved[:-1]])
    apart = moved[(moved != before).any(1)]
    return tuple((x, y) for x, y in apart.tolist())


def _detect(entry: SpecialistEntry, output: Output, box: Letterbox) -> DetectResult:
    score = presence(entry, output)
    x_min, y_min, x_max, y_max = placed = best_box(entry, output, box)
    present = score >= entry.thresholds["presence"].value and x_max > x_min and y_max > y_min
    return DetectResult(
        specialist=entry.id,
        sha256=str(entry.sha256),
        label=entry.labels[0],
        score=round(score, 4),
        box=placed if present else None,
        absence_known=entry.absence_known,
    )


def presence(entry: SpecialistEntry, output: Output) -> float:
    """Return the score that a detector's presence threshold is compared with.

    It is the score of one image (batch of one).
    """
    found, logits, attention = _three(entry, output)
    inside = None if entry.absence_known else attention_inside(attention.float(), found.float())
    return float(presence_scores(entry, logits.float(), inside)[0])


def best_box(entry: SpecialistEntry, output: Output, box: Letterbox) -> Box:
    """Return the box of one image (batch of one) in image pixels, cut at the image's edges.

    It is given whether or not the structure is present, and is empty where the network's box lies
    beyond the image.
    """
    corners = _three(entry, output)[0][0].double().numpy().reshape(2, 2) * box.input_px
    moved = box.to_image(corners).clip(0, [box.width_px, box.height_px]).round(2)
    (x_min, y_min), (x_max, y_max) = moved.tolist()
    return (x_min, y_min, x_max, y_max)


def _three(entry: SpecialistEntry, output: Output) -> tuple[Tensor, Tensor, Tensor]:
    if isinstance(output, Tensor):
        raise TypeError(f"{entry.id} gave one tensor")
    return output


def _segment(entry: SpecialistEntry, logits: Tensor, box: Letterbox) -> SegmentResult:
    level = 2 * entry.thresholds["mask"].value - 1
    smallest = entry.thresholds["min_area"].value * box.width_px * box.height_px
    maps = margins(logits, box.input_px)[0].numpy()
    components: list[tuple[float, Component]] = []
    for label, margin in zip(entry.labels[1:], maps, strict=True):
        for rings in outlines(margin, level, box):
            size = area(rings)
            if size < max(smallest, 1.0):
                continue
            score = _mean_score(margin, rings, box)
            components.append((size, Component(label=label, polygons=rings, score=score)))
    components.sort(key=lambda item: -item[0])
    return SegmentResult(
        specialist=entry.id,
        sha256=str(entry.sha256),
        labels=entry.labels[1:],
        components=tuple(component for _, component in components),
    )


def _mean_score(margin: Map, rings: tuple[Ring, ...], box: Letterbox) -> float:
    network = tuple(box.to_network(np.array(ring)) for ring in rings)
    inside = rasterize(network, box.input_px, box.input_px)
    mean = margin[inside].mean(dtype=np.float64) if inside.any() else 0.0
    return round(float(np.clip((mean + 1) / 2, 0, 1)), 4)


def probabilities(entry: SpecialistEntry, logits: Tensor) -> Array:
    """Return (classes,) calibrated, unrounded scores of one image (batch of one) that sum to 1."""
    if entry.temperature is None:
        raise WeightsError(f"The manifest entry {entry.id} lacks a temperature.")
    scaled = logits[0].double().numpy() / entry.temperature
    shares: Array = np.exp(scaled - scaled.max())
    shares /= shares.sum()
    return shares


def _classify(entry: SpecialistEntry, logits: Tensor) -> ClassifyResult:
    shares = probabilities(entry, logits)
    scores = {
        label: round(share, 4) for label, share in zip(entry.labels, shares.tolist(), strict=True)
    }
    return ClassifyResult(
        specialist=entry.id,
        sha256=str(entry.sha256),
        scores=scores,
        label_set=label_set(entry, scores),
    )


def label_set(entry: SpecialistEntry, scores: Mapping[str, float]) -> tuple[str, ...] | None:
    """Return the classes that their scores do not rule out, in order.

    The result is None where the label set is not calibrated.
    """
    least = {label: entry.thresholds.get(f"{LABEL_SET} {label}") for label in entry.labels}
    if None in least.values():
        return None
    return tuple(label for label, limit in least.items() if limit and scores[label] >= limit.value)


def _regress(entry: SpecialistEntry, heatmaps: Tensor, box: Letterbox) -> RegressResult:
    found, peaks = decode_heatmaps(heatmaps.float(), line_ends(entry))
    stride = box.input_px / heatmaps.shape[-1]
    moved = box.to_image(found[0].double().numpy() * stride)
    points, missing = [], []
    for name, (x, y), peak in zip(entry.landmarks, moved, peaks[0].tolist(), strict=True):
        if peak < entry.thresholds["peak"].value:
            missing.append(name)
            continue
        score = round(min(max(peak, 0.0), 1.0), 4)
        points.append(
            NamedPoint(name=name, x=round(float(x), 2), y=round(float(y), 2), score=score)
        )
    return RegressResult(
        specialist=entry.id, sha256=str(entry.sha256), points=tuple(points), missing=tuple(missing)
    )
