"""A report as plain text."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.layout import lay_out
from reports.model import Report
from reports.wording.phrases import NOT_FOR_CLINICAL_USE

_ENVIRONMENT = Environment(
    loader=PackageLoader("reports"),
    undefined=StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def to_text(report: Report) -> str:
    """Render the whole report as lines of text, in the order of `reports.layout`."""
    template = _ENVIRONMENT.get_template("report.txt.j2")
    return template.render(
        report=report, laid=lay_out(report), not_for_clinical_use=NOT_FOR_CLINICAL_USE
    )
