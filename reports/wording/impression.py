"""The impression: at most four lines, the headline first, unless the results contradict it."""

from collections.abc import Sequence

from reports.model import Check, CheckOutcome, FindingState, MeasurementState, Outcome, Report
from reports.wording.facts import CROSS_CHECK, Facts
from reports.wording.flags import Flag, briefs, flags_of, plain
from reports.wording.numbers import unavailable
from reports.wording.phrases import QUALITY_CHECK, clause
from reports.wording.templates import lines

MOST_LINES = 4


def impression(facts: Facts) -> tuple[str, ...]:
    """Return the impression: what contradicts it, the headline, what is missing, what to review.

    Raises:
        ReasonMissing: the outcome is not "reported", and no reason is given.
    """
    report = facts.report
    if report.outcome is not Outcome.REPORTED:
        clause(report.reason)
    synthetic = lines("impression.j2", part="synthetic") if report.image.synthetic else ()
    if report.outcome is Outcome.REFUSED:
        return (*lines("impression.j2", part="refused", reason=report.reason), *synthetic)
    flags = flags_of(facts)
    first = [flag.lead for flag in flags[:1] if flag.lead is not None]
    headline = lines("headline.j2", facts=facts, exam=report.exam.code)
    rest = flags[len(first) :]
    notes = (*_gaps(facts, headline), *_review(report, rest), *synthetic)
    return _at_most(MOST_LINES, (*first, *headline), notes)


def _at_most(most: int, said: Sequence[str], notes: Sequence[str]) -> tuple[str, ...]:
    """Return the lines, the notes in one line where there is no room for each."""
    if len(said) + len(notes) <= most:
        return (*said, *notes)
    kept = said[: most - 1] if notes else said[:most]
    return (*kept, *([" ".join(notes)] if notes else []))


def _gaps(facts: Facts, headline: Sequence[str]) -> tuple[str, ...]:
    """Return what this image could have shown and was not assessed, where the headline omits it."""
    report = facts.report
    if report.outcome is not Outcome.PARTIAL:
        return ()
    said = " ".join(headline).lower()
    names = [
        item.label
        for item in report.findings
        if item.state is FindingState.NOT_ASSESSED and CROSS_CHECK not in item.label
    ]
    names += [
        item.name
        for item in report.measurements
        if item.state is MeasurementState.NOT_ASSESSED and not unavailable(item.reason)
    ]
    gaps = [name for name in dict.fromkeys(names) if name.lower() not in said]
    return lines("impression.j2", part="gaps", gaps=gaps)


def _review(report: Report, flags: Sequence[Flag]) -> tuple[str, ...]:
    quality = next((plain(c.detail, report) for c in report.checks if _poor(c)), None)
    return lines("impression.j2", part="review", quality=quality, review=briefs(flags))


def _poor(check: Check) -> bool:
    return check.name == QUALITY_CHECK and check.outcome is CheckOutcome.FLAG
