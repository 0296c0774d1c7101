"""Fitting of the distance from each exam, and of its limits by leaving out organs and scanners."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from reports.model import ExamCode
from specialists.admission.exam_distance import ExamDistance, exam_distance_from, tensors_of
from specialists.admission.limits import REFUSED, UNNAMED
from specialists.manifest import Threshold
from specialists.model import Frozen
from specialists.training.augmentation.synthetic import DATASET as PHANTOM
from specialists.training.calibration.whitening import whitening_of
from specialists.training.data.tables import Sample

EXAM_TASK = "exam_cls"
"""The task whose class is an image's exam."""

SHRINKAGE = 0.1
"""Weight of half the squared norm of a detector in its loss."""

STEPS = 60
"""Steps of L-BFGS; the loss is convex."""

WRONG = 0.02
"""Share of images of left-out organs that may be assigned to an exam; organs count the same."""

KEPT = 0.98
"""Share of an exam's images that are kept in it where a request names it."""

TRIED, PRICES = 200, 300
"""Number of limits of an exam, and of prices of a mistake, that are tried."""

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Described:
    """Descriptions (n, D) of images, with the exams, data sets and devices that they come from."""

    values: Tensor
    exams: Labels
    """(n,) class of each."""
    datasets: npt.NDArray[np.str_]
    devices: npt.NDArray[np.str_]
    """Empty where unknown."""
    views: npt.NDArray[np.bool_]
    """Whether the row describes an augmented view of an image."""

    def where(self, keep: npt.NDArray[np.bool_]) -> "Described":
        """Return those rows."""
        return Described(
            values=self.values[torch.from_numpy(keep)],
            exams=self.exams[keep],
            datasets=self.datasets[keep],
            devices=self.devices[keep],
            views=self.views[keep],
        )

    @property
    def known(self) -> list[int]:
        """The classes that occur, in order."""
        return sorted(set(self.exams.tolist()))


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An exam or a scanner whose images the statistics are fitted without."""

    column: Literal["exams", "datasets", "devices"]
    value: str
    exam: int | None
    """Its class, where other scanners' images represent it; None for a whole exam."""

    def rows(self, described: Described) -> npt.NDArray[np.bool_]:
        """Return the mask (n,) of its images."""
        if self.column == "exams":
            return np.equal(described.exams, int(self.value))
        values = described.datasets if self.column == "datasets" else described.devices
        return np.equal(values, self.value)


def left_out(described: Described) -> list[LeftOut]:
    """Return every exam, then every real data set and device whose exam has others."""
    found = [LeftOut(column="exams", value=str(exam), exam=None) for exam in described.known]
    real = described.where(described.datasets != PHANTOM)
    columns: tuple[Literal["datasets", "devices"], ...] = ("datasets", "devices")
    for column in columns:
        values = real.datasets if column == "datasets" else real.devices
        for value in sorted(set(values.tolist()) - {""}):
            exam = int(real.exams[values == value][0])
            if (real.exams[values != value] == exam).any():
                found.append(LeftOut(column=column, value=value, exam=exam))
    return found


def fit_exam_distance(described: Described, widths: Sequence[int]) -> ExamDistance:
    """Fit the exam distance to those images, as it is served; its exams are those of `known`.

    Args:
        described: images and views of them.
        widths: features of the deepest level, and of the level before it.
    """
    deepest, before = widths
    known = described.known
    exams = torch.tensor([known.index(exam) for exam in described.exams.tolist()])
    values = described.values[:, -(deepest + before) :].double()
    names = [
        f"{exam} {name}" for exam, name in zip(exams.tolist(), described.datasets, strict=True)
    ]
    datasets = np.array(names)  # a data set's images of two exams count as two sets
    weight, bias = _detectors(values, exams, datasets, len(known))
    given = (values @ weight + bias)[torch.arange(len(exams)), exams]
    spread = given.std()
    means, sets, whitening = _sets(values[:, -deepest:], datasets, exams)
    plain = ExamDistance(
        weight=(weight / spread).float(),
        bias=((given.mean() - bias) / spread).float(),
        means=means.float(),
        whitening=whitening.float(),
        usual=torch.zeros(1),
        exams=sets,
    )
    own = plain.apart(values.float())[torch.arange(len(exams)), exams].double()
    scaled = tensors_of(plain) | {
        "exam_whitening": (whitening / own.std()).half(),
        "exam_usual": (own.mean() / own.std()).float()[None],
    }
    return exam_distance_from(scaled, len(known))


@dataclass(frozen=True, kw_only=True, eq=False)
class Unseen:
    """Images of one group, placed by statistics that were mostly fitted without it."""

    name: str
    exam: int | None
    """Their class; None where the statistics know none of its images."""
    group: LeftOut | None
    """What was left out of the statistics; None for images of scanners that they know."""
    distances: npt.NDArray[np.float64]
    """(n, E) distances from the known exams."""
    known: list[int]
    """The classes of the known exams."""
    rows: npt.NDArray[np.int64]
    """Indices of these images among all evaluated images."""

    @property
    def nearest(self) -> npt.NDArray[np.float64]:
        """Distance (n,) to the nearest exam."""
        found: npt.NDArray[np.float64] = self.distances.min(1)
        return found

    @property
    def own(self) -> npt.NDArray[np.float64]:
        """Distance (n,) from its own exam, or from the nearest where its own is not known."""
        return self.nearest if self.exam is None else self.distances[:, self.known.index(self.exam)]

    def taken(self, limit: float) -> float:
        """Return the share of images nearest to their own exam and within the limit."""
        return 0.0 if self.exam is None else self._near(self.exam, limit)

    def mistaken_for(self, exam: int, limit: float) -> float:
        """Return the share nearest to that exam, which is not their own, and within the limit."""
        return 0.0 if exam == self.exam or exam not in self.known else self._near(exam, limit)

    def _near(self, exam: int, limit: float) -> float:
        place = self.known.index(exam)
        at = self.distances.argmin(1) == place
        return float((at & (self.distances[:, place] <= limit)).mean())


def unseen(described: Described, judged: Described, widths: Sequence[int]) -> Iterator[Unseen]:
    """Yield every exam and scanner that can be left out, placed by statistics fitted without it.

    Args:
        described: images and views that statistics are fitted to.
        judged: images that are placed.
        widths: as of `fit_exam_distance`.
    """
    for group in tqdm(left_out(described), desc="leaving out", unit="group"):
        rows = group.rows(judged)
        if not rows.any():
            continue
        kept = described.where(~group.rows(described))
        if not kept.known:
            continue
        distances = fit_exam_distance(kept, widths)(judged.where(rows).values).double().numpy()
        yield Unseen(
            name=group.value if group.exam is not None else list(ExamCode)[int(group.value)].value,
            exam=group.exam,
            group=group,
            distances=distances,
            known=kept.known,
            rows=np.flatnonzero(rows),
        )


def seen(fitted: ExamDistance, known: list[int], judged: Described) -> list[Unseen]:
    """Return the images of each exam, placed by statistics of other images from its scanners.

    Args:
        fitted: the statistics.
        known: the classes of their exams, in order.
        judged: images that are placed.
    """
    distances = fitted(judged.values).double().numpy()
    found = []
    for exam in judged.known:
        rows = np.flatnonzero(judged.exams == exam)
        if exam in known:
            found.append(
                Unseen(
                    name=list(ExamCode)[exam].value,
                    exam=exam,
                    group=None,
                    distances=distances[rows],
                    known=known,
                    rows=rows,
                )
            )
    return found


def gate_limits(groups: Sequence[Unseen], known: Sequence[Unseen]) -> dict[str, Threshold]:
    """Return both limits of each exam; an empty dict where no exam or no scanner was left out.

    Args:
        groups: exams and scanners that were left out.
        known: images of scanners that were not, in groups of one exam.
    """
    organs = [one for one in groups if one.exam is None]
    scanners = [one for one in groups if one.exam is not None]
    if len(organs) < 2 or not scanners:
        return {}
    own = {
        exam: [one for one in (*scanners, *known) if one.exam == exam]
        for exam in sorted({one.exam for one in known if one.exam is not None})
    }
    unnamed = _unnamed(own, organs)
    found = {}
    for exam, limit in unnamed.items():
        code = list(ExamCode)[exam].value
        kept = np.mean([one.taken(limit) for one in own[exam]])
        taken = np.mean([one.mistaken_for(exam, limit) for one in organs])
        found[f"{UNNAMED} {code}"] = Threshold(
            value=limit,
            source=f"takes {kept:.1%} of its own images, the mean of {len(own[exam])} groups, and "
            f"{taken:.2%} of {len(organs)} organs left out, of which all exams take {WRONG:.0%}",
        )
        far = float(np.mean([np.quantile(one.own, KEPT) for one in own[exam]]))
        found[f"{REFUSED} {code}"] = Threshold(
            value=max(limit, round(far, 4)),
            source=f"keeps {KEPT:.0%} of its own images where a request names it, the mean of "
            f"{len(own[exam])} groups",
        )
    return found


def _unnamed(own: Mapping[int, Sequence[Unseen]], organs: Sequence[Unseen]) -> dict[int, float]:
    """Return the limits that assign most images to their own exam, and few of other organs.

    Each limit accepts some share of the exam's own images and some of other organs'. The price of a
    mistake, in images kept, is the same for all exams, and as low as `WRONG` allows.
    """
    tried, gain, loss = {}, {}, {}
    for exam, groups in own.items():
        values = np.concatenate([one.own for one in groups])
        limits = np.unique(np.quantile(values, np.linspace(0, 1, TRIED)).round(4))
        tried[exam] = limits
        gain[exam] = np.array([np.mean([one.taken(limit) for one in groups]) for limit in limits])
        loss[exam] = np.array(
            [np.mean([one.mistaken_for(exam, limit) for one in organs]) for limit in limits]
        )
    best: dict[int, int] = {}
    for price in np.geomspace(0.01, 1000, PRICES):
        best = {exam: int((gain[exam] - price * loss[exam]).argmax()) for exam in own}
        if sum(loss[exam][place] for exam, place in best.items()) <= WRONG:
            break
    return {exam: float(tried[exam][place]) for exam, place in best.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Gate:
    """Exam distance and limits for a backbone's entry; empty where no exam could be left out."""

    distance: ExamDistance | None = None
    exams: tuple[ExamCode, ...] = ()
    limits: dict[str, Threshold] = field(default_factory=dict)


def fit_gate(train: Described, val: Described, widths: Sequence[int]) -> Gate:
    """Fit the gate of a backbone, with limits from its results without each exam and each scanner.

    Args:
        train: images, and views of them.
        val: the same of others.
        widths: as of `fit_exam_distance`.
    """
    if not train.known:
        return Gate()
    fitted = fit_exam_distance(train, widths)
    real = train.where(~train.views & (train.datasets != PHANTOM))
    kinds = [val.where(val.views == views) for views in (False, True)]
    known = [one for part in kinds for one in seen(fitted, train.known, part)]
    limits = gate_limits(list(unseen(train, real, widths)), known)
    if not limits:
        return Gate()
    codes = list(ExamCode)
    return Gate(distance=fitted, exams=tuple(codes[exam] for exam in train.known), limits=limits)


def described_of(values: Tensor, samples: Sequence[Sample]) -> Described:
    """Return the images of known exams among N samples.

    `values` holds 2 N descriptions, the last N of views.
    """
    known = np.array([EXAM_TASK in sample.classes for sample in samples] * 2)
    return Described(
        values=values,
        exams=np.array([s.classes.get(EXAM_TASK, -1) for s in samples] * 2),
        datasets=np.array([s.dataset for s in samples] * 2),
        devices=np.array([s.device for s in samples] * 2),
        views=np.repeat([False, True], len(samples)),
    ).where(known)


def deepest_widths(backbone: Frozen) -> list[int]:
    """Return how many features describe the backbone's deepest level, and the one before it."""
    before, deepest = list(backbone.widths.values())[-2:]
    return [2 * deepest, 2 * before]  # a mean and a spread of each channel


def _detectors(
    values: Tensor, exams: Tensor, datasets: npt.NDArray[np.str_], count: int
) -> tuple[Tensor, Tensor]:
    """Fit logistic detectors of each exam against all others; return (C, E) weights, (E,) biases.

    A data set is weighted by the square root of its number of images, and an exam as much as all
    others together.
    """
    centre, spread = values.mean(0), values.std(0) + 1e-6
    x = ((values - centre) / spread).float()
    names, sizes = np.unique(datasets, return_counts=True)
    share = torch.from_numpy(sizes[np.searchsorted(names, datasets)] ** -0.5).float()
    wanted = F.one_hot(exams, count).float()
    positive = (wanted * share[:, None]).sum(0)
    weight = share[:, None] * torch.where(
        wanted > 0, 0.5 / positive, 0.5 / (share.sum() - positive).clamp_min(1e-9)
    )
    slope = torch.zeros(x.shape[1], count, requires_grad=True)
    offset = torch.zeros(count, requires_grad=True)
    search = torch.optim.LBFGS(
        [slope, offset], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        search.zero_grad()
        logits = x @ slope + offset
        told = F.binary_cross_entropy_with_logits(logits, wanted, weight, reduction="sum") / count
        found: Tensor = told + SHRINKAGE * slope.square().sum() / 2
        found.backward()  # type: ignore[no-untyped-call]
        return found

    search.step(loss)  # type: ignore[no-untyped-call]
    scaled = slope.detach().double() / spread[:, None]
    return scaled, offset.detach().double() - centre @ scaled


def _sets(
    values: Tensor, datasets: npt.NDArray[np.str_], exams: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (K, V) means of the data sets, the exam of each, and the whitening that they share."""
    names, rows = np.unique(datasets, return_inverse=True)
    of = torch.from_numpy(rows)
    means = torch.stack([values[of == k].mean(0) for k in range(len(names))])
    sets = torch.stack([exams[of == k][0] for k in range(len(names))])
    return means, sets, whitening_of((values - means[of]).numpy()).double()
