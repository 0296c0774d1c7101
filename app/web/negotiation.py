"""Content negotiation: the forms of a report over HTTP, and which of them a request gets."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from fastapi.responses import Response

from app.errors import NotAcceptable
from app.storage.store import Store
from app.web.problems import OK, page
from reports.forms.render import MEDIA, ReportForm, Subject, render
from reports.model import Report
from reports.upgrade import read_report

Form = TypeVar("Form", bound=str)

_TEXT = frozenset({ReportForm.JSON, ReportForm.HTML, ReportForm.TXT})
"""Forms that are made without the image."""


def negotiated(accept: str | None) -> ReportForm:
    """Return the form that an Accept header prefers; JSON if it has no preference.

    The header is defined in RFC 9110, section 12.5.1.

    Raises:
        NotAcceptable: the header accepts none of the forms.
    """
    return negotiated_of(accept, MEDIA)


def negotiated_of(accept: str | None, offered: Mapping[Form, str]) -> Form:
    """Return the form that an Accept header prefers, of those offered with their media types.

    Raises:
        NotAcceptable: the header accepts none of the forms.
    """
    best = preferred(accept, tuple(offered.values()))
    if best is None:
        raise NotAcceptable(f"The report exists as {', '.join(dict.fromkeys(offered.values()))}.")
    return next(form for form, media in offered.items() if media == best)


def wants_page(accept: str | None) -> bool:
    """Return whether an Accept header prefers HTML to JSON; False if it has no preference.

    Raises:
        NotAcceptable: the header accepts neither.
    """
    best = preferred(accept, ("application/json", "text/html"))
    if best is None:
        raise NotAcceptable("It exists as application/json, text/html.")
    return best == "text/html"


def preferred(accept: str | None, offered: Sequence[str]) -> str | None:
    """Return the offered media type that an Accept header prefers, or None if it accepts none.

    Of equally preferred media types, the first offered is returned.
    """
    weights = _weights(accept or "*/*")
    best = max(offered, key=lambda media: _weight(media, weights))
    return best if _weight(best, weights) > 0 else None


def report_response(store: Store, analysis_id: str, form: ReportForm) -> Response | None:
    """Return the newest report in that form; None while there is none.

    Raises:
        NothingOutlined: the report holds no outline of which to make the form.
        NoBiometry: the report states no size of a fetal head in millimetres.
        FormNotInstalled: this installation lacks a library that the form needs.
    """
    body = store.report_json(analysis_id)
    if body is None:
        return None
    if form is ReportForm.JSON:
        response = Response(body, status_code=OK, media_type="application/json")
    else:
        response = _rendered(store, analysis_id, form, read_report(body))
    response.headers["Content-Location"] = f"/analyses/{analysis_id}/report.{form}"
    response.headers["Vary"] = "Accept"
    return response


def _rendered(store: Store, analysis_id: str, form: ReportForm, report: Report) -> Response:
    analysis = store.analysis(analysis_id)
    made = render(
        form,
        Subject(
            report=report,
            png=b"" if form in _TEXT else store.png(analysis.image_key),
            image_href=f"/analyses/{analysis_id}/image.png",
            started_at=store.studies.started_at(analysis),
        ),
    )
    if form is ReportForm.HTML:
        return page(made.decode())
    charset = "; charset=utf-8" if form is ReportForm.TXT else ""
    response = Response(made, media_type=MEDIA[form] + charset)
    if MEDIA[form] == "application/dicom":
        name = f"{report.report_id}.{form}"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _weights(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        weights[media] = weight
    return weights


def _weight(media: str, weights: dict[str, float]) -> float:
    """Return the weight of the most specific media range that contains `media`."""
    ranges = (media, f"{media.partition('/')[0]}/*", "*/*")
    return next((weights[name] for name in ranges if name in weights), 0.0)
