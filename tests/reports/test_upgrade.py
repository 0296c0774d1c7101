"""Stored reports of schema 1.0 are read, keep what they say, and are shown in every form."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from reports.canonical import to_json
from reports.forms.html import to_html
from reports.forms.render import ReportForm, Subject, render
from reports.forms.text import to_text
from reports.model import SCHEMA_VERSION, ChosenBy, Report, Scope
from reports.upgrade import read_report
from tests.builders import a_worded_report
from tests.reports.report_forms import frame_png

STORED = Path(__file__).parent / "stored_1_0.json"
"""A report as version 1.0 wrote it, planned by a model."""


def test_a_stored_report_is_read_with_all_that_it_says() -> None:
    stored, report = json.loads(STORED.read_bytes()), read_report(STORED.read_bytes())
    assert report.schema_version == SCHEMA_VERSION
    assert [step.chosen_by for step in report.steps].count(ChosenBy.MODEL) == 1
    assert report.provenance.content_sha256 == stored["provenance"]["content_sha256"]
    assert list(report.impression) == stored["impression"]
    assert list(report.limitations) == stored["limitations"]
    for now, then in zip(report.findings, stored["findings"], strict=True):
        assert (now.statement, now.structure) == (then["statement"], None)
    assert (report.asked, report.study, report.signed_by) == (None, None, None)
    assert report.request.scope is Scope.PROTOCOL
    assert report.request.label is None


def test_a_stored_report_is_shown_as_page_text_and_pdf() -> None:
    pytest.importorskip("reportlab")
    report = read_report(STORED.read_text(encoding="utf-8"))
    said = report.impression[0]
    assert said in to_text(report)
    assert report.report_id in to_html(report, "image.png")
    pdf = render(ReportForm.PDF, Subject(report=report, png=frame_png()))
    assert pdf.startswith(b"%PDF-")


def test_a_present_report_is_read_as_it_is() -> None:
    report = a_worded_report()
    assert read_report(to_json(report)) == report == read_report(to_json(report).decode())


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema_version": "3.0"}', b"\xff"])
def test_what_is_no_report_gives_the_error_that_it_always_gave(text: str | bytes) -> None:
    with pytest.raises(ValidationError):
        Report.model_validate_json(text)
    with pytest.raises(ValidationError):
        read_report(text)


def test_a_broken_report_of_1_0_is_refused_as_one() -> None:
    stored = json.loads(STORED.read_bytes())
    stored["steps"] = "none"
    with pytest.raises(ValidationError):
        read_report(json.dumps(stored))
    stored["steps"] = [None]
    with pytest.raises(ValidationError):
        read_report(json.dumps(stored))
