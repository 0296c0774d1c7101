"""The evaluation as one HTML page with plots and the worst images.

The page shows images of patients and stays outside git.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from specialists.errors import TrainingError
from specialists.manifest import Metric
from specialists.training.evaluation.drawing import PALETTE
from specialists.training.evaluation.evaluate import Score, limits_of
from specialists.training.evaluation.gallery import Picture, worst_pictures
from specialists.training.evaluation.plots import Plot, plots_of
from specialists.training.evaluation.scores import Evaluation


@dataclass(frozen=True, kw_only=True)
class Section:
    """One task on the page."""

    task: str
    title: str
    score: Score
    plots: list[Plot]
    pictures: list[Picture]


def write_page(evaluation: Evaluation, path: Path, *, worst: int) -> None:
    """Write the page, which needs no other file, with the `worst` worst images of each task.

    Raises:
        TrainingError: the path lies in a git checkout, where images of patients must not go.
    """
    check_outside_git(path)
    options = evaluation.options
    sections = []
    for task, score in evaluation.scores.items():
        judged = score.judged
        sections.append(
            Section(
                task=task,
                title=judged.entry.title,
                score=score,
                plots=plots_of(judged, lambda found, rows=judged.rows: limits_of(found, rows)),  # type: ignore[misc]
                pictures=worst_pictures(judged, options.predictions, options.data_root, worst),
            )
        )
    text = _ENVIRONMENT.get_template("evaluation.html.j2").render(
        evaluation=evaluation, sections=sections, style=_STYLE, policy=_POLICY
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def check_outside_git(path: Path) -> None:
    """Check that neither the path nor a folder above it is a git checkout.

    Raises:
        TrainingError: one is; the message names it.
    """
    for folder in (path.resolve(), *path.resolve().parents):
        if (folder / ".git").exists():
            raise TrainingError(
                f"{path} lies in the git checkout {folder}. It would hold images of patients: "
                "choose a place outside."
            )


def _interval(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return ""
    return f"{metric.low:.3f} to {metric.high:.3f}"


def _headline(metrics: Sequence[Metric]) -> str:
    return f"{metrics[0].name} {metrics[0].value:.3f}" if metrics else "no figure"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("specialists.training.evaluation"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({"interval": _interval, "headline": _headline})
    return environment


_ENVIRONMENT = _environment()
_STYLE = Markup(_ENVIRONMENT.get_template("evaluation.css.j2").render(palette=PALETTE))
_POLICY = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)
