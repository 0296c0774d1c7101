"""Results → sentences, by fixed templates: no model writes a word of a report.

What the planner's conclusion hands in, and how it reads:

- a structure (`label` "lesion"): evidence box and masks; the finding's score is the detector's presence score;
- a classification (any `label`): evidence scores, read from there; the finding's score is not printed again;
- "not assessed" anywhere, and the outcomes partial and refused, carry a reason, a sentence or a clause.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.errors import EvidenceMissing, ReasonMissing
from reports.geometry import area
from reports.interval import LEVEL, NOT_CALIBRATED, why_no_interval
from reports.measure import DEGREES, OF_A_COMPONENT, SQUARE_ASSUMED, UNITLESS
from reports.measure_head import BPD, GESTATIONAL_AGE, WEEKS
from reports.measure_progression import AOP, HSD
from reports.model import (
    BoxEvidence,
    ChosenBy,
    Evidence,
    ExamInfo,
    Finding,
    MaskEvidence,
    Measurement,
    MeasurementState,
    PixelAspect,
    Report,
    ScoresEvidence,
)

NOT_FOR_CLINICAL_USE = "Research software — not for clinical use without review."

RULES = "rules"
"""The planner that follows the protocols, by its name in the provenance."""

NOVELTY_CHECK = "image against training images"
"""The check that states how far an image is from the training images."""

QUALITY_CHECK = "image quality"
"""The check that states what is wrong with the picture; it stands at the top of a report."""

HEADLINE_CLASSES = ("malignant", "high suspicion")
"""The classes whose score a classification's sentence begins with, where it is one of the classes."""

CLASSES_MEANT = {
    "high suspicion": "TI-RADS 4b to 5 in its training data",
    "lower suspicion": "TI-RADS 2 to 4a in its training data",
}
"""What a class was in the training data, where its name does not say so; never a category of the report's own."""

OF_VIEWS = frozenset({"cardiac_view_cls"})
"""Classifiers that name what is in view, not a disease."""

FEW_CLASSES = 3
"""So many classes are all named in the impression."""

CONTEXT = {
    AOP: (
        "Published context, no verdict: 116° went with head station 0 (Tutschek 2011, BJOG 118:62; ISUOG guideline "
        "2018, Ultrasound Obstet Gynecol 52:128)."
    ),
    HSD: "Along the infrapubic line (Youssef 2013, Ultrasound Obstet Gynecol 41:419).",
    BPD: "Outer to outer; many charts are made for outer to inner.",
    GESTATIONAL_AGE: "From the head circumference alone (Hadlock 1984, Radiology 152:497).",
}
"""What must be known to read a number, printed beside it; what it means for this patient is not said."""

_PRINTED = {DEGREES: "°", WEEKS: " weeks"}
"""Units that are not printed as they are coded, with the space before them if they have one."""


@dataclass(frozen=True, kw_only=True)
class TrainingClasses:
    """How many training images a specialist saw per class, and where that was counted."""

    counts: dict[str, int]
    source: str

    def share(self, label: str) -> float:
        """The fraction of training images of that class."""
        return self.counts[label] / sum(self.counts.values())


TRAINING_CLASSES = {
    "breast_2cls": TrainingClasses(
        counts={"benign": 309, "malignant": 156}, source="BUSI, train rows of breast_2cls.csv"
    ),
    "breast_3cls": TrainingClasses(
        counts={"normal": 95, "benign": 309, "malignant": 156},
        source="BUSI, train rows of breast_3cls.csv",
    ),
}
"""Counted once from the training tables; a score cannot be read without knowing what was common there."""


@dataclass(frozen=True, kw_only=True)
class _Basis:
    """A finding with what it rests on, by kind."""

    finding: Finding
    boxes: tuple[BoxEvidence, ...]
    masks: tuple[MaskEvidence, ...]
    classifications: tuple[ScoresEvidence, ...]

    @property
    def of_disease(self) -> bool:
        """Whether a class could be taken for a diagnosis."""
        return any(item.specialist not in OF_VIEWS for item in self.classifications)

    @property
    def largest(self) -> MaskEvidence:
        """The outlined part with the greatest area in pixels."""
        return max(self.masks, key=lambda mask: area(mask.polygons))


def word(report: Report) -> Report:
    """The report with every statement, the impression and the limitations filled in.

    Raises:
        EvidenceMissing: a finding or measurement rests on evidence that the report does not hold.
        ReasonMissing: something was not assessed, or the outcome is not "reported", without a reason.
    """
    evidence = {item.id: item for item in report.evidence}
    bases = [_basis(finding, evidence) for finding in report.findings]
    findings = tuple(
        basis.finding.model_copy(update={"statement": _text("finding.j2", basis=basis)})
        for basis in bases
    )
    measurements = tuple(
        measurement.model_copy(
            update={"statement": _measurement_statement(measurement, evidence, report)}
        )
        for measurement in report.measurements
    )
    worded = report.model_copy(update={"findings": findings, "measurements": measurements})
    return worded.model_copy(
        update={
            "impression": _sentences(
                "impression.j2", report=worded, bases=bases, quality_check=QUALITY_CHECK
            ),
            "limitations": _sentences(
                "limitations.j2",
                report=worded,
                not_for_clinical_use=NOT_FOR_CLINICAL_USE,
                novelty_check=NOVELTY_CHECK,
                quality_check=QUALITY_CHECK,
                units={m.unit for m in worded.measurements if _measured(m)},
                without_interval=_without_interval(worded),
                with_interval=[m.name for m in worded.measurements if m.interval is not None],
                sets_elsewhere=_least(finding.held_elsewhere for finding in report.findings),
                intervals_elsewhere=_least(m.held_elsewhere for m in report.measurements),
                square_assumed=report.image.pixel_aspect is PixelAspect.ASSUMED_SQUARE,
                by_rules=_left_to_rules(report),
                choices=sum(step.chosen_by is not ChosenBy.FORCED for step in report.steps),
            ),
        }
    )


def _least(shares: Iterable[float | None]) -> float | None:
    """The lowest share that is known; None where none is."""
    return min((share for share in shares if share is not None), default=None)


def _left_to_rules(report: Report) -> int:
    """How many choices a planner that is not the rules left to them."""
    if report.provenance.planner.id == RULES:
        return 0
    return sum(step.chosen_by is ChosenBy.RULES for step in report.steps)


def number(value: float, unit: str | None) -> str:
    """A number in the digits that its unit deserves, with the unit."""
    if unit in {UNITLESS, None}:
        return digits(value, unit)
    return digits(value, unit) + _PRINTED.get(str(unit), f" {unit}")


def digits(value: float, unit: str | None) -> str:
    """A number in the digits that its unit deserves: none after the point for whole pixels."""
    if unit in {UNITLESS, None}:
        return f"{value:.2f}"
    return f"{value:z.0f}" if str(unit).startswith("px") else f"{value:z.1f}"


def score_text(score: float) -> str:
    """A score in two digits; the ends of the scale, which would read as certainty, as a bound."""
    if score >= 0.995:
        return "> 0.99"
    return "< 0.01" if score < 0.005 else f"{score:.2f}"


def exam_basis(exam: ExamInfo) -> str:
    """How the exam was chosen, as a sentence."""
    if exam.chosen_by == "request":
        how, whose = "Exam named in the request", "score for it"
    elif exam.code is None:
        how, whose = "No exam was recognised", "best score"
    else:
        how, whose = "Exam recognised from the image", "score for it"
    if exam.score is None:
        return f"{how}."
    return f"{how}; the router's {whose} is {score_text(exam.score)}."


def sentence(text: str | None) -> str:
    """The text as a sentence: a capital first, one full stop last.

    Raises:
        ReasonMissing: there is no text.
    """
    return _capital(clause(text)) + "."


def clause(text: str | None) -> str:
    """The text to follow a colon or comma: no full stop, no capital on an ordinary first word.

    Raises:
        ReasonMissing: there is no text.
    """
    text = (text or "").strip().rstrip(".")
    if not text:
        raise ReasonMissing("Something was not assessed or was refused, and no reason is given.")
    ordinary = re.match(r"[A-Z][a-z]+\b|A\b", text)
    return text[0].lower() + text[1:] if ordinary else text


def _measured(measurement: Measurement) -> bool:
    return measurement.state is MeasurementState.MEASURED


def _without_interval(report: Report) -> dict[str, list[str]]:
    """What has no interval, each measurement once, by the clause that says why."""
    given = {item.name for item in report.measurements if item.interval is not None}
    names: dict[str, list[str]] = {}
    for item in report.measurements:
        if _measured(item) and item.interval is None:
            named = names.setdefault(why_no_interval(item.reason) or NOT_CALIBRATED, [])
            what = f"the {item.name} of smaller regions" if item.name in given else item.name
            if what not in named:
                named.append(what)
    return names


def _basis(finding: Finding, evidence: dict[str, Evidence]) -> _Basis:
    items = _rests_on(finding.id, finding.evidence, evidence)
    return _Basis(
        finding=finding,
        boxes=tuple(item for item in items if isinstance(item, BoxEvidence)),
        masks=tuple(item for item in items if isinstance(item, MaskEvidence)),
        classifications=tuple(item for item in items if isinstance(item, ScoresEvidence)),
    )


def _measurement_statement(
    measurement: Measurement, evidence: dict[str, Evidence], report: Report
) -> str:
    items = _rests_on(measurement.id, measurement.evidence, evidence)
    masks = [item for item in items if isinstance(item, MaskEvidence)]
    return _text(
        "measurement.j2",
        measurement=measurement,
        subject=_subject(measurement, masks[0], report) if masks else None,
        context=CONTEXT.get(measurement.name),
        square=SQUARE_ASSUMED if SQUARE_ASSUMED in (measurement.formula or "") else "",
    )


def _subject(measurement: Measurement, mask: MaskEvidence, report: Report) -> str | None:
    """The structure's name, numbered when the specialist outlined several of it; None where the name says it."""
    same = [item for item in report.measurements if item.name == measurement.name]
    if measurement.name not in OF_A_COMPONENT and len(same) == 1:
        return None
    alike = [
        item.id
        for item in report.evidence
        if isinstance(item, MaskEvidence)
        and (item.label, item.specialist) == (mask.label, mask.specialist)
    ]
    if len(alike) == 1:
        return mask.label
    return f"{mask.label} {alike.index(mask.id) + 1} of {len(alike)}"


def _rests_on(item_id: str, ids: Iterable[str], evidence: dict[str, Evidence]) -> list[Evidence]:
    try:
        return [evidence[evidence_id] for evidence_id in ids]
    except KeyError as missing:
        raise EvidenceMissing(f"{item_id} rests on {missing}, which is not there.") from missing


def _headline(classification: ScoresEvidence) -> str:
    scores = classification.scores
    best = max(scores, key=lambda label: scores[label])
    return next((label for label in HEADLINE_CLASSES if label in scores), best)


def _class_words(label: str) -> str:
    meant = CLASSES_MEANT.get(label)
    return label if meant is None else f"{label} ({meant})"


def _listed(names: Sequence[str]) -> str:
    """The names as a list in words."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _text(template: str, **context: object) -> str:
    return " ".join(_ENVIRONMENT.get_template(template).render(**context).split())


def _sentences(template: str, **context: object) -> tuple[str, ...]:
    """One sentence or two per line of the template that has any."""
    lines = _ENVIRONMENT.get_template(template).render(**context).splitlines()
    return tuple(" ".join(line.split()) for line in lines if line.strip())


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # or each sentence asks the disk whether its template changed
    )
    filters: dict[str, Callable[..., object]] = {
        "number": number,
        "digits": digits,
        "score_text": score_text,
        "sentence": sentence,
        "clause": clause,
        "headline": _headline,
        "class_words": _class_words,
        "listed": _listed,
        "capital": _capital,
    }
    environment.filters.update(filters)
    environment.globals["training_classes"] = TRAINING_CLASSES
    environment.globals["of_a_component"] = OF_A_COMPONENT
    environment.globals["level"] = f"{100 * LEVEL:.0f} %"
    environment.globals["age"] = GESTATIONAL_AGE
    environment.globals["few_classes"] = FEW_CLASSES
    return environment


_ENVIRONMENT = _environment()
