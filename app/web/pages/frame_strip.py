"""The pages of a cine's frames: a strip to play and step through, and the analysis of one of them.

Addresses and the field `frame` count frames from 0, as the interface does; what a reader sees
counts from 1.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.errors import NotFound, ServiceError
from app.jobs.pubsub import Work
from app.observability.logs import about
from app.observability.metrics import count_refused
from app.storage.frames import KeptFrame, best_frames
from app.storage.named_frame import accept_frame
from app.web.dependencies import Served
from app.web.pages.templating import templates
from app.web.problems import OK, SEE_OTHER, problem_of
from reports.model import ExamCode
from reports.wording.phrases import score_text

log = logging.getLogger(__name__)

BEST_FROM = 0.5
"""Least score of a frame that is offered as the best; below it, something else is likelier."""

KEEP = {"Cache-Control": "private, max-age=86400, immutable"}
"""An image never changes: its address names its analysis."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One frame in the strip; `share` is its score for the exam that the strip is about."""

    index: int
    share: float
    words: str

    @property
    def number(self) -> int:
        """The number of the frame, from 1."""
        return self.index + 1


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


@router.get("/analyses/{analysis_id}/frames/{index}.png")
def frame_picture(analysis_id: str, index: int, served: Served) -> Response:
    """Return one frame of a multi-frame file, as it was kept.

    Raises:
        NotFound: that frame was not kept.
    """
    for frame in served.store.cine.frames(analysis_id):
        if frame.index == index:
            png = served.store.png(frame.key)
            return Response(png, media_type="image/png", headers=KEEP)
    raise _not_kept(index)


@router.get("/analyses/{analysis_id}/frames/{index}")
def frame_page(analysis_id: str, index: int, served: Served) -> HTMLResponse:
    """Show one frame of a multi-frame file, the router's scores for it, and links to all others."""
    try:
        analysis = served.store.analysis(analysis_id)
        strip = strip_of(served.store.cine.frames(analysis_id), index, analysis.exam)
        if strip is None:
            raise _not_kept(index)
    except ServiceError as error:
        return _problem_page(error)
    here = f"/analyses/{analysis_id}"
    return _page("cine.html", OK, here=here, strip=strip, analysed=analysis.image.frame)


@router.post("/analyses/{analysis_id}/frames/{index}/analyse")
def analyse_frame(analysis_id: str, index: int, served: Served) -> Response:
    """Start an analysis of that frame, and lead to its page."""
    try:
        accepted = accept_frame(served.store, analysis_id, index, served.settings.queue_limit)
    except ServiceError as error:
        count_refused(error)
        return _problem_page(error)
    with about(analysis_id=accepted.analysis_id):
        log.info("The analysis is accepted: another frame of analysis %s.", analysis_id)
    served.publisher.offer(Work.ANALYSIS)
    return RedirectResponse(f"/analyses/{accepted.analysis_id}/view", SEE_OTHER)


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


def _not_kept(index: int) -> NotFound:
    return NotFound(f"The analysis keeps no frame {index + 1}.")


_TEMPLATES = templates()


def _problem_page(error: ServiceError) -> HTMLResponse:
    problem = problem_of(error)
    return _page("problem.html", problem.status, problem=problem)


def _page(name: str, status: int, **values: object) -> HTMLResponse:
    text = _TEMPLATES.get_template(name).render({"page": name.removesuffix(".html"), **values})
    return HTMLResponse(text, status_code=status)
