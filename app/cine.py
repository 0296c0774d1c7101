"""Several frames and none chosen → the one that the router scores highest, and why."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from pydantic import TypeAdapter
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.tables import AnalysisRow, FrameRow
from planner.run import Tools
from reports.model import Colour, ExamCode, ImageInfo, Score
from reports.wording import score_text
from specialists.errors import Unavailable
from specialists.image import Image
from specialists.result import ClassifyResult

TOGETHER = 16
"""Frames that are screened together: what is in memory, and how often the progress moves."""

Scores = dict[str, Score]
_SCORES = TypeAdapter(Scores)
_NONE_SCORED = (
    "No frame could be chosen: the router, which screens them, gave no score for any. "
    "Choose one with the field frame."
)


@dataclass(frozen=True, kw_only=True)
class KeptFrame:
    """One stored frame; `scores` are the router's, empty where it gave none, None before it was asked."""

    index: int
    key: str
    info: ImageInfo
    scores: Scores | None


@dataclass(frozen=True, kw_only=True)
class Screening:
    """How far the choice of a frame has come."""

    screened: int
    frames: int


class Sessions(Protocol):
    """A store's sessions: one that sees a state of the database, one that alone may write."""

    def read(self) -> AbstractContextManager[Session]:
        """A session that reads."""

    def write(self) -> AbstractContextManager[Session]:
        """A session that writes."""


class Cine:
    """The frames of the analyses in a store."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def frames(self, analysis_id: str) -> tuple[KeptFrame, ...]:
        """That analysis's frames in order; none when its image is a still or its frame was named."""
        with self._sessions.read() as session:
            rows = session.scalars(
                select(FrameRow).where(FrameRow.analysis_id == analysis_id).order_by(FrameRow.index)
            ).all()
            return tuple(
                KeptFrame(
                    index=row.index,
                    key=row.image_key,
                    info=ImageInfo.model_validate_json(row.image_info),
                    scores=None if row.scores is None else _SCORES.validate_json(row.scores),
                )
                for row in rows
            )

    def screening(self, analysis_id: str) -> Screening | None:
        """How many of its frames were screened; None when there is nothing to choose."""
        with self._sessions.read() as session:
            screened, frames = session.execute(
                select(func.count(FrameRow.scores), func.count()).where(
                    FrameRow.analysis_id == analysis_id
                )
            ).one()
        return Screening(screened=screened, frames=frames) if frames else None

    def note(self, analysis_id: str, found: Mapping[str, Scores]) -> None:
        """Nothing; keeps the router's scores of the frames that show those pictures, the same whoever asks."""
        with self._sessions.write() as session:
            for key, scores in found.items():
                session.execute(
                    update(FrameRow)
                    .where(FrameRow.analysis_id == analysis_id, FrameRow.image_key == key)
                    .values(scores=json.dumps(scores))
                )

    def choose(self, analysis_id: str, key: str, info: ImageInfo) -> None:
        """Nothing; that frame is the analysis's image from now on."""
        with self._sessions.write() as session:
            row = session.get_one(AnalysisRow, analysis_id)
            row.image_key, row.image_info = key, info.model_dump_json()


def screen(
    pictures: Mapping[str, Callable[[], Image]], tools: Tools, router: str
) -> Iterator[dict[str, Scores]]:
    """The router's scores by picture, some pictures at a time; frames that show the same are one picture."""
    keys = iter(pictures)
    while together := tuple(islice(keys, TOGETHER)):
        images = [pictures[key]() for key in together]
        yield dict(zip(together, _scores_of(images, tools, router), strict=True))


def chosen(
    infos: Sequence[ImageInfo], scores: Sequence[Scores], exam: ExamCode | None
) -> ImageInfo:
    """The frame to analyse, with why: of the highest score for `exam`, else for any; the first of equals.

    An exam that the router does not know has no score in any frame.
    """
    known = exam is None or any(exam in given for given in scores)
    best = max(
        _candidates(scores, exam if known else None),
        key=lambda item: (item[0], -item[1]),
        default=None,
    )
    if best is None:
        info = infos[0].model_copy(update={"frame_reason": "no frame could be scored"})
        if info.not_analysed is not None or info.colour is Colour.COLOUR:
            return info
        return info.model_copy(update={"not_analysed": _NONE_SCORED})
    score, place, name = best
    reason = (
        f"{_looked_at(infos, scores)}, it has the highest score for {_words(name)} "
        f"({score_text(score)})"
    )
    if not known:
        reason += f"; the router does not know {exam}"
    return infos[place].model_copy(update={"frame_reason": reason})


def best_frames(frames: Sequence[KeptFrame]) -> dict[str, tuple[int, Score]]:
    """The frame of the highest score for each exam, with it; the first of equals, the highest score first."""
    best: dict[str, tuple[int, Score]] = {}
    for frame in frames:
        for name, score in (frame.scores or {}).items():
            if name not in best or score > best[name][1]:
                best[name] = (frame.index, score)
    return dict(sorted(best.items(), key=lambda item: -item[1][1]))


def _scores_of(images: Sequence[Image], tools: Tools, router: str) -> list[Scores]:
    """The router's scores for each image; none where it must not or cannot answer."""
    shown = [
        image
        for image in images
        if image.info.not_analysed is None and image.info.colour is not Colour.COLOUR
    ]
    try:
        results = tools.screen(router, shown)
    except Unavailable:
        return [{} for _ in images]
    found = {
        image.key: dict(result.scores)
        for image, result in zip(shown, results, strict=True)
        if isinstance(result, ClassifyResult)
    }
    return [found.get(image.key, {}) for image in images]


def _looked_at(infos: Sequence[ImageInfo], scores: Sequence[Scores]) -> str:
    """Of how many frames it was chosen, and which of them were not looked at."""
    source, kept = infos[0].dicom, len(infos)
    total = kept if source is None else source.frames
    seen = sum(1 for given in scores if given)
    if kept == total:
        return f"of its {total} frames, {seen} of them scored by the router"
    return f"of its {total} frames, {kept} of them looked at, evenly spread, and {seen} scored by the router"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _candidates(
    scores: Sequence[Scores], exam: ExamCode | None
) -> Iterator[tuple[float, int, str]]:
    for place, given in enumerate(scores):
        for name, score in given.items():
            if exam is None or name == exam:
                yield score, place, name
