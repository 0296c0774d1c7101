"""A report as an HTML page: the image with overlays, and beside it the statements they support.

The page needs no script, so that it works as a file, in a mail, and under the strictest content
security policy: toggles are check boxes, and hovering or focussing a statement highlights its
evidence through `:has()`. The viewer has a page of its own (app/web/pages/templates/report.html)
with the same statements and overlays.
"""

import base64
import hashlib

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.forms.svg import to_svg_layers, view_box
from reports.measure.intervals import caveat
from reports.model import Report
from reports.wording import NOT_FOR_CLINICAL_USE, exam_basis, score_text, sentence

_LIT_IDS = 96
"""How many evidence ids the style sheet can highlight on hovering; `:target` works for all."""


def to_html(report: Report, image_href: str | None) -> str:
    """Render a complete page.

    Args:
        report: the report.
        image_href: the image's address or data: URI; None: the image is left out.
    """
    return _ENVIRONMENT.get_template("report.html.j2").render(
        report=report,
        article=to_fragment(report, image_href),
        style=STYLE,
        policy=CONTENT_SECURITY_POLICY,
    )


def to_fragment(report: Report, image_href: str | None) -> Markup:
    """Render the page's `<article class="report">`, for a page that includes `STYLE` itself."""
    text = _ENVIRONMENT.get_template("article.html.j2").render(
        report=report,
        image_href=image_href,
        layers=to_svg_layers(report),
        view_box=view_box(report),
        not_for_clinical_use=NOT_FOR_CLINICAL_USE,
        kinds=_kinds(report),
    )
    return Markup(text)


def _kinds(report: Report) -> list[str]:
    """Return the kinds of overlay that this report has, in drawing order."""
    present = {item.kind for item in report.evidence}
    return [kind for kind in ("mask", "box", "points") if kind in present]


def _anchor(evidence_id: str, report: Report) -> str:
    """Return the URL fragment of a piece of evidence: its overlay, or its row where it has none."""
    kinds = {item.id: item.kind for item in report.evidence}
    place = "evidence" if kinds[evidence_id] == "scores" else "overlay"
    return f"#{place}-{evidence_id}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {
            "caveat": caveat,
            "anchor": _anchor,
            "exam_basis": exam_basis,
            "score_text": score_text,
            "sentence": sentence,
        }
    )
    return environment


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src 'self' data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


_ENVIRONMENT = _environment()

STYLE = Markup(_ENVIRONMENT.get_template("report.css.j2").render(lit_ids=_LIT_IDS))
"""The page's style sheet; it does not depend on the report."""

CONTENT_SECURITY_POLICY = _policy(STYLE)
"""The policy that the page states in a `<meta>`; a server of the page sends it as a header too."""
