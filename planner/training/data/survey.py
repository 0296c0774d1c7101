"""The survey: the specialists' results for every image, and its pooled features.

It is computed once, kept on disk, and resumable.
"""

import hashlib
import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from tqdm import tqdm

from planner.protocols import read_protocols
from planner.training.data.images import (
    DRAWN_EXAMS,
    FOREIGN,
    FOREIGN_HELD_OUT,
    Kind,
    Pixels,
    drawn,
    foreign,
    moved_view,
)
from planner.vlm.vision_tower import UsgenTowerConfig, cells
from reports.model import Box, ExamCode, ImageInfo
from specialists.checkpoints import read_tensors, save_tensors
from specialists.errors import Declined, TrainingError
from specialists.image import image_of
from specialists.load import load_engine
from specialists.manifest import Manifest, Roi, read_manifest
from specialists.result import Component, DetectResult, Result, SegmentResult
from specialists.training.data.csv_lines import file_of
from specialists.training.data.readable import read_grey
from specialists.training.data.tables import read_table

PART = 64
"""Images in one file, and the most that a killed process loses."""
RING_POINTS = 24
"""Points of an outline that are kept: enough to compare it with a box."""


class Wanted(BaseModel):
    """One image to survey: its file, what is done to it, and what it shows."""

    model_config = ConfigDict(frozen=True)

    path: Path
    kind: Kind
    split: str
    exam: ExamCode | None
    foreign: str | None = None
    seed: int


class Surveyed(BaseModel):
    """An image's row: results and refusals by specialist id, outlines thinned.

    The exam's own specialists run on the stored image alone; a moved view has the router's answer
    only.
    """

    model_config = ConfigDict(frozen=True)

    wanted: Wanted
    info: ImageInfo
    results: dict[str, Result]
    declined: dict[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """Rows and (N, g², C) float16 features in the same order."""

    rows: list[Surveyed]
    features: Tensor

    def of(self, split: str, *kinds: Kind) -> list[int]:
        """Return the indices of the images of that split and those kinds."""
        return [
            index
            for index, row in enumerate(self.rows)
            if row.wanted.split == split and row.wanted.kind in kinds
        ]


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How many images are surveyed.

    `train` and `val` count images per data set, `foreign_train` and `foreign_val` foreign images
    per split, and `drawn` the drawn training images per exam.
    """

    train: int = 300
    val: int = 10_000
    foreign_train: int = 400
    foreign_val: int = 240
    drawn: int = 100


def choose_pictures(data: Path, shows: Mapping[int, ExamCode], extent: Extent) -> list[Wanted]:
    """Choose the images to survey, each real one also as a moved view.

    The choice is the same for the same data.

    Args:
        data: a data root with the router's table.
        shows: the exam by the class in that table; rows of other classes are left out.
        extent: how many images.

    Raises:
        TrainingError: `exam_cls.csv` is missing, lacks a column, or lists no image of a known exam.
    """
    table = read_table(data, "exam_cls", ("image_path", "mask", "dataset", "split"))
    table = table[table["mask"].astype(int).isin(list(shows))]
    chosen: list[Wanted] = []
    for (split, dataset), rows in sorted(table.groupby(["split", "dataset"])):
        paths = [str(path) for path in rows["image_path"]]
        classes = [int(value) for value in rows["mask"]]
        order = np.random.default_rng(_seed(str(dataset))).permutation(len(paths))
        for place in order[: extent.train if split == "train" else extent.val]:
            path, exam = file_of(data, str(paths[place])), shows[classes[place]]
            for kind in (Kind.REAL, Kind.VIEW):
                seed = _seed(f"{paths[place]} {kind}")
                chosen.append(Wanted(path=path, kind=kind, split=str(split), exam=exam, seed=seed))
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
    return chosen + _drawn_pictures(extent.drawn)


def _drawn_pictures(count: int) -> list[Wanted]:
    return [
        Wanted(
            path=Path(exam),
            kind=Kind.DRAWN,
            split="train",
            exam=ExamCode(exam),
            seed=_seed(f"{exam} {number}"),
        )
        for number in range(count)
        for exam in DRAWN_EXAMS
    ]


@dataclass(frozen=True, kw_only=True)
class Eyes:
    """The models of the survey: the manifest's specialists and the planner's vision tower.

    `user_dir` holds the user's own manifest beside the shipped one, if there is one.
    """

    user_dir: Path | None
    tower: UsgenTowerConfig

    def manifest(self) -> Manifest:
        """Return the manifest of the specialists that are run."""
        return read_manifest(self.user_dir)


def survey(eyes: Eyes, wanted: Sequence[Wanted], out: Path, jobs: int = 1) -> Survey:
    """Return the survey of those images.

    Parts that lie in `out` for the same weights are not computed again.

    Raises:
        TrainingError: an image cannot be read.
        WeightsError: a weights file is missing, truncated or altered.
    """
    manifest = eyes.manifest()
    weights = sorted(str(entry.sha256) for entry in manifest.installed())
    looked_with = [weights, eyes.tower.backbone_sha256, eyes.tower.levels, eyes.tower.grid]
    parts: list[tuple[list[Wanted], Path]] = []
    for start in range(0, len(wanted), PART):
        chunk = list(wanted[start : start + PART])
        asked = json.dumps([looked_with, [item.model_dump(mode="json") for item in chunk]])
        key = hashlib.sha256(asked.encode()).hexdigest()[:24]
        parts.append((chunk, out / f"{key}.safetensors"))
    _write_parts(eyes, [part for part in parts if not part[1].exists()], jobs)
    rows: list[Surveyed] = []
    features: list[Tensor] = []
    for _, path in parts:
        lines = path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
        rows += [Surveyed.model_validate_json(line) for line in lines]
        features.append(read_tensors(path)["features"])
    return Survey(rows=rows, features=torch.cat(features))


def _write_parts(eyes: Eyes, parts: Sequence[tuple[list[Wanted], Path]], jobs: int) -> None:
    progress = tqdm(total=len(parts) * PART, desc="survey", unit="picture", disable=None)
    if jobs == 1 or len(parts) < 2:
        surveyor = Surveyor(eyes)
        for part in parts:
            surveyor.write(part)
            progress.update(PART)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_process, (eyes,)) as pool:
        for _ in pool.map(_write_in_process, parts):
            progress.update(PART)


_own: dict[str, "Surveyor"] = {}
"""The surveyor of a worker process."""


def _start_process(eyes: Eyes) -> None:
    torch.set_num_threads(1)
    _own["surveyor"] = Surveyor(eyes)


def _write_in_process(part: tuple[list[Wanted], Path]) -> None:
    _own["surveyor"].write(part)


class Surveyor:
    """Surveys images with one engine."""

    def __init__(self, eyes: Eyes) -> None:
        self._engine = load_engine(_without_gate(eyes.manifest()), "cpu")
        self._protocols = read_protocols()
        self._tower = eyes.tower

    def write(self, part: tuple[list[Wanted], Path]) -> None:
        """Survey those images into that file, and the rows into the `.jsonl` file beside it."""
        chunk, path = part
        surveyed = [self.look(item) for item in chunk]
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "\n".join(row.model_dump_json() for row, _ in surveyed)
        path.with_suffix(".jsonl").write_text(lines, encoding="utf-8")
        save_tensors(path, {"features": torch.stack([features for _, features in surveyed])}, {})

    def look(self, wanted: Wanted) -> tuple[Surveyed, Tensor]:
        """Return one image's row and its (g², C) float16 features."""
        image = image_of(pixels_of(wanted))
        engine = self._engine
        encoded = engine.encode(image, engine.manifest.models[self._tower.model])
        results: dict[str, Result] = {}
        declined: dict[str, str] = {}
        boxes: dict[str, Box] = {}
        exam = wanted.exam if wanted.kind is Kind.REAL else None
        for specialist, slot, source in self._to_run(exam):
            try:
                result = engine.run(specialist, image, boxes.get(source or ""))
            except Declined as error:
                declined[specialist] = str(error)
                continue
            if isinstance(result, DetectResult) and result.box is not None:
                boxes[slot] = result.box
            results[specialist] = _thinned(result)
        row = Surveyed(wanted=wanted, info=image.info, results=results, declined=declined)
        return row, cells(encoded.features, self._tower)[0].flatten(1).T.half().cpu()

    def _to_run(self, exam: ExamCode | None) -> Iterator[tuple[str, str, str | None]]:
        """Yield the router, then the exam's installed specialists.

        Each is given as its id, its slot, and the slot of its region.
        """
        router = self._protocols.router
        yield router.specialist, router.slot, None
        for step in () if exam is None else self._protocols.exams[exam].steps:
            for specialist in step.specialists:
                entry = self._engine.manifest.specialists.get(specialist)
                if entry is not None and entry.installed:
                    yield specialist, step.slot, None if entry.roi is Roi.NONE else step.roi


def _without_gate(manifest: Manifest) -> Manifest:
    """Return the manifest without limits of image quality.

    The planner must withhold the plan for such images by itself too.
    """
    models = {
        name: model.model_copy(
            update={
                "thresholds": {
                    key: limit
                    for key, limit in model.thresholds.items()
                    if not key.startswith("quality_")
                }
            }
        )
        for name, model in manifest.models.items()
    }
    return manifest.model_copy(update={"models": models})


def pixels_of(wanted: Wanted) -> Pixels:
    """Return the pixels of the image.

    Raises:
        TrainingError: its file cannot be read.
    """
    rng = np.random.default_rng(wanted.seed)
    if wanted.kind is Kind.DRAWN:
        return drawn(next(exam for exam in DRAWN_EXAMS if exam == wanted.exam), rng)
    pixels = read_grey(wanted.path)
    match wanted.kind:
        case Kind.VIEW:
            return moved_view(pixels, rng)
        case Kind.FOREIGN:
            return foreign(str(wanted.foreign), pixels, rng)
        case _:
            return pixels


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
