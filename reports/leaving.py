"""Whether a report may leave the system: the one place that is asked before it is sent anywhere."""

from reports.model import Outcome, Report

RELEASED_BY = "USTRI_ACCEPT_RESEARCH_LICENCE=release"
"""The setting with which reports of weights for research only may leave."""


def may_leave(report: Report) -> str | None:
    """Why that report must never be sent away, as a sentence; None when it may.

    It is asked of the stored report alone: what made it, and what was accepted when it was made.
    """
    made_by = report.provenance
    if made_by.research_only is None or made_by.released:
        return None
    return (
        f"The report stays here: {made_by.research_only.rstrip('.')}; whoever may accept that sets "
        f"{RELEASED_BY} where reports are made, and has the image analysed again."
    )


def worth_filing(report: Report) -> str | None:
    """Why filing that report needs to be insisted on, as a sentence; None when it does not."""
    if report.outcome is not Outcome.REFUSED:
        return None
    return "The report is refused and holds no finding or number, so that a record gains nothing from it."
