"""Sentences on how a report was made: its technique, its planner, and the scores of classifiers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reports.measure.intervals import LEVEL
from reports.measure.marked_scale import scale_error
from reports.model import (
    ChosenBy,
    Finding,
    Outcome,
    Region,
    Report,
    ScoresEvidence,
    Spacing,
)
from reports.wording.phrases import RULES, capital, listed, score_text, sentence


@dataclass(frozen=True, kw_only=True)
class TrainingClasses:
    """How many training images of each class a specialist saw, and where they were counted."""

    counts: dict[str, int]
    source: str

    def share(self, label: str) -> float:
        """Return the fraction of training images that are of the class."""
        return self.counts[label] / sum(self.counts.values())


TRAINING_CLASSES = {
    "breast_2cls": TrainingClasses(
        counts={"benign": 823, "malignant": 386},
        source="BUSI and BUS-BRA, train rows of breast_2cls.csv",
    ),
    "breast_3cls": TrainingClasses(
        counts={"normal": 95, "benign": 823, "malignant": 386},
        source="BUSI and BUS-BRA, train rows of breast_3cls.csv",
    ),
}
"""Counted once from the training tables: a score means little without its class's frequency."""


CLASSES_MEANT = {
    "high suspicion": "TI-RADS 4b to 5 in its training data",
    "lower suspicion": "TI-RADS 2 to 4a in its training data",
}
"""What a class was in the training data, where its name does not say so.

It is never a category that the report itself assigns.
"""


_COUNTS_FROM = re.compile(r"counts as found from \S*\d")


def technique(report: Report) -> tuple[str, ...]:
    """Return which image was analysed, in which unit, and how its numbers are made."""
    if report.outcome is Outcome.REFUSED:
        return ()
    return tuple(text for text in (_spacing(report), _means(report)) if text)


def planner_sentence(report: Report) -> str:
    """Return who chose the steps, by its own name, and what is to be known of it."""
    planner = report.provenance.planner
    if planner.id == RULES:
        return "The rules of the protocol chose the steps."
    choices = [step for step in report.steps if step.chosen_by is not ChosenBy.FORCED]
    left = sum(step.chosen_by is ChosenBy.RULES for step in choices)
    said = [f"The model {planner.id} chose the steps."]
    if left:
        said.append(
            f"{left} of {len(choices)} choices were made by the rules, since the model was not "
            "sure or gave no answer."
        )
    if planner.research_only:
        said.append(planner.licence or "The licence of its weights allows research only.")
    if planner.blind:
        said.append(
            "It failed the test of whether it looks at the image, and was used because this "
            "installation allows it."
        )
    return " ".join(said)


def classifier_sentences(report: Report) -> tuple[str, ...]:
    """Return all scores of each classifier, its label set, and what it was trained on."""
    by_evidence = {used: finding for finding in report.findings for used in finding.evidence}
    return tuple(
        _classifier(item, by_evidence.get(item.id))
        for item in report.evidence
        if isinstance(item, ScoresEvidence)
    )


def detector_sentences(report: Report) -> tuple[str, ...]:
    """Return the presence score of each detected structure, and from where it counts as found."""
    said = []
    for finding in report.findings:
        if finding.score is None or finding.id in _classified(report):
            continue
        least = _COUNTS_FROM.search(finding.reason or "")
        from_where = f"; it {least[0]}" if least else ""
        name = capital(finding.label)
        said.append(f"{name}: presence score {score_text(finding.score)}{from_where}.")
    return tuple(said)


def _classified(report: Report) -> set[str]:
    scores = {item.id for item in report.evidence if isinstance(item, ScoresEvidence)}
    return {finding.id for finding in report.findings if scores.intersection(finding.evidence)}


def _classifier(item: ScoresEvidence, finding: Finding | None) -> str:
    scores = ", ".join(f"{label} {score_text(score)}" for label, score in item.scores.items())
    said = [f"{item.specialist}: {scores}"]
    if finding is not None and finding.label_set is not None:
        held = listed(finding.label_set) or "no class"
        said.append(f"{100 * LEVEL:.0f} % label set: {held}")
    said += [
        f"{label} was {CLASSES_MEANT[label]}" for label in item.scores if label in CLASSES_MEANT
    ]
    trained = TRAINING_CLASSES.get(item.specialist)
    if trained is not None:
        shares = listed([f"{100 * trained.share(label):.0f} % {label}" for label in trained.counts])
        said.append(f"trained on images of which {shares} ({trained.source})")
    return "; ".join(said) + "."


def _spacing(report: Report) -> str:
    """Return the unit of the numbers; nothing where the report has none."""
    image = report.image
    if not report.measurements:
        return ""
    source = f" ({image.spacing_source}{_clicks(report)})" if image.spacing_source else ""
    if image.regions:
        return _region_spacing(image.regions, source)
    if image.spacing_mm is None:
        why = image.spacing_reason or "the image states no pixel spacing"
        return sentence(f"{why}, so that lengths are in px")
    return f"Pixel spacing {_millimetres(image.spacing_mm)}{source}."


def _clicks(report: Report) -> str:
    """Return what a reader's calibration rests on, and how far it widens intervals."""
    marked = report.image.reader_calibration
    if marked is None:
        return ""
    low, high = scale_error(report.image)
    return (
        f", {marked.distance_mm:.4g} mm apart; their error makes a length {100 * (1 - low):.1f} % "
        f"less to {100 * (high - 1):.1f} % more, and intervals are as much wider"
    )


def _region_spacing(regions: Sequence[Region], source: str) -> str:
    """Return the pixel spacing of each region that states one."""
    count = len(regions)
    stated = [
        f"{_millimetres(region.spacing_mm)} in "
        + (f"region {number} of {count}" if count > 1 else "the ultrasound region")
        for number, region in enumerate(regions, start=1)
        if region.spacing_mm is not None
    ]
    if not stated:
        return "No region of the image states a pixel spacing, so that lengths are in px."
    return f"Pixel spacing {listed(stated)}{source}; what lies elsewhere is measured in px."


def _millimetres(spacing: Spacing) -> str:
    return f"{spacing.x:.4g} × {spacing.y:.4g} mm"


def _means(report: Report) -> str:
    if any(item.value is not None for item in report.measurements):
        return (
            "Networks trained on such images drew the outlines, boxes and landmarks; each number "
            "is computed from them by a fixed formula."
        )
    return "Networks trained on such images gave the findings." if report.findings else ""
