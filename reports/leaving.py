"""Whether a report may leave the system: the one place that is asked before it is sent anywhere."""

from reports.model import Outcome, Report


def may_leave(report: Report) -> str | None:
    """Why that report must never be sent away, as a sentence; None when it may."""
    reason = report.provenance.research_only
    return None if reason is None else f"The report stays here: {reason.rstrip('.')}."


def worth_filing(report: Report) -> str | None:
    """Why filing that report needs to be insisted on, as a sentence; None when it does not."""
    if report.outcome is not Outcome.REFUSED:
        return None
    return "The report is refused and holds no finding or number, so that a record gains nothing from it."
