"""Whether a report may become final or leave the deployment.

Every signing and sending checks here first.
"""

from reports.model import Outcome, Report

ACCEPTED_BY = "USTRI_ACCEPT_RESEARCH_LICENCE=release"
"""The setting that lets reports made with weights for research only become final and leave."""


def may_leave(report: Report, *, research_accepted: bool) -> str | None:
    """Return why the report may neither become final nor be sent, as a sentence; None if it may.

    It may always be shown and downloaded.

    Args:
        report: however old; the decision rests on its provenance.
        research_accepted: whether the deployment accepts reports made with weights for research
            only.
    """
    reason = report.provenance.research_only
    if reason is None or research_accepted:
        return None
    return (
        f"The report stays here and preliminary: {reason.rstrip('.')}; {ACCEPTED_BY} "
        "lets it become final and leave."
    )


def worth_filing(report: Report) -> str | None:
    """Return why filing the report has to be forced, as a sentence; None if it need not be."""
    if report.outcome is not Outcome.REFUSED:
        return None
    return (
        "The report is refused and holds no finding or number, "
        "so that a record gains nothing from it."
    )
