"""The worst images of a task as thumbnails, with prediction and label drawn over them."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from reports.model import Ring
from specialists.errors import TrainingError
from specialists.manifest import Kind
from specialists.training.data.csv_lines import file_of
from specialists.training.data.masks import LabelMap, mask_rings, read_label_map
from specialists.training.data.readable import read_grey, read_mask
from specialists.training.data.tables import Row, label_box, label_points
from specialists.training.evaluation.judge import Judged
from specialists.training.evaluation.predict import mask_target

THUMBNAIL_PX = 320
ARM_SHARE = 1 / 45
"""Half the size of a point's cross, as a share of the image's longer side."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image of the gallery; `truth` and `guess` are SVG paths in image pixels."""

    path: str
    says: str
    """Its score, and the prediction where that cannot be drawn."""
    width_px: int
    height_px: int
    href: str | None
    """The thumbnail as a data: URI; None where the image cannot be read."""
    truth: str
    guess: str


def worst_pictures(judged: Judged, predictions: Path, data_root: Path, count: int) -> list[Picture]:
    """Return the worst images of a task, worst first."""
    return [
        _picture(judged, index, predictions, data_root) for index in judged.per_image.worst(count)
    ]


def _picture(judged: Judged, index: int, predictions: Path, data_root: Path) -> Picture:
    row = judged.rows[index]
    path = str(row["image_path"])
    href, (height_px, width_px) = _thumbnail(file_of(data_root, path))
    truth, guess = _drawn(judged, row, predictions, data_root)
    missing = judged.given.missing([row]).get(0)
    parts = [f"{judged.per_image.name} {judged.per_image.values[index]:.3g}"]
    if href is None:
        parts.append("the image is missing or unreadable")
    if missing is not None:
        parts.append(missing)
    elif judged.entry.kind is Kind.CLASSIFY:
        parts.append(_classes(judged, index))
    elif path in judged.given.absent:
        parts.append("answered none")
    return Picture(
        path=path,
        says="; ".join(parts),
        width_px=width_px,
        height_px=height_px,
        href=href,
        truth=truth,
        guess=guess,
    )


def _classes(judged: Judged, index: int) -> str:
    if judged.classes is None:
        raise TypeError("a classifier's judgement holds its scores")
    scores, labels = judged.classes.scores[index], judged.entry.labels
    said = int(scores.argmax())
    return f"is {labels[judged.classes.truth[index]]}, said {labels[said]} ({scores[said]:.2f})"


def _thumbnail(path: Path) -> tuple[str | None, tuple[int, int]]:
    """Return a JPEG data: URI, and the image's own (height, width)."""
    try:
        pixels = read_grey(path)
    except TrainingError:
        return None, (3, 4)
    image = PILImage.fromarray(pixels)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    written = io.BytesIO()
    image.save(written, "JPEG", quality=80)
    data = base64.b64encode(written.getvalue()).decode()
    return f"data:image/jpeg;base64,{data}", (pixels.shape[0], pixels.shape[1])


def _drawn(judged: Judged, row: Row, predictions: Path, data_root: Path) -> tuple[str, str]:
    """Return label and prediction of one image as SVG paths; empty where nothing is to be drawn."""
    given = judged.given.guesses.get(str(row["image_path"]))
    match judged.entry.kind:
        case Kind.CLASSIFY:
            return "", ""
        case Kind.SEGMENT:
            truth = read_mask(file_of(data_root, str(row["mask_path"])))
            try:
                guess = read_label_map(mask_target(row, predictions), truth.shape)
            except TrainingError:
                return _outlined(truth), ""
            return _outlined(truth), _outlined(guess)
        case Kind.DETECT:
            said = None if str(row["image_path"]) in judged.given.absent else given
            return _box(label_box(row)), _box(None if said is None else said.tolist())
        case Kind.REGRESS:
            points = label_points(row, len(judged.entry.landmarks))
            arm = ARM_SHARE * float(np.nanmax(points)) if np.isfinite(points).any() else 1.0
            return _crosses(points, arm), (
                "" if given is None else _crosses(given.reshape(-1, 2), arm)
            )


def _outlined(labels: LabelMap) -> str:
    rings = [
        ring
        for value in np.unique(labels[labels > 0])
        for r in mask_rings(labels == value)
        for ring in r
    ]
    return _closed(rings)


def _closed(rings: Iterable[Ring]) -> str:
    return " ".join("M" + "L".join(f"{x:g} {y:g}" for x, y in ring) + "Z" for ring in rings)


def _box(box: Sequence[float] | None) -> str:
    if box is None:
        return ""
    x_min, y_min, x_max, y_max = box
    return _closed([((x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max))])


def _crosses(points: npt.NDArray[np.float64], arm: float) -> str:
    return " ".join(
        f"M{x - arm:.1f} {y:.1f}H{x + arm:.1f}M{x:.1f} {y - arm:.1f}V{y + arm:.1f}"
        for x, y in points
        if np.isfinite((x, y)).all()
    )
