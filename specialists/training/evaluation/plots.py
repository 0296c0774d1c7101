"""Plots of an evaluation as inline SVG: ROC, reliability, Bland–Altman, and every image's score.

There is no plotting library among the dependencies, and a page that carries its own vectors needs
none.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from specialists.manifest import Metric
from specialists.training.calibration.error import score_bins
from specialists.training.data.tables import Row
from specialists.training.evaluation import metrics
from specialists.training.evaluation.clinical import Agreement
from specialists.training.evaluation.evaluate import datasets_of
from specialists.training.evaluation.judge import Classes, Judged

Array = npt.NDArray[np.float64]

WIDTH, HEIGHT = 480, 360
LEFT, RIGHT, TOP, BOTTOM = 88, 18, 44, 52
LONGEST_TICK = 13
"""Most characters of a tick's text that fit beside the axis."""
Z95 = 1.96


@dataclass(frozen=True)
class Dot:
    """A mark in plot coordinates; `title` is its hover text."""

    x: float
    y: float
    title: str
    style: str = "dot"


@dataclass(frozen=True)
class Line:
    """A polyline in plot coordinates; `label` appears in the legend."""

    points: tuple[tuple[float, float], ...]
    style: str
    label: str = ""

    @property
    def path(self) -> str:
        """Its SVG path."""
        return "M" + " L".join(f"{x:.2f} {y:.2f}" for x, y in self.points)


@dataclass(frozen=True)
class Band:
    """A horizontal band in plot coordinates."""

    top: float
    bottom: float


@dataclass(frozen=True)
class Tick:
    """A place on an axis in plot coordinates, and its text."""

    at: float
    text: str


@dataclass(kw_only=True)
class Plot:
    """One plot, ready to be drawn; `images` is the number of images in it."""

    kind: str
    title: str
    x_label: str
    y_label: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    images: int
    subtitle: str = ""
    x_ticks: list[Tick] = field(default_factory=list)
    y_ticks: list[Tick] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    bands: list[Band] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.x_ticks = self.x_ticks or [Tick(self.x(v), _text(v)) for v in ticks(*self.x_range)]
        self.y_ticks = self.y_ticks or [Tick(self.y(v), _text(v)) for v in ticks(*self.y_range)]

    def x(self, value: float) -> float:
        """Return the position of an x value, in the drawing's units."""
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return the position of a y value, in the drawing's units."""
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def line(self, points: Sequence[tuple[float, float]], style: str, label: str = "") -> None:
        """Add a polyline through points in data units."""
        self.lines.append(Line(tuple((self.x(x), self.y(y)) for x, y in points), style, label))

    def across(self, value: float, style: str, label: str = "") -> None:
        """Add a horizontal line."""
        self.line([(self.x_range[0], value), (self.x_range[1], value)], style, label)

    @property
    def legend(self) -> list[Line]:
        """The lines that have a label."""
        return [line for line in self.lines if line.label]


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Return round numbers between two limits: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


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
    plot = Plot(
        kind="roc",
        title="ROC",
        x_label="1 − specificity",
        y_label="sensitivity",
        x_range=(0, 1),
        y_range=(0, 1),
        images=count,
    )
    plot.line([(0, 0), (1, 1)], "guide")
    for index in [1] if len(labels) == 2 else range(len(labels)):
        truth = classes.truth == index
        if truth.all() or not truth.any():
            plot.notes.append(f"No curve for {labels[index]}: the labels hold it always or never.")
            continue
        area = metrics.auc(
            np.stack([1 - classes.scores[:, index], classes.scores[:, index]], 1),
            truth.astype(np.int64),
        )
        points = roc_points(classes.scores[:, index], truth)
        plot.line(points, f"curve curve-{index % 6}", f"{labels[index]}: AUC {area:.3f}")
    return plot


def roc_points(scores: Array, truth: npt.NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Return the (images + 1) points of the curve.

    Images of equal score lie on a straight line, spread evenly.
    """
    order = np.argsort(-scores, kind="stable")
    right = np.concatenate([[0], np.cumsum(truth[order])]) / truth.sum()
    wrong = np.concatenate([[0], np.cumsum(~truth[order])]) / (~truth).sum()
    ends = np.concatenate([[0], np.flatnonzero(np.diff(scores[order])) + 1, [len(scores)]])
    at = np.arange(len(scores) + 1)
    x, y = np.interp(at, ends, wrong[ends]), np.interp(at, ends, right[ends])
    return list(zip(x.tolist(), y.tolist(), strict=True))


def reliability(judged: Judged, classes: Classes) -> Plot:
    """Plot how often a score comes true: of two classes the second's, of more the highest."""
    labels = judged.entry.labels
    missing = judged.given.missing(judged.rows)
    shown = [index for index in range(len(judged.rows)) if index not in missing]
    scores, truth = classes.scores[shown], classes.truth[shown]
    two = len(labels) == 2
    score = scores[:, 1] if two else scores.max(1)
    true = (truth == 1) if two else truth == scores.argmax(1)
    plot = Plot(
        kind="reliability",
        title="Reliability",
        x_label=f"score for {labels[1]}" if two else "highest score",
        y_label=f"share that is {labels[1]}" if two else "share that is right",
        x_range=(0, 1),
        y_range=(-0.08, 1.08),
        images=len(shown),
    )
    plot.y_ticks = [Tick(plot.y(value), _text(value)) for value in ticks(0, 1)]
    plot.line([(0, 0), (1, 1)], "guide", "perfectly calibrated")
    for inside in score_bins(score):
        low, high = wilson(int(true[inside].sum()), len(inside))
        x, y = float(score[inside].mean()), float(true[inside].mean())
        plot.line([(x, low), (x, high)], "whisker")
        title = f"{len(inside)} images: mean score {x:.2f}, share {y:.2f}"
        plot.dots.append(Dot(plot.x(x), plot.y(y), title, "bin"))
    for index, x, hit in zip(shown, score, true, strict=True):
        title = _named(judged.rows[index], f"score {x:.3f}")
        plot.dots.append(Dot(plot.x(x), plot.y(1.05 if hit else -0.05), title, "rug"))
    plot.notes.append(
        f"Bars: 95 % interval of the share (Wilson). Ticks: one image each, above where it is "
        f"{labels[1] if two else 'right'}, below where it is not."
    )
    if missing:
        plot.notes.append(f"{len(missing)} images without a prediction are not in it.")
    return plot


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927, J Am Stat Assoc 22:209)."""
    share, square = successes / trials, Z95**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = Z95 / (1 + square / trials)
    half *= math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def bland_altman(agreement: Agreement, rows: Sequence[Row], limits: Sequence[Metric]) -> Plot:
    """Plot difference against mean of the two measurements.

    Bias and limits of agreement are drawn with their intervals.
    """
    seen = np.flatnonzero(np.isfinite(agreement.measured))
    differences = agreement.differences[seen]
    means = agreement.truth[seen] + differences / 2
    edges = [
        m for metric in limits for m in (metric.low, metric.value, metric.high) if m is not None
    ]
    plot = Plot(
        kind="bland-altman",
        title=f"Bland–Altman: {agreement.name}",
        subtitle=agreement.source,
        x_label=f"mean of both, {agreement.unit}",
        y_label=f"predicted − label, {agreement.unit}",
        x_range=_around(means),
        y_range=_around([*differences, *edges, 0.0]),
        images=len(seen),
    )
    plot.across(0, "guide")
    for metric in limits:
        style = "bias" if metric.name == "bias" else "limit"
        if metric.low is not None and metric.high is not None:
            plot.bands.append(Band(plot.y(metric.high), plot.y(metric.low)))
        plot.across(metric.value, style)
        plot.notes.append(_said(metric, agreement.unit))
    for place, mean, difference in zip(seen, means, differences, strict=True):
        title = _named(rows[agreement.rows[place]], f"{difference:+.2f} {agreement.unit}")
        plot.dots.append(Dot(plot.x(mean), plot.y(difference), title))
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
    bounded = not judged.per_image.larger_is_worse
    plot = Plot(
        kind="spread",
        title=f"Every image's {judged.per_image.name}",
        x_label=judged.per_image.name,
        y_label="",
        x_range=(0, 1) if bounded else (0, max(float(values[shown].max(initial=0)) * 1.04, 1e-6)),
        y_range=(0, len(names)),
        images=len(shown),
        y_ticks=[Tick(0, "-")],
    )
    plot.y_ticks = [Tick(plot.y(at + 0.5), _cut(name)) for at, name in enumerate(names)]
    rng = np.random.default_rng(0)
    for index in shown:
        row = judged.rows[index]
        at = names.index(str(row.get("dataset"))) if len(names) > 1 else 0
        place = plot.y(at + 0.5 + rng.uniform(-0.38, 0.38))
        title = _named(row, f"{values[index]:.3f}")
        plot.dots.append(Dot(plot.x(values[index]), place, title))
    if len(shown):
        middle = float(np.median(values[shown]))
        plot.line([(middle, 0), (middle, len(names))], "bias", f"median {middle:.3g}")
    return plot


def _around(values: Sequence[float] | Array) -> tuple[float, float]:
    """Return limits a little beyond the values."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(np.min(values)), float(np.max(values))
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _said(metric: Metric, unit: str) -> str:
    text = f"{metric.name} {metric.value:.2f} {unit}"
    if metric.low is not None and metric.high is not None:
        text += f" ({metric.low:.2f} to {metric.high:.2f})"
    return text.replace("-", "−")


def _named(row: Row, what: str) -> str:
    return f"{PurePosixPath(str(row['image_path'])).name}: {what}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TICK else f"{text[: LONGEST_TICK - 1]}…"


def _text(value: float) -> str:
    return f"{value:g}".replace("-", "−")
