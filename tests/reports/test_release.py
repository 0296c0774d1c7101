"""What may become final and leave the system."""

import json

from app.settings import Settings
from reports.canonical import to_json
from reports.layout import lay_out
from reports.model import Report
from reports.release import ACCEPTED_BY, may_leave, worth_filing
from reports.wording.phrases import sentence
from reports.wording.report import word
from tests.builders import a_provenance, a_refused_report, a_report, a_worded_report

WHY = "the weights of one and two may be used for research only, since nobody said more"


def a_research_report() -> Report:
    return word(a_report(provenance=a_provenance(research_only=WHY)))


def without(report: Report, *path: str) -> dict[str, object]:
    """The JSON of the report as it was before that field was written."""
    found = json.loads(to_json(report))
    inner = found
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return dict(found)


def test_a_report_that_research_only_weights_made_stays_unless_that_is_accepted() -> None:
    assert may_leave(a_research_report(), research_accepted=False) == (
        f"The report stays here and preliminary: {WHY}; "
        "USTRI_ACCEPT_RESEARCH_LICENCE=release lets it become final and leave."
    )
    assert may_leave(a_research_report(), research_accepted=True) is None
    assert may_leave(a_worded_report(), research_accepted=False) is None


def test_the_setting_that_a_refusal_names_is_the_one_that_accepts() -> None:
    variable, _, value = ACCEPTED_BY.partition("=")
    name = variable.removeprefix("USTRI_").lower()
    assert Settings.model_validate({name: value}).research_accepted
    assert not Settings.model_validate({name: "plan"}).research_accepted
    assert not Settings().research_accepted


def test_a_report_says_whose_weights_are_for_research_only_and_that_it_stays() -> None:
    first = a_research_report().limitations[0]
    assert first.endswith("is not sent from this system, unless whoever runs it accepts that.")
    assert "may be used for research only" in first
    made = lay_out(a_research_report()).made.provenance
    assert [row.text for row in made if row.name == "Research only"] == [sentence(WHY)]
    assert not any("research only" in line for line in a_worded_report().limitations)


def test_a_stored_report_is_judged_by_what_it_says_and_held_where_it_says_nothing() -> None:
    for report, stays in ((a_research_report(), True), (a_worded_report(), False)):
        stored = Report.model_validate_json(to_json(report))
        assert (may_leave(stored, research_accepted=False) is not None) == stays
        older = Report.model_validate(without(report, "provenance", "research_only"))
        assert "made before reports stated" in str(may_leave(older, research_accepted=False))
        assert may_leave(older, research_accepted=True) is None


def test_an_older_report_that_was_released_when_it_was_made_is_still_read() -> None:
    found = json.loads(to_json(a_worded_report()))
    found["provenance"]["planner"] |= {"research_only": True, "released": True}
    report = Report.model_validate(found)
    assert report.provenance.planner.research_only


def test_a_refused_report_is_not_worth_filing() -> None:
    assert "refused" in str(worth_filing(a_refused_report()))
    assert worth_filing(a_worded_report()) is None
