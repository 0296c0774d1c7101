"""FMC-UIA prediction files for every row of a folder in that layout; labels are never read."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image as PILImage
from tqdm import tqdm

from reports.geometry import rasterize
from reports.model import Box
from specialists.engine import Engine
from specialists.errors import SpecialistError, TrainingError
from specialists.image import Image, image_of
from specialists.manifest import Kind, Manifest, Roi, SpecialistEntry, Threshold
from specialists.result import (
    ClassifyResult,
    DetectResult,
    RegressResult,
    Result,
    SegmentResult,
)
from specialists.training.tables import read_grey, read_table


@dataclass(kw_only=True)
class Predictions:
    """What will be written, and what could not be predicted."""

    classification: list[dict[str, object]] = field(default_factory=list)
    detection: list[dict[str, object]] = field(default_factory=list)
    regression: list[dict[str, object]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


FILES = {
    "classification": "classification_predictions.json",
    "detection": "detection_predictions.json",
    "regression": "regression_predictions.json",
}


def predict_folder(
    engine: Engine,
    data_root: Path,
    out: Path,
    *,
    namespace: str | None = None,
    tasks: Collection[str] | None = None,
    split: str | None = None,
) -> Predictions:
    """Predictions of every row of every CSV under `data_root/csv_files`, or of one split, written into `out`.

    A row whose image is missing or unreadable is named in `problems` and gets no prediction.

    Raises:
        TrainingError: there is no CSV, or one names a task that no installed specialist answers.
    """
    files = sorted((data_root / "csv_files").glob("*.csv"))
    names = [file.stem for file in files if tasks is None or file.stem in tasks]
    if not names:
        raise TrainingError(f"There is no CSV to predict under {data_root / 'csv_files'}.")
    predictions = Predictions()
    needed = ("image_path",) if split is None else ("image_path", "split")
    for name in names:
        entry = entry_for(engine.manifest, name, namespace)
        rows = read_table(data_root, name, needed).to_dict("records")
        for row in tqdm(rows, desc=name, unit="image"):
            record = {str(key): value for key, value in row.items()}
            if split is not None and record["split"] != split:
                continue
            try:
                _predict_row(engine, entry, record, data_root, out, predictions)
            except SpecialistError as error:
                predictions.problems.append(f"{name}: {record['image_path']}: {error}")
    out.mkdir(parents=True, exist_ok=True)
    for part, file_name in FILES.items():
        (out / file_name).write_text(
            json.dumps(getattr(predictions, part), indent=1), encoding="utf-8"
        )
    (out / "tasks.json").write_text(json.dumps(names), encoding="utf-8")
    return predictions


def answering(manifest: Manifest) -> Manifest:
    """The manifest with every threshold under which a report would decline taken away.

    A detector that has learned absence keeps its own: its "none" is an answer.
    """
    never = Threshold(value=-1e9, source="prediction files always answer")
    changed = dict(manifest.specialists)
    for entry in manifest.specialists.values():
        if entry.kind is Kind.REGRESS:
            thresholds = {**entry.thresholds, "peak": never}
        elif entry.kind is Kind.DETECT and not entry.absence_known:
            thresholds = {**entry.thresholds, "presence": never}
        else:
            continue
        changed[entry.id] = entry.model_copy(update={"thresholds": thresholds})
    models = {
        name: model.model_copy(update={"novelty": None}) for name, model in manifest.models.items()
    }
    return manifest.model_copy(update={"specialists": changed, "models": models})


def entry_for(manifest: Manifest, task_id: str, namespace: str | None) -> SpecialistEntry:
    """The specialist that answers a CSV's task.

    Raises:
        TrainingError: none does.
    """
    for entry in manifest.specialists.values():
        inside = entry.id.startswith(f"{namespace}_") if namespace else entry.id == task_id
        if entry.task_id == task_id and inside:
            return entry
    raise TrainingError(f"No specialist answers the task {task_id!r}.")


def _predict_row(
    engine: Engine,
    entry: SpecialistEntry,
    row: dict[str, object],
    data_root: Path,
    out: Path,
    predictions: Predictions,
) -> None:
    relative = str(row["image_path"])
    image = image_of(read_grey((data_root / "csv_files" / relative).resolve()))
    result = engine.run(entry.id, image, region_for(engine, entry, image))
    common = {"image_path": relative, "task_id": entry.task_id}
    size = np.array([image.info.width_px, image.info.height_px])
    match result:
        case SegmentResult():
            _write_mask(result, image, out / str(row["mask_path"]).removeprefix("../"))
        case ClassifyResult():
            scores = list(result.scores.values())
            predictions.classification.append(
                {**common, "predicted_class": int(np.argmax(scores)), "predicted_probs": scores}
            )
        case DetectResult():
            box = None if result.box is None else list(result.box)
            share = None if box is None else (np.array(box) / np.tile(size, 2)).tolist()
            predictions.detection.append({**common, "bbox_normalized": share, "bbox_pixels": box})
        case RegressResult():
            predictions.regression.append({**common, **_points(entry, result, size)})


def region_for(engine: Engine, entry: SpecialistEntry, image: Image) -> Box | None:
    """The region that the specialist's own detector finds; null without one."""
    if entry.roi is Roi.NONE or entry.roi_slot is None:
        return None
    detector = engine.manifest.provider(entry.roi_slot)
    if detector is None or not detector.installed:
        return None
    found: Result = engine.run(detector.id, image)
    return found.box if isinstance(found, DetectResult) else None


def label_map(result: SegmentResult, image: Image) -> np.ndarray:
    """(H, W) uint8 label map in the image's size; the pixel value is the class."""
    labels = np.zeros(image.pixels.shape, np.uint8)
    for component in result.components:
        inside = rasterize(component.polygons, image.info.width_px, image.info.height_px)
        labels[inside] = result.labels.index(component.label) + 1
    return labels


def _write_mask(result: SegmentResult, image: Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(label_map(result, image)).save(path)


def _points(entry: SpecialistEntry, result: RegressResult, size: np.ndarray) -> dict[str, object]:
    """Flat lists [x1, y1, x2, y2, …]; a landmark that was not seen is null."""
    found = {point.name: (point.x, point.y) for point in result.points}
    pixels: list[float | None] = []
    shares: list[float | None] = []
    for name in entry.landmarks:
        point = found.get(name)
        pixels += [None, None] if point is None else list(point)
        shares += [None, None] if point is None else (np.array(point) / size).tolist()
    return {"predicted_points_normalized": shares, "predicted_points_pixels": pixels}
