"""The limits of the image quality gate, fitted to val."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from specialists.admission.quality import EXTREME, PREFIX, RULES, Fault, judge, scores_of
from specialists.manifest import Threshold
from specialists.training.data.readable import read_grey

USUAL = 0.995
"""The share of val images that a limit is derived from."""

FURTHER = 3.0
"""Factor on the warning's margin at which a fault that normally only warns refuses an image."""


def fit_quality(paths: Sequence[Path]) -> dict[str, Threshold]:
    """Fit the gate's limits to the images of val, each with a note on its source.

    Raises:
        TrainingError: an image is missing or unreadable.
    """
    scores = [scores_of(read_grey(path)) for path in tqdm(paths, desc="judging", unit="image")]
    return limits_of(scores)


def limits_of(scores: Sequence[Mapping[Fault, float]]) -> dict[str, Threshold]:
    """Return the limits that fit the scores of readable images."""
    limits: dict[str, Threshold] = {}
    for fault, rule in RULES.items():
        values = np.array([found[fault] for found in scores])
        usual = float(np.quantile(values, USUAL if rule.upwards else 1 - USUAL))
        floor = FLOORS.get(fault, 0.0)
        factors = {"": rule.margin} | ({} if rule.refuses else {EXTREME: rule.margin * FURTHER})
        for suffix, factor in factors.items():
            value = max(usual * factor, floor) if rule.upwards else usual / factor
            beyond = float((values > value if rule.upwards else values < value).mean())
            said = f"{factor:g} times {'above' if rule.upwards else 'below'} "
            limits[PREFIX + fault + suffix] = Threshold(
                value=round(value, 4),
                source=f"{'' if factor == 1 else said}what {USUAL:.1%} of {len(values)} "
                "val images keep to"
                + (f", at least {floor:g}" if rule.upwards and floor else "")
                + f"; {beyond:.1%} of them are beyond it",
            )
    return limits


FLOORS = {Fault.SATURATED: 0.25, Fault.SCREENSHOT: 0.25, Fault.PANELS: 2.0}
"""Least values of upward limits.

A val of clean exports would set them too low for another scanner's images.
"""


def shares(
    scores: Sequence[Mapping[Fault, float]], limits: Mapping[str, Threshold]
) -> tuple[float, float]:
    """Return the share of those images that the gate refuses, and the share that it warns of."""
    found = [judge(item, limits) for item in scores]
    refused = float(np.mean([bool(quality.refused) for quality in found]))
    warned = float(np.mean([bool(quality.warned) for quality in found]))
    return refused, warned
