"""What may leave the system."""

from reports.content import to_json
from reports.leaving import may_leave, worth_filing
from reports.model import Report
from tests.builders import a_refused_report, a_worded_report


def a_research_report() -> Report:
    report = a_worded_report()
    made_by = report.provenance.model_copy(
        update={"research_only": "the planner's licence allows research only"}
    )
    return report.model_copy(update={"provenance": made_by})


def test_a_report_made_by_a_research_only_model_may_not_leave() -> None:
    assert may_leave(a_research_report()) == (
        "The report stays here: the planner's licence allows research only."
    )
    assert may_leave(a_worded_report()) is None


def test_other_reports_do_not_mention_it() -> None:
    assert b"research_only" not in to_json(a_worded_report())
    assert b"research_only" in to_json(a_research_report())


def test_a_refused_report_is_not_worth_filing() -> None:
    assert "refused" in str(worth_filing(a_refused_report()))
    assert worth_filing(a_worded_report()) is None
