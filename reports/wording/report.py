"""The words of a whole report, filled in from its results; no model writes a word.

What the planner's conclusion passes in, and how it is read:

- a structure (`label` "lesion"): its evidence is a box and masks;
- a classification (any `label`): its evidence is scores;
- a quality (`value` "oval"): its evidence is the outline that it was computed from;
- "not assessed" anywhere, and the outcomes partial and refused, carry a reason, as a sentence or
  a clause.
"""

from reports.asked import Asked
from reports.measure.numbers import OF_A_COMPONENT
from reports.model import MaskEvidence, Measurement, Report
from reports.wording.asked import asked_sentence
from reports.wording.doubts import own_doubts
from reports.wording.facts import Facts
from reports.wording.impression import impression
from reports.wording.limitations import limitations
from reports.wording.numbers import context, definition, figure, square_note, undetermined
from reports.wording.templates import text

ORIENTATION = "orientation"
"""The finding that says what a taller-than-wide ratio means; without it, the ratio says so."""


def word(report: Report, *, asked: Asked | None = None) -> Report:
    """Return the report with every statement, the impression and the limitations filled in.

    Args:
        report: the results.
        asked: what the request's question asks; None leaves the report's answer to it as it is.

    Raises:
        EvidenceMissing: a finding or measurement rests on evidence that the report does not hold.
        ReasonMissing: something was not assessed, or the outcome is not "reported", without a
            reason.
    """
    facts = Facts(report=report)
    findings = tuple(
        basis.finding.model_copy(
            update={"statement": text("finding.j2", basis=basis, exam=report.exam.code)}
        )
        for basis in facts.bases
    )
    measurements = tuple(
        measurement.model_copy(update={"statement": _measurement_statement(measurement, facts)})
        for measurement in report.measurements
    )
    return report.model_copy(
        update={
            "asked": report.asked if asked is None else asked_sentence(asked, facts),
            "findings": findings,
            "measurements": measurements,
            "impression": impression(facts),
            "limitations": limitations(facts),
        }
    )


def _measurement_statement(measurement: Measurement, facts: Facts) -> str:
    items = facts.rests_on(measurement)
    masks = [item for item in items if isinstance(item, MaskEvidence)]
    return text(
        "measurement.j2",
        figure=figure(measurement),
        doubts=own_doubts(measurement, facts.report.measurements),
        subject=_subject(measurement, masks[0], facts.report) if masks else None,
        definition=definition(measurement),
        square=square_note(measurement),
        undetermined=undetermined(measurement) and facts.finding(ORIENTATION) is None,
        context=context(measurement),
    )


def _subject(measurement: Measurement, mask: MaskEvidence, report: Report) -> str | None:
    """Return which of several outlined parts was measured; None where there is only one."""
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
        return None
    return f"{mask.label} {alike.index(mask.id) + 1} of {len(alike)}"
