"""Plots of an evaluation: ROC, reliability, Bland–Altman, and every image's score.

matplotlib draws them; it comes with the extra `train`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from scipy.stats import binomtest
from sklearn.metrics import auc, roc_curve

from specialists.manifest import Metric
from specialists.training.calibration.error import score_bins
from specialists.training.data.tables import Row
from specialists.training.evaluation.clinical import Agreement
from specialists.training.evaluation.drawing import Drawing
from specialists.training.evaluation.evaluate import datasets_of
from specialists.training.evaluation.judge import Classes, Judged

LONGEST_NAME = 13
"""Most characters of a data set's name that fit beside the axis."""


@dataclass(kw_only=True)
class Plot:
    """One plot and what is said below it; `images` is the number of images in it."""

    kind: str
    images: int
    drawing: Drawing
    notes: list[str] = field(default_factory=list)

    def svg(self, salt: str) -> Markup:
        """Return the SVG element; plots of one page differ in their `salt`."""
        return self.drawing.svg(salt)


def plots_of(judged: Judged, limits: Callable[[Agreement], list[Metric]]) -> list[Plot]:
    """Return all plots of this kind of task; `limits` gives bias and limits of agreement."""
    found = [spread(judged)]
    if judged.classes is not None:
        found = [roc(judged, judged.classes), reliability(judged, judged.classes), *found]
    return [
        *(
            bland_altman(agreement, judged.rows, limits(agreement))
            for agreement in judged.agreements
        ),
        *found,
    ]


def roc(judged: Judged, classes: Classes) -> Plot:
    """Plot sensitivity against 1 − specificity, one class against the rest.

    A missing prediction counts as wrong.
    """
    labels, count = judged.entry.labels, len(judged.rows)
    drawing = Drawing("ROC", "1 − specificity", "sensitivity", count)
    plot = Plot(kind="roc", images=count, drawing=drawing)
    drawing.line([0, 1], [0, 1], "guide")
    for index in [1] if len(labels) == 2 else range(len(labels)):
        truth = classes.truth == index
        if truth.all() or not truth.any():
            plot.notes.append(f"No curve for {labels[index]}: the labels hold it always or never.")
            continue
        wrong, right, _ = roc_curve(truth, classes.scores[:, index], drop_intermediate=False)
        said = f"{labels[index]}: AUC {auc(wrong, right):.3f}"
        drawing.line(wrong, right, f"curve-{index % 6}", said)
    return plot


def reliability(judged: Judged, classes: Classes) -> Plot:
    """Plot how often a score comes true: of two classes the second's, of more the highest."""
    labels = judged.entry.labels
    missing = judged.given.missing(judged.rows)
    shown = [index for index in range(len(judged.rows)) if index not in missing]
    scores, truth = classes.scores[shown], classes.truth[shown]
    two = len(labels) == 2
    score = scores[:, 1] if two else scores.max(1)
    true = (truth == 1) if two else truth == scores.argmax(1)
    drawing = Drawing(
        "Reliability",
        f"score for {labels[1]}" if two else "highest score",
        f"share that is {labels[1]}" if two else "share that is right",
        len(shown),
    )
    drawing.axes.set(xlim=(-0.02, 1.02), ylim=(-0.1, 1.1))
    drawing.line([0, 1], [0, 1], "guide")
    titles = [
        _named(judged.rows[index], f"score {x:.3f}") for index, x in zip(shown, score, strict=True)
    ]
    drawing.dots(score, np.where(true, 1.05, -0.05), titles, "rug")
    _bins(drawing, score, true)
    plot = Plot(kind="reliability", images=len(shown), drawing=drawing)
    plot.notes.append(
        "Dashed: perfectly calibrated. "
        f"Bars: 95 % interval of the share (Wilson). Ticks: one image each, above where it is "
        f"{labels[1] if two else 'right'}, below where it is not."
    )
    if missing:
        plot.notes.append(f"{len(missing)} images without a prediction are not in it.")
    return plot


def _bins(drawing: Drawing, score: npt.NDArray[np.float64], true: npt.NDArray[np.bool_]) -> None:
    """Draw each bin's mean score against the share that is true, with its interval."""
    x, y, titles = [], [], []
    for inside in score_bins(score):
        hits, count = int(true[inside].sum()), len(inside)
        interval = binomtest(hits, count).proportion_ci(method="wilson")
        x.append(float(score[inside].mean()))
        y.append(hits / count)
        titles.append(f"{count} images: mean score {x[-1]:.2f}, share {y[-1]:.2f}")
        drawing.line([x[-1], x[-1]], [interval.low, interval.high], "whisker")
    drawing.dots(x, y, titles, "bin")


def bland_altman(agreement: Agreement, rows: Sequence[Row], limits: Sequence[Metric]) -> Plot:
    """Plot difference against mean of the two measurements.

    Bias and limits of agreement are drawn with their intervals.
    """
    seen = np.flatnonzero(np.isfinite(agreement.measured))
    differences = agreement.differences[seen]
    means = agreement.truth[seen] + differences / 2
    drawing = Drawing(
        "\n".join(filter(None, [f"Bland–Altman: {agreement.name}", agreement.source])),
        f"mean of both, {agreement.unit}",
        f"predicted − label, {agreement.unit}",
        len(seen),
    )
    plot = Plot(kind="bland-altman", images=len(seen), drawing=drawing)
    drawing.across(0, "guide")
    for metric in limits:
        if metric.low is not None and metric.high is not None:
            drawing.band(metric.low, metric.high)
        drawing.across(metric.value, "bias" if metric.name == "bias" else "limit")
        plot.notes.append(_said(metric, agreement.unit))
    titles = [
        _named(rows[agreement.rows[place]], f"{difference:+.2f} {agreement.unit}")
        for place, difference in zip(seen, differences, strict=True)
    ]
    drawing.dots(means, differences, titles)
    lost = len(agreement.rows) - len(seen)
    if lost:
        plot.notes.append(f"{lost} images gave no measurement and are not in it")
    plot.notes = ["; ".join(plot.notes) + ". Brackets and bands: 95 % bootstrap over groups."]
    return plot


def spread(judged: Judged) -> Plot:
    """Plot every image's score, one row for each data set."""
    values = judged.per_image.values
    shown = np.flatnonzero(np.isfinite(values))
    names = datasets_of(judged.rows) or [str(judged.rows[0].get("dataset", judged.entry.task_id))]
    name = judged.per_image.name
    drawing = Drawing(f"Every image's {name}", name, "", len(shown))
    places = np.arange(len(names)) + 0.5
    drawing.axes.set(ylim=(0, len(names)), yticks=places, yticklabels=[_cut(n) for n in names])
    if not judged.per_image.larger_is_worse:
        drawing.axes.set_xlim(-0.02, 1.02)
    rng = np.random.default_rng(0)
    heights = [
        (names.index(str(judged.rows[index].get("dataset"))) if len(names) > 1 else 0)
        + 0.5
        + rng.uniform(-0.38, 0.38)
        for index in shown
    ]
    titles = [_named(judged.rows[index], f"{values[index]:.3f}") for index in shown]
    drawing.dots(values[shown], heights, titles)
    if len(shown):
        middle = float(np.median(values[shown]))
        drawing.line([middle, middle], [0, len(names)], "bias", f"median {middle:.3g}")
    return Plot(kind="spread", images=len(shown), drawing=drawing)


def _said(metric: Metric, unit: str) -> str:
    text = f"{metric.name} {metric.value:.2f} {unit}"
    if metric.low is not None and metric.high is not None:
        text += f" ({metric.low:.2f} to {metric.high:.2f})"
    return text.replace("-", "−")


def _named(row: Row, what: str) -> str:
    return f"{PurePosixPath(str(row['image_path'])).name}: {what}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
