"""The worklist: rows of analyses with search, filters, sorting and pages, and the upload form.

A plain request gets the whole page; htmx, which asks with `HX-Request`, gets the list alone, and
304 where the list that it has is still true.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Header, Query
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, model_validator

from app.storage.tables import JobState
from app.storage.worklist import Entry, Page
from app.storage.worklist_search import LONGEST as LONGEST_SEARCH
from app.storage.worklist_search import Order, Search, Standing
from app.web.dependencies import Served, Services
from app.web.pages.templating import html_page
from app.web.pages.times import age_text, utc_text
from app.web.pages.upload import upload_form
from app.web.problems import NOT_MODIFIED, OK
from planner.protocols import read_protocols
from reports.model import ExamCode, Outcome

ROWS = 25
"""Rows on one page of the worklist."""

BUSY_POLL_S, POLL_S = 2, 5
"""How often a browser asks for changes: while a row that it shows is in progress, and else."""

UNREADABLE = "The report was written in a form that cannot be read here; its JSON is kept."

STANDINGS = {
    Standing.IN_PROGRESS: "In progress",
    Standing.FAILED: "Failed",
    Standing.PRELIMINARY: "Preliminary",
    Standing.FINAL: "Final",
    Standing.AMENDED: "Amended",
}
ORDERS = {
    Order.NEWEST: "Newest first",
    Order.OLDEST: "Oldest first",
    Order.EXAM: "Exam",
    Order.LABEL: "Label",
    Order.REVIEW: "To review first",
}

_TONES = {Outcome.REPORTED: "good", Outcome.PARTIAL: "warn", Outcome.REFUSED: "bad"}

router = APIRouter(include_in_schema=False)


class Asked(BaseModel):
    """What the address of a worklist asks for; a blank parameter is an absent one."""

    model_config = ConfigDict(frozen=True)

    q: str = ""
    exam: ExamCode | None = None
    status: Standing | None = None
    flagged: bool = False
    refused: bool = False
    sort: Order = Order.NEWEST
    page: Annotated[int, Query(ge=1, le=10_000)] = 1

    @model_validator(mode="before")
    @classmethod
    def without_blanks(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters that are not blank, the search cut to what counts."""
        kept = {name: value for name, value in given.items() if value != ""}
        return kept | {"q": kept["q"][:LONGEST_SEARCH].strip()} if "q" in kept else kept

    @property
    def search(self) -> Search:
        """The search in the store's words."""
        return Search(
            text=self.q,
            exam=self.exam,
            standing=self.status,
            flagged=self.flagged,
            refused=self.refused,
            order=self.sort,
        )

    def address(self, page: int) -> str:
        """Return the address of a page of the same search."""
        given = self.model_dump(mode="json", exclude_defaults=True, exclude={"page"})
        given |= {name: 1 for name in ("flagged", "refused") if name in given}
        given |= {"page": page} if page > 1 else {}
        return f"/?{urlencode(given)}" if given else "/"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the worklist, as displayed."""

    id: str
    href: str
    thumbnail: str
    title: str
    label: str | None
    synthetic: bool
    headline: str
    value_name: str | None
    value: str | None
    outcome: str
    tone: str
    flagged: bool
    status: str
    received: str
    age: str
    opens: str

    @property
    def received_text(self) -> str:
        """The time of arrival for a reader without JavaScript."""
        return utc_text(self.received)


@router.get("/")
def worklist(
    served: Served,
    asked: Annotated[Asked, Query()],
    hx_request: Annotated[bool, Header()] = False,
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """Show a page of the analyses that are asked for, with the form that adds one."""
    found = _page_of(served, asked)
    headers = {"ETag": _etag(asked, found), "Vary": "HX-Request"}
    if not hx_request:
        return _whole_page(served, asked, found)
    if if_none_match == headers["ETag"]:
        return Response(status_code=NOT_MODIFIED, headers=headers)
    answer = html_page("worklist_list.html", OK, **_list(asked, found), fragment=True)
    answer.headers.update(headers)
    return answer


def _whole_page(served: Services, asked: Asked, found: Page) -> HTMLResponse:
    answer = html_page(
        "worklist.html",
        OK,
        form=upload_form(served),
        asked=asked,
        exam_titles=exam_titles(),
        standings=STANDINGS,
        orders=ORDERS,
        longest_search=LONGEST_SEARCH,
        fragment=False,
        **_list(asked, found),
    )
    answer.headers["Vary"] = "HX-Request"
    return answer


def exam_titles() -> dict[ExamCode, str]:
    """Return the exams that a protocol covers with their titles, in protocol order."""
    return {code: protocol.title for code, protocol in read_protocols().exams.items()}


def _page_of(served: Services, asked: Asked) -> Page:
    return served.store.worklist.page(ROWS, (asked.page - 1) * ROWS, asked.search)


def _etag(asked: Asked, found: Page) -> str:
    """Return a tag that changes whenever the list says something else, its ages aside."""
    return f'"{hashlib.sha256(repr((asked, found)).encode()).hexdigest()[:32]}"'


def _list(asked: Asked, found: Page) -> dict[str, object]:
    """Return what the list's template shows."""
    now = datetime.now(UTC)
    before = (asked.page - 1) * ROWS
    pages = max(1, -(-found.total // ROWS))
    busy = any(entry.state in (JobState.QUEUED, JobState.RUNNING) for entry in found.entries)
    return {
        "rows": [_row(entry, now) for entry in found.entries],
        "narrowed": asked.search.narrows,
        "heading": _heading(asked),
        "here": asked.address(asked.page),
        "total_text": _total_text(asked.search, found),
        "range_text": f"{before + 1} to {before + len(found.entries)} of {found.total}",
        "number": asked.page,
        "pages": pages,
        "first": asked.address(1) if asked.page > 1 else None,
        "previous": asked.address(min(asked.page - 1, pages)) if asked.page > 1 else None,
        "next": asked.address(asked.page + 1) if asked.page < pages else None,
        "last": asked.address(pages) if asked.page < pages else None,
        "etag": _etag(asked, found),
        "poll_s": BUSY_POLL_S if busy else POLL_S,
    }


def _heading(asked: Asked) -> str:
    """Return what tells this worklist apart from another one, for the title of the page."""
    parts = ["Worklist"]
    parts += [f"“{asked.q}”"] if asked.q else []
    parts += [exam_titles().get(asked.exam, asked.exam)] if asked.exam else []
    parts += [STANDINGS[asked.status].lower()] if asked.status else []
    parts += ["to review"] * asked.flagged + ["refused"] * asked.refused
    parts += [f"page {asked.page}"] if asked.page > 1 else []
    return ", ".join(parts)


def _total_text(search: Search, found: Page) -> str:
    kept = f"{found.kept} {'analysis' if found.kept == 1 else 'analyses'}"
    return f"{found.total} of {kept}" if search.narrows else kept


def _row(entry: Entry, now: datetime) -> Row:
    said, outcome = entry.summary, entry.outcome
    here = f"/analyses/{entry.analysis_id}"
    failed = entry.state is JobState.FAILED
    unread = outcome is not None and said is None
    return Row(
        id=entry.analysis_id,
        href=f"{here}/report.json" if unread else f"{here}/view",
        thumbnail=f"{here}/thumbnail.png?version={entry.version if said else 0}",
        title=_title(entry),
        label=entry.label,
        synthetic=entry.synthetic,
        headline=UNREADABLE if unread else said.headline if said else entry.problem or "",
        value_name=said.number_name if said else None,
        value=said.value if said else None,
        outcome=outcome or ("failed" if failed else "in progress"),
        tone=_TONES[outcome] if outcome else "bad" if failed else "busy",
        flagged=said is not None and said.flagged,
        status=str(said.status if said else entry.state),
        received=entry.created_at,
        age=age_text(entry.created_at, now),
        opens=_opens(entry),
    )


def _opens(entry: Entry) -> str:
    """Return what the link of a row does."""
    if entry.summary is not None:
        return "Open report"
    if entry.outcome is not None:
        return "Open JSON"
    return "See why" if entry.state is JobState.FAILED else "Follow"


def _title(entry: Entry) -> str:
    """Return what was examined; of a report that could not be read, its analysis's id."""
    if entry.summary is not None:
        return entry.summary.title
    if entry.outcome is not None:
        return f"Analysis {entry.analysis_id}"
    exam = entry.requested_exam
    if exam is not None:
        return exam_titles()[exam]
    return "Not recognised" if entry.state is JobState.FAILED else "Not recognised yet"
