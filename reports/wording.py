"""Sentences of a report, made from its results with fixed templates; no model writes a word.

What the planner's conclusion passes in, and how it is read:

- a structure (`label` "lesion"): its evidence is a box and masks, and the finding's score is the
  detector's presence score;
- a classification (any `label`): its evidence is scores, which are printed from there; the
  finding's score is not printed again;
- "not assessed" anywhere, and the outcomes partial and refused, carry a reason, as a sentence or
  a clause.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.errors import EvidenceMissing, ReasonMissing
from reports.measure.geometry import area
from reports.measure.head import BPD, GESTATIONAL_AGE, WEEKS
from reports.measure.intervals import LEVEL, NOT_CALIBRATED, why_no_interval
from reports.measure.numbers import DEGREES, OF_A_COMPONENT, SQUARE_ASSUMED, UNITLESS
from reports.measure.progression import AOP, HSD
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
"""The id, in the provenance, of the planner that follows the protocols' rules."""

NOVELTY_CHECK = "image against training images"
"""The check that states how far the image is from the training images."""

QUALITY_CHECK = "image quality"
"""The check that states what is wrong with the image; it is printed at the top of a report."""

HEADLINE_CLASSES = ("malignant", "high suspicion")
"""The classes whose score opens a classification's sentence, where it has one of them."""

CLASSES_MEANT = {
    "high suspicion": "TI-RADS 4b to 5 in its training data",
    "lower suspicion": "TI-RADS 2 to 4a in its training data",
}
"""What a class was in the training data, where its name does not say so.

It is never a category that the report itself assigns.
"""

OF_VIEWS = frozenset({"cardiac_view_cls"})
"""Classifiers that name the view, not a disease."""

FEW_CLASSES = 3
"""Up to this many classes, the impression names each of them."""

CONTEXT = {
    AOP: (
        "Published context, no verdict: 116° went with head station 0 (Tutschek 2011, "
        "BJOG 118:62; ISUOG guideline 2018, Ultrasound Obstet Gynecol 52:128)."
    ),
    HSD: "Along the infrapubic line (Youssef 2013, Ultrasound Obstet Gynecol 41:419).",
    BPD: "Outer to outer; many charts are made for outer to inner.",
    GESTATIONAL_AGE: "From the head circumference alone (Hadlock 1984, Radiology 152:497).",
}
"""What a reader must know to interpret a number, printed beside it.

What the number means for this patient is not said.
"""

_PRINTED = {DEGREES: "°", WEEKS: " weeks"}
"""Units printed differently from their code, with the space before them where they have one."""


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
        counts={"benign": 309, "malignant": 156}, source="BUSI, train rows of breast_2cls.csv"
    ),
    "breast_3cls": TrainingClasses(
        counts={"normal": 95, "benign": 309, "malignant": 156},
        source="BUSI, train rows of breast_3cls.csv",
    ),
}
"""Counted once from the training tables: a score means little without its class's frequency."""


@dataclass(frozen=True, kw_only=True)
class _Basis:
    """A finding with the evidence that it rests on, by kind."""

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
        """The outlined component with the greatest area in pixels."""
        return max(self.masks, key=lambda mask: area(mask.polygons))


def word(report: Report) -> Report:
    """Return the report with every statement, the impression and the limitations filled in.

    Raises:
        EvidenceMissing: a finding or measurement rests on evidence that the report does not hold.
        ReasonMissing: something was not assessed, or the outcome is not "reported", without a
            reason.
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
    """Return the lowest known share; None if none is known."""
    return min((share for share in shares if share is not None), default=None)


def _left_to_rules(report: Report) -> int:
    """Count the choices that a planner other than the rules left to the rules."""
    if report.provenance.planner.id == RULES:
        return 0
    return sum(step.chosen_by is ChosenBy.RULES for step in report.steps)


def number(value: float, unit: str | None) -> str:
    """Format a number as `digits` does, followed by its unit."""
    if unit in {UNITLESS, None}:
        return digits(value, unit)
    return digits(value, unit) + _PRINTED.get(str(unit), f" {unit}")


def digits(value: float, unit: str | None) -> str:
    """Format a number with two decimals if it has no unit, with none in pixels, else with one."""
    if unit in {UNITLESS, None}:
        return f"{value:.2f}"
    return f"{value:z.0f}" if str(unit).startswith("px") else f"{value:z.1f}"


def score_text(score: float) -> str:
    """Format a score with two decimals; near 0 and 1, which read as certainty, as a bound."""
    if score >= 0.995:
        return "> 0.99"
    return "< 0.01" if score < 0.005 else f"{score:.2f}"


def exam_basis(exam: ExamInfo) -> str:
    """State how the exam was chosen, as a sentence."""
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
    """Return the text as a sentence: a capital first, one full stop last.

    Raises:
        ReasonMissing: there is no text.
    """
    return _capital(clause(text)) + "."


def clause(text: str | None) -> str:
    """Return the text to follow a colon or comma.

    It has no full stop, and no capital on an ordinary first word.

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
    """Group the names of measurements without an interval by the clause that says why.

    Each name occurs once.
    """
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
    """Return the measured structure's name, numbered where the specialist outlined several of it.

    None where the measurement's own name says what was measured.
    """
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
    """Join the names into a list in words."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _text(template: str, **context: object) -> str:
    return " ".join(_ENVIRONMENT.get_template(template).render(**context).split())


def _sentences(template: str, **context: object) -> tuple[str, ...]:
    """Render a template and return its lines that are not empty, each of one or two sentences."""
    lines = _ENVIRONMENT.get_template(template).render(**context).splitlines()
    return tuple(" ".join(line.split()) for line in lines if line.strip())


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # otherwise each sentence checks the disk for a changed template
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
