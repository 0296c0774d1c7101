"""What page and PDF say beside a number: its row in the table of a structure."""

from dataclasses import dataclass

from reports.forms.overlay.naming import calipers, drawn, labels
from reports.layout import Structure
from reports.measure.numbers import NOT_AVAILABLE
from reports.model import (
    BoxEvidence,
    Evidence,
    FindingState,
    MaskEvidence,
    Measurement,
    MeasurementState,
    PointsEvidence,
    Report,
    Step,
)
from reports.wording.doubts import doubts
from reports.wording.numbers import Figure, definition, figure
from reports.wording.phrases import capital, clause, listed, score_text, sentence

MOST_REASONS = 2
"""Reasons beside the impression; the findings have all of them."""

NO_INTERVAL = "not given"
NONE = "—"
_NOT_MEASURED = {True: "not available", False: "not assessed"}
"""The value of a number that was not measured, by whether no such image could show it."""


@dataclass(frozen=True, kw_only=True)
class NumberRow:
    """One measurement as a row; `caliper` is the number of its line in the picture."""

    measurement: Measurement
    caliper: int | None
    name: str
    value: str
    interval: str
    note: str


@dataclass(frozen=True, kw_only=True)
class NumberTable:
    """The rows of one structure; `interval` heads their intervals, with the coverage they share."""

    interval: str
    rows: tuple[NumberRow, ...]


def number_table(structure: Structure, report: Report) -> NumberTable:
    """Return the table of a structure's measurements, in the report's order."""
    given = {item.coverage for item in structure.measurements if item.interval is not None}
    shared = given.pop() if len(given) == 1 else None
    return NumberTable(
        interval="Interval" if shared is None else f"{_percent(shared)} interval",
        rows=tuple(_row(item, report, shared) for item in structure.measurements),
    )


@dataclass(frozen=True, kw_only=True)
class EvidenceRow:
    """One piece of evidence: what it shows, who found it in which step, how surely, and where."""

    id: str
    what: str
    by: str
    step: str
    score: str
    where: str


def evidence_rows(report: Report) -> tuple[EvidenceRow, ...]:
    """Return the table of evidence, in the report's order."""
    names = evidence_names(report)
    return tuple(
        EvidenceRow(
            id=item.id,
            what=names[item.id] + ("" if item.frame is None else f", frame {item.frame + 1}"),
            by=item.specialist + (f", edited by {item.edited_by}" if item.edited_by else ""),
            step=str(item.step),
            score=NONE if item.score is None else score_text(item.score),
            where=_where(item),
        )
        for item in report.evidence
    )


def evidence_names(report: Report) -> dict[str, str]:
    """Return a display name for each piece of evidence, by id; numbered where several share it."""
    plain = {item.id: _evidence_name(item, report) for item in report.evidence}
    names = {}
    for place, name in plain.items():
        alike = [other for other, called in plain.items() if called == name]
        names[place] = name if len(alike) == 1 else f"{name} {alike.index(place) + 1}"
    return names


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One step: its action with its parameters, why and by whom it was chosen among which."""

    step: Step
    parameters: str
    why: str
    chosen_by: str
    among: str
    time: str


def step_rows(report: Report) -> tuple[StepRow, ...]:
    """Return the table of steps, in order."""
    return tuple(
        StepRow(
            step=step,
            parameters=", ".join(f"{key} {value}" for key, value in step.parameters.items()),
            why=step.reason or NONE,
            chosen_by=str(step.chosen_by)
            + ("" if step.margin is None else f", margin {step.margin:.2f}"),
            among=", ".join(
                f"{action} {step.scores[action]:.2f}" if action in step.scores else action
                for action in step.legal
            ),
            time=f"{step.duration_ms:.0f} ms",
        )
        for step in report.steps
    )


def picture_text(report: Report) -> str:
    """Return what the picture shows, for who cannot see it."""
    names = evidence_names(report)
    tags = labels(report)
    shown = [
        f"{names[i.id]} ({tags[i.id]})" if i.id in tags else names[i.id] for i in drawn(report)
    ]
    what = f"{report.exam.title}, the analysed image"
    return f"{what}, with {'; '.join(shown)}." if shown else f"{what}; nothing is drawn on it."


def unsaid(report: Report) -> str | None:
    """Return the report's reason, unless the report says it already.

    The impression, the answer to the question, or what was not assessed may say it.
    """
    if any(finding.state is FindingState.NOT_ASSESSED for finding in report.findings):
        return None
    if any(number.state is MeasurementState.NOT_ASSESSED for number in report.measurements):
        return None
    said = " ".join([*report.impression, report.asked or ""])
    if report.reason is None or clause(report.reason) in said or report.reason in said:
        return None
    return report.reason


def headline_notes(report: Report) -> tuple[str, ...]:
    """Return why numbers of the impression are unreliable or not available, each reason once.

    The impression says that they are; the reasons stand with the numbers, further down.
    """
    said = " ".join(report.impression).lower()
    doubtful = [m for m in report.measurements if m.value is not None and m.unreliable]
    named = [m for m in doubtful if m.name.lower() in said] or doubtful
    notes: list[str] = []
    if "unreliable" in said and named:
        first = dict.fromkeys(doubt for item in named for doubt in doubts(item))
        notes.append(f"Unreliable: {'; '.join(list(first)[:MOST_REASONS])}.")
    missing: dict[str, list[str]] = {}
    for item in report.measurements:
        why = (item.reason or "").partition(f"{NOT_AVAILABLE}: ")[2].rstrip(".")
        if why and item.value is None and item.name.lower() in said:
            missing.setdefault(why, []).append(item.name)
    return (*notes, *(f"{capital(listed(names))}: {why}." for why, names in missing.items()))


def _name(item: Measurement, report: Report) -> str:
    """Return the name, with the number of the outline where several of one label are measured."""
    masks = {mask.id: mask for mask in report.evidence if isinstance(mask, MaskEvidence)}
    own = next((masks[name] for name in item.evidence if name in masks), None)
    same_name = [other for other in report.measurements if other.name == item.name]
    if own is None or len(same_name) == 1:
        return capital(item.name)
    alike = [name for name, mask in masks.items() if mask.label == own.label]
    return f"{capital(item.name)}, {own.label} {alike.index(own.id) + 1}"


def _row(item: Measurement, report: Report, shared: float | None) -> NumberRow:
    said = figure(item)
    places = calipers(report)
    if said.text is None:
        value, interval, note = _NOT_MEASURED[said.unavailable], "", sentence(said.why)
    else:
        value, interval, note = said.text, _interval(said, item, shared), _note(item)
    return NumberRow(
        measurement=item,
        caliper=next((places[name] for name in item.evidence if name in places), None),
        name=_name(item, report),
        value=value,
        interval=interval,
        note=note,
    )


def _interval(said: Figure, item: Measurement, shared: float | None) -> str:
    """Return the interval, with its coverage unless all of the table share it."""
    if said.interval is None:
        return NO_INTERVAL
    ends = said.interval.partition("interval ")[2]
    own = item.coverage is not None and item.coverage != shared
    return f"{ends} ({_percent(item.coverage)})" if own and item.coverage is not None else ends


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"


def _note(item: Measurement) -> str:
    """Return what a number without a unit is, and what a reader must know to use it.

    A statement says name, value, interval and definition in its first sentence, and the rest in
    those that follow.
    """
    defined = definition(item)
    first = [sentence(defined)] if defined else []
    return " ".join([*first, item.statement.partition(". ")[2]]).strip()


def _evidence_name(item: Evidence, report: Report) -> str:
    cited = (finding.label for finding in report.findings if item.id in finding.evidence)
    match item:
        case MaskEvidence():
            return f"outline of {item.label}"
        case BoxEvidence():
            return f"box around {next(cited, 'what was detected')}"
        case PointsEvidence():
            first = item.points[0] if item.points else None
            if first is not None and first.score is None:
                return f"calipers of {first.name.partition(',')[0]}"
            return f"landmarks of {next(cited, first.name if first else 'nothing')}"
        case _:
            return f"scores of {next(cited, 'the classifier')}"


def _where(item: Evidence) -> str:
    match item:
        case BoxEvidence():
            x_min, y_min, x_max, y_max = item.box
            return f"x {x_min:.1f} to {x_max:.1f}, y {y_min:.1f} to {y_max:.1f} px"
        case MaskEvidence():
            rings = len(item.polygons)
            corners = sum(len(ring) for ring in item.polygons)
            return f"{rings} {'ring' if rings == 1 else 'rings'}, {corners} points"
        case PointsEvidence():
            return "; ".join(
                f"{point.name} ({point.x:.1f}, {point.y:.1f})"
                + ("" if point.score is None else f" {point.score:.2f}")
                for point in item.points
            )
        case _:
            return ", ".join(f"{name} {score_text(score)}" for name, score in item.scores.items())
