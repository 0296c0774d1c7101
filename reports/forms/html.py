"""A report as an HTML page: the image with overlays, and beside it the statements they support.

The page needs no script, so that it works as a file, in a mail, and under the strictest content
security policy: toggles are check boxes, and hovering or focussing a statement highlights its
evidence through `:has()`. The viewer shows the same article (app/web/pages/templates/report.html).
"""

import base64
import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.forms.overlay.naming import drawn
from reports.forms.overlay.scene import scene_of
from reports.forms.rows import (
    evidence_names,
    evidence_rows,
    headline_notes,
    number_table,
    picture_text,
    step_rows,
    unsaid,
)
from reports.forms.svg import to_svg_layers, view_box
from reports.layout import lay_out
from reports.model import Report
from reports.wording.phrases import NOT_FOR_CLINICAL_USE

_LIT_IDS = 96
"""How many evidence ids the style sheet can highlight on hovering; `:target` works for all."""


@dataclass(frozen=True, kw_only=True)
class Around:
    """What the viewer adds to the article: parts below the image, and links to specialists' cards.

    `below_image` stands in the place of the page's own switches.
    """

    below_image: Markup
    cards: Collection[str] = frozenset()


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


def to_fragment(report: Report, image_href: str | None, around: Around | None = None) -> Markup:
    """Render the page's `<article class="report">`, for a page that has `ARTICLE_STYLE` itself."""
    scene = scene_of(report)
    laid = lay_out(report)
    text = _ENVIRONMENT.get_template("article.html.j2").render(
        report=report,
        laid=laid,
        tables={part.name: number_table(part, report) for part in laid.structures},
        image_href=image_href,
        layers=to_svg_layers(report, scene),
        view_box=view_box(scene),
        inks=scene.inks,
        names=evidence_names(report),
        anchors=_anchors(report),
        evidence=evidence_rows(report),
        steps=step_rows(report),
        picture_text=picture_text(report),
        unsaid=unsaid(report),
        headline_notes=headline_notes(report),
        not_for_clinical_use=NOT_FOR_CLINICAL_USE,
        kinds=_kinds(report),
        around=around,
    )
    return Markup(text)


def _kinds(report: Report) -> list[str]:
    """Return the kinds of overlay that this report has, in drawing order."""
    present = {item.kind for item in drawn(report)}
    return [kind for kind in ("mask", "box", "points") if kind in present]


def _anchors(report: Report) -> dict[str, str]:
    """Return the URL fragment of each piece of evidence: its overlay, or its row if it has none."""
    overlaid = {item.id for item in drawn(report)}
    return {
        item.id: f"#{'overlay' if item.id in overlaid else 'evidence'}-{item.id}"
        for item in report.evidence
    }


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("reports"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src 'self' data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


_ENVIRONMENT = _environment()

ARTICLE_STYLE = Markup(
    _ENVIRONMENT.get_template("article.css.j2").render(
        lit_ids=_LIT_IDS, not_for_clinical_use=NOT_FOR_CLINICAL_USE
    )
)
"""The style sheet of the article, for the page and for the viewer."""

STYLE = Markup(_ENVIRONMENT.get_template("report.css.j2").render()) + ARTICLE_STYLE
"""The page's style sheet; it does not depend on the report."""

CONTENT_SECURITY_POLICY = _policy(STYLE)
"""The policy that the page states in a `<meta>`; a server of the page sends it as a header too."""
