"""The summary of a study as an HTML page without a script, and its article for the viewer."""

import base64
import hashlib
from collections import Counter
from datetime import UTC, datetime

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.forms.html import STYLE as REPORT_STYLE
from reports.forms.study.rows import comparison_rows, image_words, measurement_tables, title_of
from reports.study.model import StudyReport
from reports.wording.phrases import NOT_FOR_CLINICAL_USE


def to_html(report: StudyReport, analyses: str | None = None, studies: str | None = None) -> str:
    """Render a complete page.

    Args:
        report: the summary.
        analyses: the address below which each analysis has its page and thumbnail; without it the
            page shows no image.
        studies: the address below which studies are.
    """
    return _ENVIRONMENT.get_template("study.html.j2").render(
        title=title_of(report),
        article=to_fragment(report, analyses, studies),
        style=STYLE,
        policy=CONTENT_SECURITY_POLICY,
    )


def to_fragment(
    report: StudyReport, analyses: str | None = None, studies: str | None = None
) -> Markup:
    """Render the article of the page, for one that has the style sheets itself."""
    text = _ENVIRONMENT.get_template("study_article.html.j2").render(
        report=report,
        title=title_of(report),
        received=f"{datetime.fromisoformat(report.received_at).astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        tables=measurement_tables(report),
        comparisons=comparison_rows(report),
        taken_from=Counter(item.best for item in report.measurements if item.best is not None),
        words=image_words,
        links=analyses,
        studies=studies,
        not_for_clinical_use=NOT_FOR_CLINICAL_USE,
    )
    return Markup(text)


_ENVIRONMENT = Environment(
    loader=PackageLoader("reports"),
    undefined=StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)

STUDY_STYLE = Markup(_ENVIRONMENT.get_template("study.css.j2").render())
"""What the article of a study adds to the style sheet of a report's."""

STYLE = REPORT_STYLE + STUDY_STYLE
"""The page's style sheet; it does not depend on the study."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' data:; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'"
)
"""The policy that the page states in a `<meta>`."""
