"""A classifier's answer in words: what it favours or cannot tell, and what that does not mean."""

from dataclasses import dataclass

from reports.model import ExamCode
from reports.wording.facts import Basis
from reports.wording.phrases import listed, score_text

VIEWS = frozenset({"2-chamber", "4-chamber"})
"""Classes that name a view and no disease."""

NAMED = {
    "2-chamber": "the apical 2-chamber view",
    "4-chamber": "the apical 4-chamber view",
    "regular": "a regular lung",
    "healthy": "a healthy lung",
    "diseased": "a diseased lung",
    "covid": "COVID-19",
}
"""Classes that a reader knows by another name."""

ALARMING = frozenset(
    {"malignant", "high suspicion", "high-grade serous", "pneumonia", "covid", "diseased"}
)
"""Classes whose score is no proof of disease; of any other, it cannot exclude disease."""

SUSPICION = frozenset({"lower suspicion", "high suspicion"})
"""Classes that were learnt from a category, which the classifier does not give."""

FEW_CLASSES = 3
"""Up to this many classes are named."""


@dataclass(frozen=True, kw_only=True)
class Disease:
    """What a classifier cannot exclude, and what its score is no probability of."""

    excluded: str
    probable: str


CANCER = Disease(excluded="malignancy", probable="cancer")
DISEASES = {
    ExamCode.BREAST: CANCER,
    ExamCode.THYROID: CANCER,
    ExamCode.OVARY: CANCER,
    ExamCode.LUNG: Disease(excluded="lung disease", probable="disease"),
}
ANY_DISEASE = Disease(excluded="disease", probable="disease")


def verdict(basis: Basis) -> str:
    """Return what the classifier favours, or what it cannot tell, to follow "Classifier".

    An empty label set fits no class; one of several classes, or of another than the best one,
    leaves the classes open.
    """
    scores = basis.classifications[0].scores
    best = favoured(basis)
    kept = basis.finding.label_set
    if kept is not None and not kept:
        known = f" ({', '.join(scores)})" if len(scores) <= FEW_CLASSES else ""
        return f"finds that the image fits no class{known}"
    if kept is not None and set(kept) != {best}:
        open_ones = [named(label) for label in scores if label in kept or label == best]
        if len(open_ones) == 2:
            return f"cannot tell {open_ones[0]} from {open_ones[1]}"
        return f"cannot tell {listed(open_ones)} apart"
    return f"favours {named(best)}, score {score_text(scores[best])}"


def caveat(basis: Basis, exam: ExamCode | None) -> str:
    """Return what the classifier's answer does not mean, to follow its verdict."""
    scores = basis.classifications[0].scores
    if VIEWS.issuperset(scores):
        return "it knows apical 2- and 4-chamber views only"
    disease = ANY_DISEASE if exam is None else DISEASES.get(exam, ANY_DISEASE)
    best, kept = favoured(basis), basis.finding.label_set
    suspicion = SUSPICION.issuperset(scores)
    if kept is not None and set(kept) != {best}:
        gives_none = " and gives no TI-RADS category" if suspicion else ""
        return f"it cannot exclude {disease.excluded}{gives_none}"
    if best in ALARMING:
        said = f"it is neither a diagnosis nor a probability of {disease.probable}"
    else:
        said = (
            f"it cannot exclude {disease.excluded} and is not a probability of {disease.probable}"
        )
    return f"{said}, and no TI-RADS category" if suspicion else said


def favoured(basis: Basis) -> str:
    """Return the class with the highest score."""
    scores = basis.classifications[0].scores
    return max(scores, key=lambda label: scores[label])


def named(label: str) -> str:
    """Return a class as a reader knows it."""
    return NAMED.get(label, label)
