"""Sentences from templates: the words lie in `reports/templates`, what they are given here."""

from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.wording.classes import caveat, verdict
from reports.wording.numbers import gap, unavailable
from reports.wording.phrases import capital, clause, listed, sentence, without_scores


def text(template: str, **context: object) -> str:
    """Render a template as one statement on one line."""
    return " ".join(_ENVIRONMENT.get_template(template).render(**context).split())


def lines(template: str, **context: object) -> tuple[str, ...]:
    """Render a template and return its lines that are not empty."""
    rendered = _ENVIRONMENT.get_template(template).render(**context).splitlines()
    return tuple(" ".join(line.split()) for line in rendered if line.strip())


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # otherwise each sentence checks the disk for a changed template
    )
    filters: dict[str, Callable[..., object]] = {
        "capital": capital,
        "caveat": caveat,
        "clause": clause,
        "gap": gap,
        "listed": listed,
        "sentence": sentence,
        "unavailable": unavailable,
        "verdict": verdict,
        "without_scores": without_scores,
    }
    environment.filters.update(filters)
    return environment


_ENVIRONMENT = _environment()
