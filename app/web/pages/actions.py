"""The buttons of a page that stop an analysis or run it again; both lead back to its page."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from app.errors import AnalysisDone, ServiceError
from app.observability.metrics import count_refused
from app.web.control import retry_analysis, stop_analysis
from app.web.dependencies import Served
from app.web.pages.templating import templates
from app.web.problems import SEE_OTHER, problem_of
from app.web.progress import path_of

router = APIRouter(include_in_schema=False)


@router.post("/analyses/{analysis_id}/view/cancel")
async def cancel_by_button(analysis_id: str, served: Served) -> Response:
    """Cancel the analysis; if its report came first, the page shows it."""
    try:
        await run_in_threadpool(stop_analysis, served, analysis_id)
    except AnalysisDone:
        pass
    except ServiceError as error:
        return _refused(analysis_id, error)
    return RedirectResponse(_page_of(analysis_id), SEE_OTHER)


@router.post("/analyses/{analysis_id}/view/retry")
async def retry_by_button(analysis_id: str, request: Request, served: Served) -> Response:
    """Run the analysis again; if its report is there already, the page shows it."""
    try:
        await retry_analysis(request, served, analysis_id)
    except AnalysisDone:
        pass
    except ServiceError as error:
        return _refused(analysis_id, error)
    return RedirectResponse(_page_of(analysis_id), SEE_OTHER)


def _page_of(analysis_id: str) -> str:
    return f"{path_of(analysis_id)}/view"


def _refused(analysis_id: str, error: ServiceError) -> HTMLResponse:
    count_refused(error)
    problem = problem_of(error)
    html = _TEMPLATES.get_template("problem.html").render(
        page="problem", problem=problem, back=_page_of(analysis_id)
    )
    return HTMLResponse(html, problem.status)


_TEMPLATES = templates()
