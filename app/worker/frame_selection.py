"""Selection of the frame of a cine loop to analyse."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from app.storage.frames import Scores
from planner.run import Tools
from reports.model import Colour, ExamCode, ImageInfo
from reports.wording.phrases import score_text
from specialists.errors import Unavailable
from specialists.image import Image
from specialists.result import ClassifyResult

TOGETHER = 16
"""Frames screened together; this bounds the memory and sets how often the progress is updated."""


_NONE_SCORED = (
    "No frame could be chosen: the router, which screens them, gave no score for any. "
    "Choose one with the field frame."
)


def screen(
    pictures: Mapping[str, Callable[[], Image]], tools: Tools, router: str
) -> Iterator[dict[str, Scores]]:
    """Yield the router's scores by image key, at most `TOGETHER` images at a time.

    Frames with the same pixels are one image.
    """
    keys = iter(pictures)
    while together := tuple(islice(keys, TOGETHER)):
        images = [pictures[key]() for key in together]
        yield dict(zip(together, _scores_of(images, tools, router), strict=True))


def chosen(
    infos: Sequence[ImageInfo], scores: Sequence[Scores], exam: ExamCode | None
) -> ImageInfo:
    """Return the frame to analyse, with the reason for the choice.

    It is the frame with the highest score for `exam`, else for any exam; the first of equals. An
    exam that the router does not know has no score in any frame.
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


def _scores_of(images: Sequence[Image], tools: Tools, router: str) -> list[Scores]:
    """Return the router's scores for each image; empty where it must not or cannot answer."""
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
    """State out of how many frames the choice was made, and how many of them were scored."""
    source, kept = infos[0].dicom, len(infos)
    total = kept if source is None else source.frames
    seen = sum(1 for given in scores if given)
    if kept == total:
        return f"of its {total} frames, {seen} of them scored by the router"
    return (
        f"of its {total} frames, {kept} of them looked at, evenly spread, and {seen} scored by the "
        "router"
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _candidates(
    scores: Sequence[Scores], exam: ExamCode | None
) -> Iterator[tuple[float, int, str]]:
    for place, given in enumerate(scores):
        for name, score in given.items():
            if exam is None or name == exam:
                yield score, place, name
