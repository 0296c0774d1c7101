"""A small survey with made-up answers, and what the planner's school and stage need on it."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PILImage

from planner.protocols import read_protocols
from planner.training.data.images import Kind
from planner.training.data.survey import Survey, Surveyed, Wanted
from planner.training.evaluation.scenarios import Stage
from planner.training.requests.grammar import RequestSampler, read_grammar
from planner.vlm.vision_tower import UsgenTowerConfig
from reports.model import ExamCode
from specialists.image import image_of
from specialists.result import Result
from tests.builders import an_image
from tests.planner.stand_ins import a_manifest, breast_answers, routed_to

GRID = 2
WIDTH = 12
TOWER = UsgenTowerConfig(levels=("vit",), grid=GRID, hidden_size=WIDTH, backbone_sha256="b")
ALL_TOOLS = (
    "exam_cls",
    *tuple(
        name
        for exam in read_protocols().exams.values()
        for step in exam.steps
        for name in step.specialists
    ),
)


def a_sampler() -> RequestSampler:
    return RequestSampler(read_grammar(), read_protocols())


def a_survey(
    folder: Path, split: str = "val", exams: tuple[ExamCode, ...] = (ExamCode.BREAST,)
) -> Survey:
    """Return a survey of three real images per exam with a view of each, and two foreign images.

    Each exam has its own features.
    """
    rows: list[Surveyed] = []
    features = []
    for place, exam in enumerate((*exams, None)):
        for number in range(3 if exam else 2):
            kinds = (Kind.REAL, Kind.VIEW) if exam else (Kind.FOREIGN,)
            for kind in kinds:
                rows.append(_row(folder, split, exam, kind, seed=10 * place + number))
                cells = torch.randn(
                    GRID**2, WIDTH, generator=torch.Generator().manual_seed(len(rows))
                )
                cells[:, place] += 6
                features.append(cells.half())
    return Survey(rows=rows, features=torch.stack(features))


def _row(folder: Path, split: str, exam: ExamCode | None, kind: Kind, seed: int) -> Surveyed:
    pixels = an_image(60, 80, seed=seed).pixels
    path = folder / f"{seed}.png"
    PILImage.fromarray(pixels).save(path)
    results: dict[str, Result] = {}
    if exam is not None and kind is Kind.REAL:
        results = {name: a for name, a in breast_answers().items() if not isinstance(a, Exception)}
        results["exam_cls"] = routed_to(exam)
    wanted = Wanted(
        path=path,
        kind=kind,
        split=split,
        exam=exam,
        foreign=None if exam else "white noise",
        seed=seed,
    )
    info = image_of(pixels).info
    return Surveyed(wanted=wanted, info=info, results=results, declined={})


def a_stage(folder: Path) -> Stage:
    return Stage(
        survey=a_survey(folder, exams=(ExamCode.BREAST, ExamCode.INTRAPARTUM)),
        manifest=a_manifest(ALL_TOOLS),
        protocols=read_protocols(),
        sampler=a_sampler(),
    )


def a_generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def word_vectors(folder: Path, words: dict[str, list[float]]) -> Path:
    """Write word vectors as the npm package does: each word's vector, its length and its place."""
    held = {
        "dimensions": 3,
        "words": list(words),
        "vectors": {w: [*v, float(np.linalg.norm(v)), i] for i, (w, v) in enumerate(words.items())},
    }
    path = folder / "words.json"
    path.write_text(json.dumps(held), encoding="utf-8")
    return path
