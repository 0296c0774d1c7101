"""Implementation of `ustri evaluate`: every task's score, as data and as the JSON file."""

import json
from dataclasses import dataclass
from pathlib import Path

from specialists.errors import TrainingError
from specialists.manifest import Manifest
from specialists.training.data.tables import rows_by_task
from specialists.training.evaluation.evaluate import Score, rows_of_split, score_rows, share_columns
from specialists.training.evaluation.predict import entry_for
from specialists.training.evaluation.prediction_files import any_prediction

SCORES = "scores.json"


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What to score: a folder of predictions against the labels of a data root."""

    predictions: Path
    data_root: Path
    split: str | None = None
    namespace: str | None = None
    tasks: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores by task, and the reason why a task with predictions has none."""

    options: EvaluationOptions
    scores: dict[str, Score]
    problems: list[str]

    def as_json(self) -> str:
        """Return the scores as JSON.

        Each task has its rows, rows without a prediction, metrics, those of each data set, and
        problems.
        """
        found = {
            task: {
                "rows": score.rows,
                "missing": score.missing,
                "metrics": [metric.model_dump() for metric in score.metrics],
                "datasets": {
                    name: [metric.model_dump() for metric in metrics]
                    for name, metrics in score.by_dataset.items()
                },
                "problems": score.problems,
            }
            for task, score in self.scores.items()
        }
        return json.dumps(found, indent=1)


def evaluate(manifest: Manifest, options: EvaluationOptions) -> Evaluation:
    """Score prediction files, from USTri or elsewhere.

    A task is scored when there is any prediction of it, or when `options.tasks` names it.

    Raises:
        TrainingError: labels are missing or cannot be read, a named task is not known, or there is
            nothing to score.
    """
    found, problems = rows_by_task(options.data_root, ("image_path",))
    share_columns(found)
    scores: dict[str, Score] = {}
    for task in options.tasks or found:
        try:
            entry = entry_for(manifest, task, options.namespace)
            rows = found.get(task, [])
            if options.tasks or any_prediction(entry, rows, options.predictions):
                chosen = rows_of_split(task, rows, options.split)
                scores[task] = score_rows(entry, chosen, options.predictions, options.data_root)
        except TrainingError as error:
            if options.tasks:
                raise
            problems.append(f"{task!r} was not scored: {error}")
    if not scores:
        nothing = f"{options.predictions} holds no predictions for a task of {options.data_root}."
        raise TrainingError(" ".join([nothing, *problems]))
    return Evaluation(options=options, scores=scores, problems=problems)


def write_scores(evaluation: Evaluation, path: Path | None) -> Path:
    """Write the scores as JSON and return the path: `path`, or `scores.json` by the predictions."""
    path = path or evaluation.options.predictions / SCORES
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(evaluation.as_json(), encoding="utf-8")
    return path
