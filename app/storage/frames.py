"""Frames of multi-frame images: their router scores and the choice of the one to analyse."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy import func, select, update

from app.storage.database import Sessions
from app.storage.tables import AnalysisRow, FrameRow
from reports.model import ImageInfo, Score

Scores = dict[str, Score]
_SCORES = TypeAdapter(Scores)


@dataclass(frozen=True, kw_only=True)
class KeptFrame:
    """One stored frame.

    `scores` are the router's: empty if it gave none, None before the frame is screened.
    """

    index: int
    key: str
    info: ImageInfo
    scores: Scores | None


@dataclass(frozen=True, kw_only=True)
class Screening:
    """Progress of the choice of a frame: how many of the frames are screened."""

    screened: int
    frames: int


class Cine:
    """The frames of the analyses in a store."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def frames(self, analysis_id: str) -> tuple[KeptFrame, ...]:
        """Return the frames of that analysis in order; none for a still image or a named frame."""
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
        """Return how many of its frames are screened; None when there is nothing to choose."""
        with self._sessions.read() as session:
            screened, frames = session.execute(
                select(func.count(FrameRow.scores), func.count()).where(
                    FrameRow.analysis_id == analysis_id
                )
            ).one()
        return Screening(screened=screened, frames=frames) if frames else None

    def note(self, analysis_id: str, found: Mapping[str, Scores]) -> None:
        """Store the router's scores, given by image key, for all frames that show those images.

        The scores are the same whichever worker computed them.
        """
        with self._sessions.write() as session:
            for key, scores in found.items():
                session.execute(
                    update(FrameRow)
                    .where(FrameRow.analysis_id == analysis_id, FrameRow.image_key == key)
                    .values(scores=json.dumps(scores))
                )

    def choose(self, analysis_id: str, key: str, info: ImageInfo) -> None:
        """Make that frame the image of the analysis."""
        with self._sessions.write() as session:
            row = session.get_one(AnalysisRow, analysis_id)
            row.image_key, row.image_info = key, info.model_dump_json()


def best_frames(frames: Sequence[KeptFrame]) -> dict[str, tuple[int, Score]]:
    """Return, by exam, the frame with the highest score and that score.

    The first of equally scored frames is taken; exams are ordered by descending score.
    """
    best: dict[str, tuple[int, Score]] = {}
    for frame in frames:
        for name, score in (frame.scores or {}).items():
            if name not in best or score > best[name][1]:
                best[name] = (frame.index, score)
    return dict(sorted(best.items(), key=lambda item: -item[1][1]))
