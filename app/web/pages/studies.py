"""The pages of studies: the list, and one study with its filmstrip and summary."""

from fastapi.responses import HTMLResponse

from app.errors import ServiceError
from app.storage.studies import StudyPage
from app.web.pages.templating import templates
from app.web.problems import OK, problem_of
from reports.forms.study.html import to_fragment
from reports.forms.study.rows import title_of
from reports.study.model import StudyReport

STUDY_ROWS = 25
"""Rows on one page of the list."""


def studies_page(found: StudyPage, page: int) -> HTMLResponse:
    """Return the list of studies."""
    before = (page - 1) * STUDY_ROWS
    last = before + len(found.entries)
    return _page(
        "studies.html",
        entries=found.entries,
        newer=f"/studies?page={page - 1}" if page > 1 else None,
        older=f"/studies?page={page + 1}" if last < found.total else None,
        range_text=f"{before + 1} to {last} of {found.total}",
    )


def study_page(report: StudyReport) -> HTMLResponse:
    """Return the page of a study."""
    waiting = sum(image.state == "waiting" for image in report.images)
    return _page(
        "study.html",
        report=report,
        title=title_of(report),
        waiting=waiting,
        article=to_fragment(report, "/analyses", "/studies"),
    )


def problem_page(error: ServiceError) -> HTMLResponse:
    """Return the page that says what is wrong."""
    problem = problem_of(error)
    return _page("problem.html", problem.status, problem=problem)


_TEMPLATES = templates()


def _page(name: str, status: int = OK, **values: object) -> HTMLResponse:
    text = _TEMPLATES.get_template(name).render({"page": name.removesuffix(".html"), **values})
    return HTMLResponse(text, status_code=status)
