"""The forms of a report, and which of them a request gets."""

from enum import StrEnum

from fastapi.responses import Response

from app.errors import NotAcceptable
from app.responses import OK, page
from app.store import Store
from reports.html import to_html
from reports.model import Report
from reports.text import to_text


class ReportForm(StrEnum):
    """A form of the report, by its suffix."""

    JSON = "json"
    HTML = "html"
    TXT = "txt"


_MEDIA = {
    ReportForm.JSON: "application/json",
    ReportForm.HTML: "text/html",
    ReportForm.TXT: "text/plain",
}


def negotiated(accept: str | None) -> ReportForm:
    """The form that an Accept header likes best; JSON where it has no preference (RFC 9110, 12.5.1).

    Raises:
        NotAcceptable: it accepts none of them.
    """
    weights = _weights(accept or "*/*")
    best, weight = max(
        ((form, _weight(media, weights)) for form, media in _MEDIA.items()),
        key=lambda pair: pair[1],
    )
    if weight <= 0:
        raise NotAcceptable(f"The report exists as {', '.join(_MEDIA.values())}.")
    return best


def report_response(store: Store, analysis_id: str, form: ReportForm) -> Response | None:
    """The newest report in that form; None while there is none."""
    body = store.report_json(analysis_id)
    if body is None:
        return None
    if form is ReportForm.JSON:
        response = Response(body, status_code=OK, media_type="application/json")
    else:
        report = Report.model_validate_json(body)
        if form is ReportForm.HTML:
            response = page(to_html(report, f"/analyses/{analysis_id}/image.png"))
        else:
            response = Response(to_text(report), media_type="text/plain; charset=utf-8")
    response.headers["Content-Location"] = f"/analyses/{analysis_id}/report.{form}"
    response.headers["Vary"] = "Accept"
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
    """The weight of the most specific range that holds `media`."""
    ranges = (media, f"{media.partition('/')[0]}/*", "*/*")
    return next((weights[name] for name in ranges if name in weights), 0.0)
