"""FMC-UIA prediction files for every row of a folder in that layout; labels are never read."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image as PILImage
from torch import Tensor
from tqdm import tqdm

from reports.measure.geometry import rasterize
from reports.model import Box
from specialists.decode import best_box, presence, probabilities
from specialists.engine import Answer, Engine
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
from specialists.training.data.csv_lines import file_of
from specialists.training.data.readable import read_grey
from specialists.training.data.tables import Row, rows_by_task, stated_aspect

Answers = list[dict[str, object]]


@dataclass(kw_only=True)
class Predictions:
    """The predictions written, and a list of what could not be predicted."""

    classification: Answers = field(default_factory=list)
    detection: Answers = field(default_factory=list)
    regression: Answers = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """A line for each row, task or CSV without predictions."""
    stand_ins: list[str] = field(default_factory=list)
    """A line for each of the challenge's tasks that another USTri specialist predicted."""
    rows: int = 0
    """Rows that were to be predicted."""
    predicted: int = 0
    tasks: int = 0


@dataclass(frozen=True, kw_only=True)
class _InferenceRequest:
    """One row and the specialist that predicts it."""

    row: Row
    entry: SpecialistEntry


FILES = {
    "classification": "classification_predictions.json",
    "detection": "detection_predictions.json",
    "regression": "regression_predictions.json",
}


class Augmented:
    """An engine's specialists, each run with test-time augmentation."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.manifest = engine.manifest

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """Run a specialist as `Engine.run` does, with test-time augmentation."""
        return self._engine.run(specialist_id, image, roi, tta=True)

    def answer(self, specialist_id: str, image: Image, roi: Box | None = None) -> Answer:
        """Return a specialist's answer as `Engine.answer` does, with test-time augmentation."""
        return self._engine.answer(specialist_id, image, roi, tta=True)


Tools = Engine | Augmented
"""The engines that can predict."""


def predict_folder(
    engine: Tools,
    data_root: Path,
    out: Path,
    *,
    namespace: str | None = None,
    tasks: Collection[str] | None = None,
    split: str | None = None,
) -> Predictions:
    """Predict every row of every CSV under `data_root/csv_files`, or of one split, into `out`.

    The `task_id` of a row names its specialist. A row whose image is missing or unreadable is
    listed in `problems`, and so is, once with its number of rows, a task without an installed
    specialist.

    Raises:
        TrainingError: there is no CSV.
    """
    found, problems = rows_by_task(data_root, ("image_path",))
    chosen: dict[str, list[Row]] = {}
    for task in tasks if tasks is not None else found:
        if task not in found:
            problems.append(f"No row of a CSV names the task {task!r}.")
            continue
        chosen[task] = [row for row in found[task] if split is None or row.get("split") == split]
    return predict_rows(engine, chosen, (data_root, out), namespace, problems)


def predict_rows(
    engine: Tools,
    rows_by: Mapping[str, list[Row]],
    folders: tuple[Path, Path],
    namespace: str | None = None,
    problems: Sequence[str] = (),
) -> Predictions:
    """Predict those rows by task and write the predictions.

    The folders are the data root and that of the predictions.
    """
    out = folders[1]
    predictions = Predictions(problems=list(problems))
    requests: list[_InferenceRequest] = []
    for task, rows in rows_by.items():
        requests += _requests(engine.manifest, (task, namespace), rows, predictions)
    _predict(engine, requests, folders, predictions)
    out.mkdir(parents=True, exist_ok=True)
    for part, file_name in FILES.items():
        (out / file_name).write_text(
            json.dumps(getattr(predictions, part), indent=1), encoding="utf-8"
        )
    return predictions


def _requests(
    manifest: Manifest, named: tuple[str, str | None], rows: list[Row], predictions: Predictions
) -> list[_InferenceRequest]:
    """Return one task's rows with their specialist; `named` is the task and the namespace."""
    task, namespace = named
    predictions.rows += len(rows)
    try:
        named_entry = entry_for(manifest, task, namespace)
        entry = answerer(manifest, named_entry)
    except TrainingError as error:
        predictions.problems.append(f"{error} Its {len(rows)} rows were not predicted.")
        return []
    predictions.tasks += 1
    if entry.id != named_entry.id:
        learnt = ", ".join(source.name for source in entry.training_data)
        predictions.stand_ins.append(
            f"{task}: answered by {entry.id}, which learnt from {learnt}; that the challenge's "
            f"{', '.join(entry.names)} come in this order is assumed."
        )
    return [_InferenceRequest(row=row, entry=entry) for row in rows]


def _predict(
    engine: Tools,
    requests: list[_InferenceRequest],
    folders: tuple[Path, Path],
    predictions: Predictions,
) -> None:
    """Add the predictions in the order of the requests, run image by image to share its pass."""
    first: dict[object, int] = {}
    for index, request in enumerate(requests):
        first.setdefault(request.row["image_path"], index)
    order = sorted(range(len(requests)), key=lambda i: first[requests[i].row["image_path"]])
    answers: dict[int, Predictions] = {}
    for index in tqdm(order, unit="row"):
        answers[index] = answered = Predictions()
        row = requests[index].row
        try:
            _predict_row(engine, requests[index], folders, answered)
            answered.predicted = 1
        except SpecialistError as error:
            answered.problems.append(f"{row['task_id']}: {row['image_path']}: {error}")
    for index in range(len(requests)):
        predictions.predicted += answers[index].predicted
        for part in (*FILES, "problems"):
            getattr(predictions, part).extend(getattr(answers[index], part))


def answering(manifest: Manifest) -> Manifest:
    """Return the manifest without any threshold under which a report would decline.

    A detector that has learned absence keeps its own, which decides whether the written box is
    present.
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
        name: model.model_copy(update={"novelty": None, "thresholds": {}})
        for name, model in manifest.models.items()
    }
    return manifest.model_copy(update={"specialists": changed, "models": models})


def entry_for(manifest: Manifest, task_id: str, namespace: str | None) -> SpecialistEntry:
    """Return the specialist of a CSV's task.

    Raises:
        TrainingError: there is none.
    """
    for entry in manifest.specialists.values():
        inside = entry.id.startswith(f"{namespace}_") if namespace else entry.id == task_id
        if entry.task_id == task_id and inside:
            return entry
    raise TrainingError(f"No specialist answers the task {task_id!r}.")


def answerer(manifest: Manifest, entry: SpecialistEntry) -> SpecialistEntry:
    """Return the installed specialist that predicts: the entry's own, or the one replacing it.

    Raises:
        TrainingError: none is installed.
    """
    if entry.installed:
        return entry
    other = manifest.stand_in(entry)
    if other is None:
        raise TrainingError(f"The specialist {entry.id} is not installed.")
    if not other.installed:
        raise TrainingError(
            f"The specialist {entry.id} is not installed, "
            f"nor is {other.id}, which stands in for it."
        )
    return other


def _predict_row(
    engine: Tools, request: _InferenceRequest, folders: tuple[Path, Path], predictions: Predictions
) -> None:
    data_root, out = folders
    row, entry = request.row, request.entry
    relative = str(row["image_path"])
    pixels = read_grey(file_of(data_root, relative))
    image = image_of(pixels, stated_aspect(row))
    answer = engine.answer(entry.id, image, region_for(engine, entry, image))
    common = {"image_path": relative, "task_id": row["task_id"]}
    size = np.array([image.info.width_px, image.info.height_px])
    match answer.result():
        case SegmentResult() as result:
            _write_mask(result, image, mask_target(row, out))
        case ClassifyResult():
            predictions.classification.append({**common, **_classes(answer)})
        case DetectResult() as result:
            predictions.detection.append({**common, **_box(answer, result, size)})
        case RegressResult() as result:
            predictions.regression.append({**common, **_points(entry, result, size)})


def region_for(engine: Tools, entry: SpecialistEntry, image: Image) -> Box | None:
    """Return the region that the specialist's own detector finds; None without one."""
    if entry.roi is Roi.NONE or entry.roi_slot is None:
        return None
    detector = engine.manifest.provider(entry.roi_slot)
    if detector is None or not detector.installed:
        return None
    found = engine.run(detector.id, image)
    return found.box if isinstance(found, DetectResult) else None


def label_map(result: SegmentResult, image: Image) -> np.ndarray:
    """Return the (H, W) uint8 label map in the image's size; the pixel value is the class."""
    labels = np.zeros(image.pixels.shape, np.uint8)
    for component in result.components:
        inside = rasterize(component.polygons, image.info.width_px, image.info.height_px)
        labels[inside] = result.labels.index(component.label) + 1
    return labels


def mask_target(row: Row, out: Path) -> Path:
    """Return the path under `out` at which the mask of a row is written or read.

    Raises:
        TrainingError: the row has no mask path, or one that leads out of `out`.
    """
    relative = row.get("mask_path")
    if not isinstance(relative, str):
        raise TrainingError("The row has no mask_path, so that its mask has no place.")
    path = out / relative.removeprefix("../")
    if not path.resolve().is_relative_to(out.resolve()):
        raise TrainingError(f"The mask_path {relative} leads out of the folder of predictions.")
    return path


def _write_mask(result: SegmentResult, image: Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(label_map(result, image)).save(path)


def _classes(answer: Answer) -> dict[str, object]:
    """Return probabilities in class order, not rounded, since they must sum to 1."""
    if not isinstance(answer.output, Tensor):
        raise TypeError(f"{answer.entry.id} gave no tensor")
    shares = probabilities(answer.entry, answer.output)
    return {"predicted_class": int(shares.argmax()), "predicted_probs": shares.tolist()}


def _box(answer: Answer, result: DetectResult, size: np.ndarray) -> dict[str, object]:
    """Return the best box, whether or not the structure is present.

    Where training had images without the structure, its presence is returned with the box.
    """
    entry = answer.entry
    box = best_box(entry, answer.output, answer.encoded.box)
    found: dict[str, object] = {
        "bbox_normalized": (np.array(box) / np.tile(size, 2)).tolist(),
        "bbox_pixels": list(box),
    }
    if entry.absence_known:
        found["present"] = result.box is not None
        found["present_score"] = presence(entry, answer.output)
    return found


def _points(entry: SpecialistEntry, result: RegressResult, size: np.ndarray) -> dict[str, object]:
    """Return flat lists [x1, y1, x2, y2, …]; the numbers of an undetected landmark are None."""
    found = {point.name: (point.x, point.y) for point in result.points}
    pixels: list[float | None] = []
    shares: list[float | None] = []
    for name in entry.landmarks:
        point = found.get(name)
        pixels += [None, None] if point is None else list(point)
        shares += [None, None] if point is None else (np.array(point) / size).tolist()
    return {"predicted_points_normalized": shares, "predicted_points_pixels": pixels}
