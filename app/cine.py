"""Several frames and none chosen → the one that the router scores highest, and why."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from pydantic import TypeAdapter
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.tables import AnalysisRow, FrameRow
from planner.run import Tools
from reports.model import Colour, ExamCode, ImageInfo, Score
from reports.wording import score_text
from specialists.errors import Declined, Unavailable
from specialists.image import Image
from specialists.result import ClassifyResult

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

    def note(self, analysis_id: str, index: int, scores: Scores) -> None:
        """Nothing; keeps the router's scores of that frame, the same whoever asks for them."""
        with self._sessions.write() as session:
            row = session.get_one(FrameRow, (analysis_id, index))
            row.scores = json.dumps(scores)

    def choose(self, analysis_id: str, key: str, info: ImageInfo) -> None:
        """Nothing; that frame is the analysis's image from now on."""
        with self._sessions.write() as session:
            row = session.get_one(AnalysisRow, analysis_id)
            row.image_key, row.image_info = key, info.model_dump_json()


def scores_of(image: Image, tools: Tools, router: str) -> Scores:
    """The router's scores for that frame; none where it must not or cannot answer."""
    if image.info.not_analysed is not None or image.info.colour is Colour.COLOUR:
        return {}
    try:
        result = tools.run(router, image)
    except (Declined, Unavailable):
        return {}
    return dict(result.scores) if isinstance(result, ClassifyResult) else {}


def chosen(
    infos: Sequence[ImageInfo], scores: Sequence[Scores], exam: ExamCode | None
) -> ImageInfo:
    """The frame to analyse, with why: of the highest score for `exam`, else for any; the first of equals."""
    best = max(_candidates(scores, exam), key=lambda item: (item[0], -item[1]), default=None)
    if best is None:
        info = infos[0].model_copy(update={"frame": 0, "frame_reason": "no frame could be scored"})
        if info.not_analysed is not None or info.colour is Colour.COLOUR:
            return info
        return info.model_copy(update={"not_analysed": _NONE_SCORED})
    score, index, name = best
    seen = sum(1 for given in scores if given)
    reason = (
        f"of its {len(infos)} frames, {seen} of them scored by the router, it has the highest score "
        f"for {name.replace('_', ' ')} ({score_text(score)})"
    )
    return infos[index].model_copy(update={"frame": index, "frame_reason": reason})


def _candidates(
    scores: Sequence[Scores], exam: ExamCode | None
) -> Iterator[tuple[float, int, str]]:
    for index, given in enumerate(scores):
        for name, score in given.items():
            if exam is None or name == exam:
                yield score, index, name
