"""What may leave the system."""

from reports.content import to_json
from reports.leaving import may_leave, worth_filing
from reports.model import Report
from reports.wording import word
from tests.builders import a_refused_report, a_worded_report


def a_research_report(*, released: bool = False) -> Report:
    report = a_worded_report()
    made_by = report.provenance.model_copy(
        update={"research_only": "the planner's licence allows research only", "released": released}
    )
    return report.model_copy(update={"provenance": made_by})


def test_a_report_made_by_a_research_only_model_may_not_leave_and_is_told_what_would_let_it() -> (
    None
):
    assert may_leave(a_research_report()) == (
        "The report stays here: the planner's licence allows research only; whoever may accept that sets "
        "USTRI_ACCEPT_RESEARCH_LICENCE=release where reports are made, and has the image analysed again."
    )
    assert may_leave(a_worded_report()) is None


def test_a_report_made_where_that_was_accepted_may_leave_and_says_so() -> None:
    report = a_research_report(released=True)
    assert may_leave(Report.model_validate_json(to_json(report))) is None
    said = "\n".join(word(report).limitations)
    assert "Research only: the planner's licence allows research only." in said
    assert "lets its reports become final and leave" in said
    assert "is sent nowhere" in "\n".join(word(a_research_report()).limitations)


def test_other_reports_do_not_mention_it() -> None:
    assert b"research_only" not in to_json(a_worded_report())
    assert b"research_only" in to_json(a_research_report())


def test_a_refused_report_is_not_worth_filing() -> None:
    assert "refused" in str(worth_filing(a_refused_report()))
    assert worth_filing(a_worded_report()) is None
