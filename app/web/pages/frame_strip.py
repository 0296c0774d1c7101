"""The frames of a multi-frame file that the viewer steps through."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.storage.frames import KeptFrame, best_frames
from reports.model import ExamCode
from reports.wording.phrases import score_text

BEST_FROM = 0.5
"""Least score of a frame that is offered as the best; below it, something else is likelier."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One frame in the strip; `share` is its score for the exam that the strip is about."""

    index: int
    share: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Strip:
    """The kept frames of a file, and the position of the displayed one among them."""

    frames: int
    bars: tuple[Bar, ...]
    place: int
    exam: str | None
    best: tuple[tuple[str, int, str], ...]
    """Exam, frame and score of the best frame for each exam."""

    @property
    def here(self) -> Bar:
        """The frame that is shown."""
        return self.bars[self.place]

    @property
    def before(self) -> int | None:
        """The frame before it; None for the first."""
        return self.bars[self.place - 1].index if self.place > 0 else None

    @property
    def after(self) -> int | None:
        """The frame after it; None for the last."""
        return self.bars[self.place + 1].index if self.place + 1 < len(self.bars) else None


def strip_of(frames: Sequence[KeptFrame], index: int, requested: ExamCode | None) -> Strip | None:
    """Return the strip with that frame displayed; None if the frame was not kept."""
    place = next((n for n, frame in enumerate(frames) if frame.index == index), None)
    if place is None:
        return None
    best = best_frames(frames)
    exam = requested or next(iter(best), None)
    source = frames[0].info.dicom
    return Strip(
        frames=len(frames) if source is None else source.frames,
        bars=tuple(_bar(frame, exam) for frame in frames),
        place=place,
        exam=None if exam is None else _words(exam),
        best=tuple(
            (_words(name), at, score_text(score))
            for name, (at, score) in best.items()
            if score >= BEST_FROM
        ),
    )


def _bar(frame: KeptFrame, exam: str | None) -> Bar:
    scores = sorted((frame.scores or {}).items(), key=lambda item: -item[1])
    if frame.scores is None:
        words = "Not screened yet."
    elif not scores:
        words = "The router gave no score for this frame."
    else:
        said = "; ".join(f"{_words(name)}: {score_text(score)}" for name, score in scores)
        words = f"Router scores: {said}."
    return Bar(index=frame.index, share=dict(scores).get(exam or "", 0.0), words=words)


def _words(name: str) -> str:
    return name.replace("_", " ")
