"""The form that sends images, and the page that says what became of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from app.errors import ServiceError
from app.observability.metrics import count_refused
from app.storage.details import AGE, DETAILS, LONGEST, SCOPE
from app.web.batch import Entry, accept_all, counts_of
from app.web.dependencies import Served, Services
from app.web.pages.templating import templates
from app.web.problems import OK, SEE_OTHER, Problem, problem_of
from app.web.uploads import ANALYSIS_FIELDS, read_parts
from planner.exam import unserved
from planner.protocols import read_protocols
from reports.layout import SIDES
from reports.model import ExamCode
from specialists.manifest import Manifest

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, kw_only=True)
class UploadForm:
    """What the form offers, what was entered before, and what was wrong with it.

    `values` holds a text for each field, empty where nothing was entered; `errors` a sentence for
    each field that was not accepted.
    """

    exams: Mapping[ExamCode, str]
    limit_bytes: int
    limit_batch_bytes: int
    blacken_text: bool
    values: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)
    longest: Mapping[str, int] = field(default_factory=lambda: LONGEST)
    age: str = AGE

    @property
    def sides(self) -> list[tuple[str, str]]:
        """The sides of the body with their words."""
        return [(side.value, words) for side, words in SIDES.items()]

    @property
    def details_open(self) -> bool:
        """Whether the folded fields hold something that the sender must see."""
        return any(self.values[name] or name in self.errors for name in (*DETAILS, SCOPE))


def upload_form(
    served: Services, values: Mapping[str, str] | None = None, problem: Problem | None = None
) -> UploadForm:
    """Return the form with the entered values; a problem stands at the field that it names."""
    entered = dict.fromkeys(ANALYSIS_FIELDS, "") | dict(values or {})
    errors = {} if problem is None or problem.field is None else {problem.field: problem.detail}
    settings = served.settings
    return UploadForm(
        exams=exam_choices(served.manifest),
        limit_bytes=settings.limit_bytes,
        limit_batch_bytes=settings.limit_batch_bytes,
        blacken_text=settings.blacken_text,
        values=entered,
        errors=errors,
    )


@router.post("/")
async def upload(request: Request, served: Served) -> Response:
    """Lead to the new analysis, or say what became of each of several files.

    If nothing is accepted, the form is shown again with what was entered.
    """
    values: Mapping[str, str] = {}
    try:
        async with read_parts(request, ANALYSIS_FIELDS, served.settings.limit_batch_files) as parts:
            values = parts.fields
            entries = await accept_all(request, parts)
    except ServiceError as error:
        count_refused(error)
        return await run_in_threadpool(_page, served, values, problem_of(error))
    if len(entries) == 1:
        (only,) = entries
        if only.analysis is not None:
            return RedirectResponse(only.analysis.links.view, SEE_OTHER)
        if only.problem is not None and only.archive is None:
            at_field = only.problem.model_copy(update={"field": only.problem.field or "image"})
            return await run_in_threadpool(_page, served, values, at_field)
    return await run_in_threadpool(_page, served, values, None, entries)


def exam_choices(manifest: Manifest) -> dict[ExamCode, str]:
    """Return the exams to choose from with their titles, in protocol order.

    A title says so if its exam is not served here.
    """
    protocols = read_protocols()
    return {
        code: f"{protocol.title} (not served here)"
        if unserved(code, protocols, manifest)
        else protocol.title
        for code, protocol in protocols.exams.items()
    }


_TEMPLATES = templates()


def _page(
    served: Services,
    values: Mapping[str, str],
    problem: Problem | None,
    entries: Sequence[Entry] = (),
) -> HTMLResponse:
    html = _TEMPLATES.get_template("uploaded.html").render(
        page="uploaded",
        problem=problem,
        entries=entries,
        counts=counts_of(entries),
        form=upload_form(served, values, problem),
    )
    return HTMLResponse(html, OK if problem is None else problem.status)
