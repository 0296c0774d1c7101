"""What the specialists answer for every image, and its pooled features: computed once, kept on disk, resumable."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from planner.protocols import Protocols
from planner.training.pictures import (
    FOREIGN,
    FOREIGN_HELD_OUT,
    Kind,
    Pixels,
    foreign,
    moved_view,
    read_grey,
)
from reports.model import Box, ExamCode, ImageInfo
from specialists.checkpoints import read_tensors, save_tensors
from specialists.engine import Engine
from specialists.errors import Declined, TrainingError
from specialists.image import image_of
from specialists.manifest import Roi
from specialists.result import Component, DetectResult, Result, SegmentResult
from specialists.training.tables import read_table

GRID = 8
"""Side of the kept grid of features."""
LEVELS = ("vit", "c8", "stem", "c2")
PART = 64
"""Pictures in one file, and the most that a kill loses."""
RING_POINTS = 24
"""Points of an outline that are kept: enough to compare it with a box."""


class Wanted(BaseModel):
    """One picture to survey: which file, what is done to it, and what it shows."""

    model_config = ConfigDict(frozen=True)

    path: Path
    kind: Kind
    split: str
    exam: ExamCode | None
    foreign: str | None = None
    seed: int


class Surveyed(BaseModel):
    """A picture's row: results and refusals by specialist id, outlines thinned.

    The exam's own specialists run on the stored image alone; a moved view has the router's answer only.
    """

    model_config = ConfigDict(frozen=True)

    wanted: Wanted
    info: ImageInfo
    results: dict[str, Result]
    declined: dict[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """Rows and (N, GRID², D) float16 features in the same order."""

    rows: list[Surveyed]
    features: Tensor

    def of(self, split: str, *kinds: Kind) -> list[int]:
        """Indices of those pictures."""
        return [
            index
            for index, row in enumerate(self.rows)
            if row.wanted.split == split and row.wanted.kind in kinds
        ]


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How many pictures are surveyed: of each data set by split, and foreign ones by split."""

    train: int = 300
    val: int = 10_000
    foreign_train: int = 400
    foreign_val: int = 240


def choose_pictures(data: Path, labels: Sequence[str], extent: Extent) -> list[Wanted]:
    """The pictures to survey, each real one also as a moved view; the same for the same data.

    Raises:
        TrainingError: `exam_cls.csv` is missing or lacks a column.
    """
    table = read_table(data, "exam_cls", ("image_path", "mask", "dataset", "split"))
    chosen: list[Wanted] = []
    for (split, dataset), rows in sorted(table.groupby(["split", "dataset"])):
        paths = [str(path) for path in rows["image_path"]]
        classes = [int(value) for value in rows["mask"]]
        order = np.random.default_rng(_seed(str(dataset))).permutation(len(paths))
        for place in order[: extent.train if split == "train" else extent.val]:
            path, exam = data / "csv_files" / paths[place], ExamCode(labels[classes[place]])
            for kind in (Kind.REAL, Kind.VIEW):
                seed = _seed(f"{paths[place]} {kind}")
                chosen.append(
                    Wanted(path=path, kind=kind, split=str(split), exam=exam, seed=seed)
                )
    if not chosen:
        raise TrainingError(f"{data} holds no image of a known exam.")
    for split in ("train", "val"):
        names = [name for name in FOREIGN if split == "val" or name not in FOREIGN_HELD_OUT]
        sources = [item for item in chosen if item.split == split and item.kind is Kind.REAL]
        count = extent.foreign_train if split == "train" else extent.foreign_val
        for number in range(count):
            name = names[number % len(names)]
            seed = _seed(f"{split} {name} {number}")
            source = sources[seed % len(sources)]
            chosen.append(
                Wanted(
                    path=source.path,
                    kind=Kind.FOREIGN,
                    split=split,
                    exam=None,
                    foreign=name,
                    seed=seed,
                )
            )
    return chosen


def survey(engine: Engine, protocols: Protocols, wanted: Sequence[Wanted], out: Path) -> Survey:
    """The survey of those pictures; parts that lie in `out` for the same weights are not computed again.

    Raises:
        TrainingError: an image cannot be read.
    """
    weights = [engine.manifest.specialists[e.id].sha256 for e in engine.manifest.installed()]
    backbones = [model.sha256 for model in engine.manifest.models.values()]
    rows: list[Surveyed] = []
    features: list[Tensor] = []
    starts = range(0, len(wanted), PART)
    for start in tqdm(starts, desc="survey", unit="part", disable=None):
        chunk = wanted[start : start + PART]
        key = hashlib.sha256(
            json.dumps([backbones, weights, [item.model_dump_json() for item in chunk]]).encode()
        ).hexdigest()[:16]
        path = out / f"{start // PART:04d}-{key}.safetensors"
        if not path.exists():
            _write_part(engine, protocols, chunk, path)
        lines = path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
        rows += [Surveyed.model_validate_json(line) for line in lines]
        features.append(read_tensors(path)["features"])
    return Survey(rows=rows, features=torch.cat(features))


def _write_part(engine: Engine, protocols: Protocols, chunk: Sequence[Wanted], path: Path) -> None:
    surveyed = [_survey_one(engine, protocols, item) for item in chunk]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(row.model_dump_json() for row, _ in surveyed)
    path.with_suffix(".jsonl").write_text(lines, encoding="utf-8")
    save_tensors(path, {"features": torch.stack([features for _, features in surveyed])}, {})


def _survey_one(engine: Engine, protocols: Protocols, wanted: Wanted) -> tuple[Surveyed, Tensor]:
    image = image_of(pixels_of(wanted))
    router = protocols.router.specialist
    encoded = engine.encode(image, engine.manifest.models[engine.manifest.specialist(router).model])
    results: dict[str, Result] = {}
    declined: dict[str, str] = {}
    boxes: dict[str, Box] = {}
    exam = wanted.exam if wanted.kind is Kind.REAL else None
    for specialist, slot, source in _to_run(engine, protocols, exam):
        try:
            result = engine.run(specialist, image, boxes.get(source or ""))
        except Declined as error:
            declined[specialist] = str(error)
            continue
        if isinstance(result, DetectResult) and result.box is not None:
            boxes[slot] = result.box
        results[specialist] = _thinned(result)
    row = Surveyed(wanted=wanted, info=image.info, results=results, declined=declined)
    return row, pool(encoded.features)


def _to_run(
    engine: Engine, protocols: Protocols, exam: ExamCode | None
) -> Iterator[tuple[str, str, str | None]]:
    """The router, then the exam's installed specialists: id, slot, and the slot of the region."""
    yield protocols.router.specialist, protocols.router.slot, None
    for step in () if exam is None else protocols.exams[exam].steps:
        for specialist in step.specialists:
            entry = engine.manifest.specialists.get(specialist)
            if entry is not None and entry.installed:
                yield specialist, step.slot, None if entry.roi is Roi.NONE else step.roi


def pixels_of(wanted: Wanted) -> Pixels:
    """The picture itself.

    Raises:
        TrainingError: its file cannot be read.
    """
    try:
        pixels = read_grey(wanted.path)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{wanted.path} cannot be read: {error}") from error
    rng = np.random.default_rng(wanted.seed)
    match wanted.kind:
        case Kind.REAL:
            return pixels
        case Kind.VIEW:
            return moved_view(pixels, rng)
        case Kind.FOREIGN:
            return foreign(str(wanted.foreign), pixels, rng)


def pool(features: dict[str, Tensor]) -> Tensor:
    """(GRID², D) float16: every level's mean in each cell of the grid, for one image."""
    grids = [F.adaptive_avg_pool2d(features[level][0].float(), GRID) for level in LEVELS]
    return torch.cat(grids).flatten(1).T.half().cpu()


def _thinned(result: Result) -> Result:
    if not isinstance(result, SegmentResult):
        return result
    components = tuple(
        Component(
            label=component.label,
            polygons=tuple(
                ring[:: max(1, len(ring) // RING_POINTS)] for ring in component.polygons[:1]
            ),
            score=component.score,
        )
        for component in result.components
    )
    return result.model_copy(update={"components": components})


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
