"""What overlays are called: the structure that each shows, and its short label with the value."""

from collections import Counter
from collections.abc import Iterator

from reports.forms.overlay.palette import KNOWN
from reports.layout import structure_of
from reports.measure import head, heart, muscle, nerve, progression
from reports.measure.fascicle import FASCICLE_LENGTH
from reports.measure.muscle import PENNATION_ANGLE
from reports.measure.numbers import DEGREES
from reports.model import (
    BoxEvidence,
    Evidence,
    MaskEvidence,
    Measurement,
    MeasurementState,
    PointsEvidence,
    Report,
)
from reports.wording.numbers import figure

SHORT = {
    head.HC: "HC",
    head.BPD: "BPD",
    head.OFD: "OFD",
    progression.AOP: "AoP",
    progression.HSD: "HSD",
    muscle.THICKNESS: "thickness",
    PENNATION_ANGLE: "pennation",
    FASCICLE_LENGTH: "fascicle",
    heart.LONG_AXIS: "long axis",
    nerve.DISTANCE: "distance",
    nerve.GAP: "gap",
    "cavum septi pellucidi": "CSP",
}
"""Names as they stand beside a structure, where the whole name would hide too much."""

OF_ITS_OWN = frozenset({head.HC})
"""Numbers of an outline whose name says more than that of the outlined structure."""

REFERENCE = frozenset({muscle.SUPERFICIAL_INCLINATION, muscle.DEEP_INCLINATION})
"""Lines that other numbers are taken from: they are drawn without a label."""

MANY = 4
"""From this number on, outlines of one name (fascicles of a muscle) have no label each."""

MOST_LETTERS = 32
"""A longer label is cut: it would be wider than most images have room for."""

SIZES = ("mm", "cm", "mm²", "cm²", "px")
"""Units of the numbers that an outline's label may hold; px² says nothing to a reader."""


def drawn(report: Report) -> tuple[Evidence, ...]:
    """Return the evidence that can be drawn over the analysed frame, in the report's order."""
    return tuple(
        item
        for item in report.evidence
        if isinstance(item, BoxEvidence | MaskEvidence | PointsEvidence)
        and item.frame in {None, report.image.frame}
    )


def structures(report: Report) -> dict[str, str]:
    """Return the structure that each drawn piece of evidence shows, by its id."""
    items = {item.id: item for item in report.evidence}
    names: dict[str, str] = {}
    for item in drawn(report):
        if isinstance(item, MaskEvidence):
            names[item.id] = item.label
        elif (number := _drawn_for(item, report)) is not None:
            names[item.id] = _measured_on(number, items)
        else:
            names[item.id] = _cited_by(item, report) or item.specialist
    return names


def calipers(report: Report) -> dict[str, int]:
    """Return the numbers of the measured lines, by evidence id; none where only one is drawn."""
    lines = [item.id for item, number in _lines(report) if number.name not in REFERENCE]
    return {name: place for place, name in enumerate(lines, start=1)} if len(lines) > 1 else {}


def labels(report: Report) -> dict[str, str]:
    """Return the label of each piece of evidence that has one, by its id."""
    numbers = calipers(report)
    outlines = [item for item in drawn(report) if isinstance(item, MaskEvidence)]
    counts = Counter(item.label for item in outlines)
    found: dict[str, str] = {}
    for item in drawn(report):
        number = _drawn_for(item, report)
        if isinstance(item, MaskEvidence):
            if counts[item.label] < MANY:
                alike = [other.id for other in outlines if other.label == item.label]
                place = f" {alike.index(item.id) + 1}" if len(alike) > 1 else ""
                found[item.id] = _of_outline(item, place, report)
        elif number is not None and number.name not in REFERENCE:
            place = f"{numbers[item.id]} " if item.id in numbers else ""
            found[item.id] = f"{place}{short(number.name)} {figure(number).short}"
        elif isinstance(item, BoxEvidence) and not _outlined_too(item, report):
            name = _cited_by(item, report)
            if name is not None:
                found[item.id] = short(name)
    return {name: _cut(text) for name, text in found.items()}


def _cut(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1].rstrip() + "…"


def short(name: str) -> str:
    """Return a name as it stands beside a structure."""
    return SHORT.get(name, name)


def angle_of(item: Evidence, report: Report) -> float | None:
    """Return the measured angle that three points are the sides of, in degrees; else None."""
    number = _drawn_for(item, report)
    if number is None or number.unit != DEGREES or not isinstance(item, PointsEvidence):
        return None
    return number.value if len(item.points) == 3 else None


def is_reference(item: Evidence, report: Report) -> bool:
    """Return whether a line is one that other numbers are taken from."""
    number = _drawn_for(item, report)
    return number is not None and number.name in REFERENCE


def _drawn_for(item: Evidence, report: Report) -> Measurement | None:
    """Return the measurement whose points these are; landmarks have scores and are no such."""
    if not isinstance(item, PointsEvidence) or any(p.score is not None for p in item.points):
        return None
    for number in report.measurements:
        if number.evidence[:1] == (item.id,) and number.state is MeasurementState.MEASURED:
            return number
    return None


def _lines(report: Report) -> Iterator[tuple[PointsEvidence, Measurement]]:
    for item in drawn(report):
        number = _drawn_for(item, report)
        if isinstance(item, PointsEvidence) and number is not None and len(item.points) == 2:
            yield item, number


def _measured_on(number: Measurement, items: dict[str, Evidence]) -> str:
    if number.name in KNOWN:
        return number.name
    masks = [items[name] for name in number.evidence if isinstance(items.get(name), MaskEvidence)]
    for mask in masks:
        if isinstance(mask, MaskEvidence):
            return mask.label
    return number.structure or number.name


def _cited_by(item: Evidence, report: Report) -> str | None:
    """Return the structure of the first statement that rests on the evidence; None: there is none.

    What a measurement alone rests on is of what that is measured on.
    """
    for finding in report.findings:
        if item.id in finding.evidence:
            return structure_of(finding, report)
    items = {other.id: other for other in report.evidence}
    for number in report.measurements:
        if item.id in number.evidence:
            return _measured_on(number, items)
    return None


def _outlined_too(item: BoxEvidence, report: Report) -> bool:
    """Return whether a finding that rests on the box rests on an outline as well."""
    masks = {other.id for other in report.evidence if isinstance(other, MaskEvidence)}
    return any(
        masks & set(finding.evidence) for finding in report.findings if item.id in finding.evidence
    )


def _of_outline(item: MaskEvidence, place: str, report: Report) -> str:
    for number in report.measurements:
        if (
            number.evidence == (item.id,)
            and number.state is MeasurementState.MEASURED
            and number.unit in SIZES
        ):
            name = short(number.name) if number.name in OF_ITS_OWN else short(item.label) + place
            return f"{name} {figure(number).short}"
    return short(item.label) + place
