"""The summary of a study as plain text."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.forms.study.rows import image_words, title_of
from reports.study.model import StudyReport
from reports.wording.phrases import NOT_FOR_CLINICAL_USE

_ENVIRONMENT = Environment(
    loader=PackageLoader("reports"),
    undefined=StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def to_text(report: StudyReport) -> str:
    """Render the whole summary as lines of text."""
    return _ENVIRONMENT.get_template("study.txt.j2").render(
        report=report,
        title=title_of(report),
        words=image_words,
        not_for_clinical_use=NOT_FOR_CLINICAL_USE,
    )
