"""The calibration error of scores, and the bins that it and reliability plots share."""

import numpy as np
import numpy.typing as npt

BINS = 10


def score_bins(scores: npt.NDArray[np.float64], bins: int = BINS) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each bin: bins of equally many scores, from the lowest to the highest.

    With fewer scores than bins there are as many bins as scores.
    """
    order = np.argsort(scores, kind="stable")
    return [part for part in np.array_split(order, bins) if len(part)]


def calibration_error(
    scores: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], bins: int = BINS
) -> float:
    """Return the expected calibration error (ECE) of at least one score.

    It is the mean of |share right - mean score| over bins of the sorted scores, weighted by their
    size (Naeini 2015, Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI). The
    bins hold equally many scores: those of equal width are mostly empty where scores are high
    (Nixon 2019, Measuring Calibration in Deep Learning).
    """
    parts = score_bins(scores, bins)
    gaps = [len(part) * abs(scores[part].mean() - right[part].mean()) for part in parts]
    return float(np.sum(gaps)) / len(scores)
