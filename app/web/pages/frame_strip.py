"""What the viewer shows of a DICOM source: the frames to step through, and 10 mm scale bars."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.storage.frames import KeptFrame, best_frames
from reports.model import Box, ExamCode, ImageInfo, Spacing
from reports.wording import score_text

RULE_MM = 10.0
BEST_FROM = 0.5
"""Least score of a frame that is offered as the best; below it, something else is likelier."""

_INSET = 0.03
"""Distance from a region's corner to its scale bars, as a share of the region's shorter side."""


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


@dataclass(frozen=True, kw_only=True)
class ScaleBars:
    """A corner in image pixels, and how far 10 mm reach from it to the right and upwards."""

    x: float
    y: float
    width_px: float
    height_px: float


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


def scale_bars_of(image: ImageInfo) -> tuple[ScaleBars, ...]:
    """Return the scale bars of every region whose spacing is proven and that has room for them.

    The bars are 10 mm long along each axis.
    """
    whole: Box = (0, 0, image.width_px, image.height_px)
    parts = [(region.box, region.spacing_mm) for region in image.regions] or [
        (whole, image.spacing_mm)
    ]
    return tuple(
        rules for box, spacing in parts if spacing and (rules := _rules(box, spacing)) is not None
    )


def _rules(box: Box, spacing: Spacing) -> ScaleBars | None:
    x_min, y_min, x_max, y_max = box
    inset = _INSET * min(x_max - x_min, y_max - y_min)
    width_px, height_px = RULE_MM / spacing.x, RULE_MM / spacing.y
    if x_max - x_min < width_px + 2 * inset or y_max - y_min < height_px + 2 * inset:
        return None
    return ScaleBars(x=x_min + inset, y=y_max - inset, width_px=width_px, height_px=height_px)


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
