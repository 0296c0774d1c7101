"""Metrics against other people's implementations of them."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import directed_hausdorff
from sklearn.metrics import f1_score, matthews_corrcoef, roc_auc_score

from specialists.training.evaluation.metrics import (
    accuracy,
    auc,
    dice,
    hausdorff_px,
    macro_f1,
    mcc,
)


def blob(seed: int) -> np.ndarray:
    """A few smooth blobs, some cut off by the image's edge."""
    rng = np.random.default_rng(seed)
    mask: np.ndarray = gaussian_filter(rng.normal(size=(48, 64)), 4) > 0.03
    return mask


MONAI = [
    (0.30426, 13.4015),
    (0.332908, 11.4853),
    (0.230769, 11.0589),
    (0.415739, 8.6023),
    (0.350515, 12.4815),
    (0.50284, 12.083),
]
"""What compute_dice and compute_hausdorff_distance (borders, percentile 95) of MONAI 1.6.1 gave."""


@pytest.mark.parametrize("seed", range(6))
def test_distances_and_dice_are_those_of_scipy_and_monai(seed: int) -> None:
    one, other = blob(seed), blob(seed + 100)
    greatest, most = hausdorff_px(one, other)
    places = np.argwhere(one), np.argwhere(other)
    there, back = directed_hausdorff(*places)[0], directed_hausdorff(*places[::-1])[0]
    assert greatest == pytest.approx(max(there, back))
    assert (dice(one, other), most) == pytest.approx(MONAI[seed], abs=1e-4)


def test_distances_between_squares_are_what_one_reads_off() -> None:
    one, other = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    one[5:10, 5:10] = other[5:10, 5:10] = True
    assert hausdorff_px(one, other) == (0, 0)
    other[5:10, 9:22] = True  # twelve pixels further right
    assert hausdorff_px(one, other)[0] == 12
    assert hausdorff_px(one, np.zeros_like(one)) == pytest.approx((np.hypot(40, 40),) * 2)
    assert hausdorff_px(np.zeros_like(one), np.zeros_like(one)) == (0, 0)


def test_what_lies_in_the_middle_of_the_other_mask_is_near_it() -> None:
    one, other = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    one[:] = other[:] = True
    other[18:21, 18:21] = False  # a hole, whose border is far from the edge of the full mask
    assert hausdorff_px(one, other)[0] == 2


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("ties", [False, True])
def test_areas_f1_and_mcc_are_those_of_sklearn(classes: int, ties: bool) -> None:
    rng = np.random.default_rng(classes)
    scores = rng.dirichlet(np.ones(classes), 80)
    if ties:
        scores = np.eye(classes)[scores.argmax(1)]
    truth = rng.integers(0, classes, 80)
    one = scores[:, 1] if classes == 2 else scores
    assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, one, multi_class="ovr"))
    said = scores.argmax(1)
    assert macro_f1(scores, truth) == pytest.approx(f1_score(truth, said, average="macro"))
    assert mcc(scores, truth) == pytest.approx(matthews_corrcoef(truth, said))
    assert accuracy(scores, truth) == np.mean(said == truth)


def test_f1_and_mcc_are_those_of_sklearn_where_classes_are_missing() -> None:
    scores = np.eye(4)[[0, 0, 1, 1, 0, 3]]  # no 2 at all, and a 3 that is never true
    truth = np.array([0, 1, 1, 0, 0, 1])
    said = scores.argmax(1)
    assert macro_f1(scores, truth) == pytest.approx(f1_score(truth, said, average="macro"))
    assert mcc(scores, truth) == pytest.approx(matthews_corrcoef(truth, said))
    assert np.isnan(auc(scores, truth))
    always = np.eye(2)[np.zeros(6, int)]
    assert mcc(always, truth) == matthews_corrcoef(truth, always.argmax(1)) == 0
