"""Whether a report may become final or leave: the one place that is asked before it is signed or sent anywhere."""

from reports.model import Outcome, Report

ACCEPTED_BY = "USTRI_ACCEPT_RESEARCH_LICENCE=release"
"""The setting with which reports become final and leave although weights for research only made them."""


def may_leave(report: Report, *, research_accepted: bool) -> str | None:
    """Why that report may neither become final nor be sent anywhere, as a sentence; None when it may.

    It may always be shown and downloaded.

    Args:
        report: of any age; what it is judged by stands in its provenance.
        research_accepted: whether the deployment accepts what weights for research only made.
    """
    reason = report.provenance.research_only
    if reason is None or research_accepted:
        return None
    return (
        f"The report stays here and preliminary: {reason.rstrip('.')}; {ACCEPTED_BY} lets it become "
        "final and leave."
    )


def worth_filing(report: Report) -> str | None:
    """Why filing that report needs to be insisted on, as a sentence; None when it does not."""
    if report.outcome is not Outcome.REFUSED:
        return None
    return "The report is refused and holds no finding or number, so that a record gains nothing from it."
