"""Routes of studies: the list, one study, and its report in any form."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict

from app.errors import NotFound, ServiceError
from app.settings import code_version
from app.storage.studies import StudyEntry
from app.web.dependencies import Served, Services
from app.web.negotiation import negotiated_of, wants_page
from app.web.openapi import PROBLEMS
from app.web.pages.studies import STUDY_ROWS, problem_page, studies_page, study_page
from app.web.problems import OK, page
from reports.forms.study.render import STUDY_MEDIA, StudyForm, StudySubject, render_study
from reports.model import Outcome, Status
from reports.study.model import StudyImage, StudyReport
from reports.study.summary import Gathered, summarise

router = APIRouter(responses=PROBLEMS)
Accept = Annotated[str | None, Header(alias="accept", include_in_schema=False)]
Suffix = Annotated[str, Path(json_schema_extra={"enum": list(StudyForm)})]
_FORMS: dict[int | str, dict[str, Any]] = {
    200: {"content": {media: {} for media in STUDY_MEDIA.values()}}
}
_PAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {}}}}

ANALYSES, STUDIES = "/analyses", "/studies"
"""Where the pages of analyses and of studies are."""


class StudyLinks(BaseModel):
    """The addresses of the parts of a study."""

    model_config = ConfigDict(frozen=True)

    self: str
    report: str


class ListedStudy(BaseModel):
    """One study of the list."""

    model_config = ConfigDict(frozen=True)

    id: str
    label: str | None
    images: int
    received_at: str
    changed_at: str
    links: StudyLinks


class StudyList(BaseModel):
    """Some studies, the one that an image came to last first, and how many there are in all."""

    model_config = ConfigDict(frozen=True)

    studies: tuple[ListedStudy, ...]
    page: int
    total: int


class Study(BaseModel):
    """One study: its images with their states, and its own."""

    model_config = ConfigDict(frozen=True)

    id: str
    label: str | None
    status: Status
    outcome: Outcome
    complete: bool
    """Whether no image waits for its report any more."""
    received_at: str
    changed_at: str
    images: tuple[StudyImage, ...]
    links: StudyLinks


@router.get("/studies", response_model=StudyList, responses=_PAGE)
def list_studies(
    served: Served,
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    accept_header: Accept = None,
) -> Response:
    """Return the studies, the one that an image came to last first, as JSON or as a page."""
    found = served.store.studies.page(STUDY_ROWS, (page - 1) * STUDY_ROWS)
    if wants_page(accept_header):
        return _varying(studies_page(found, page))
    listed = StudyList(studies=tuple(map(_listed, found.entries)), page=page, total=found.total)
    return _varying(JSONResponse(listed.model_dump(mode="json"), OK))


@router.get("/studies/{study_id}", response_model=Study, responses=_PAGE)
def show_study(study_id: str, served: Served, accept_header: Accept = None) -> Response:
    """Return the images of a study and their states as JSON, or its summary as a page."""
    html = wants_page(accept_header)
    try:
        _, report = _summary(served, study_id)
    except ServiceError as error:
        if not html:
            raise
        return _varying(problem_page(error))
    if html:
        return _varying(study_page(report))
    shown = Study(
        id=study_id,
        label=report.label,
        status=report.status,
        outcome=report.outcome,
        complete=report.complete,
        received_at=report.received_at,
        changed_at=report.changed_at,
        images=report.images,
        links=_links(study_id),
    )
    return _varying(JSONResponse(shown.model_dump(mode="json"), OK))


@router.get("/studies/{study_id}/report", response_model=StudyReport, responses=_FORMS)
def show_study_report(study_id: str, served: Served, accept_header: Accept = None) -> Response:
    """Return the summary of a study in the form that Accept prefers."""
    return _report(served, study_id, negotiated_of(accept_header, STUDY_MEDIA))


@router.get("/studies/{study_id}/report.{suffix}", response_model=StudyReport, responses=_FORMS)
def show_study_report_form(study_id: str, suffix: Suffix, served: Served) -> Response:
    """Return the summary of a study in the form that the suffix names.

    The suffixes are json, html, txt, pdf, dcm (SR), fhir.json and dicom.zip: the SR with the images
    that it refers to, and the SR and the SEG of each image.
    """
    try:
        form = StudyForm(suffix)
    except ValueError:
        raise NotFound(
            f"There is no form .{suffix[:20]} of a study; there are {', '.join(StudyForm)}."
        ) from None
    return _report(served, study_id, form)


def _summary(served: Services, study_id: str) -> tuple[Gathered, StudyReport]:
    gathered = served.store.studies.gathered(study_id)
    return gathered, summarise(gathered, served.store.studies.earlier(study_id))


def _report(served: Services, study_id: str, form: StudyForm) -> Response:
    gathered, report = _summary(served, study_id)
    store = served.store
    made = render_study(
        form,
        StudySubject(
            report=report,
            members=tuple(one.report for one in gathered.members if one.report is not None),
            png=lambda analysis_id: store.png(store.analysis(analysis_id).image_key),
            code_version=code_version(),
            analyses=ANALYSES,
            studies=STUDIES,
        ),
    )
    response = _response(form, made, study_id)
    response.headers["Content-Location"] = f"{STUDIES}/{study_id}/report.{form}"
    return _varying(response)


def _response(form: StudyForm, made: bytes, study_id: str) -> Response:
    if form is StudyForm.HTML:
        return page(made.decode())
    charset = "; charset=utf-8" if form is StudyForm.TXT else ""
    response = Response(made, media_type=STUDY_MEDIA[form] + charset)
    if form in (StudyForm.SR, StudyForm.ARCHIVE):
        name = f"study-{study_id}.{form}"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _listed(entry: StudyEntry) -> ListedStudy:
    return ListedStudy(
        id=entry.id,
        label=entry.label,
        images=entry.images,
        received_at=entry.received_at,
        changed_at=entry.changed_at,
        links=_links(entry.id),
    )


def _links(study_id: str) -> StudyLinks:
    here = f"{STUDIES}/{study_id}"
    return StudyLinks(self=here, report=f"{here}/report")


def _varying(response: Response) -> Response:
    response.headers["Vary"] = "Accept"
    return response
