"""A report as plain text."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.measure.intervals import caveat
from reports.model import Report
from reports.wording import NOT_FOR_CLINICAL_USE, exam_basis

_ENVIRONMENT = Environment(
    loader=PackageLoader("reports"),
    undefined=StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters.update({"exam_basis": exam_basis, "caveat": caveat})


def to_text(report: Report) -> str:
    """Render the whole report as lines of text; evidence is named by its id in square brackets."""
    template = _ENVIRONMENT.get_template("report.txt.j2")
    return template.render(report=report, not_for_clinical_use=NOT_FOR_CLINICAL_USE)
