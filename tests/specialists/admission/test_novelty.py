"""The novelty statistics: what is foreign to them, how they are stored, and the trial of them."""

import numpy as np
import pytest
import torch

from specialists.admission.novelty import Novelty, novelty_from, tensors_of
from specialists.errors import WeightsError
from specialists.training.calibration.novelty import fit_novelty
from specialists.training.trials.foreign_images import foreign_images

D = 12


def _sets(seed: int, n: int) -> torch.Tensor:
    """Two data sets that differ in one direction and share a wide, telling-nothing one."""
    torch.manual_seed(seed)
    values = torch.randn(2 * n, D)
    values[:, 0] *= 8
    values[n:, 1] += 6
    return values


@pytest.fixture(scope="module")
def fitted() -> Novelty:
    train, val = _sets(0, 300), _sets(1, 200)
    novelty, limit = fit_novelty(train, ["a"] * 300 + ["b"] * 300, val)
    assert "of 400 views of val" in limit.source
    return novelty


def test_an_image_far_in_what_no_training_image_varies_in_is_foreign(fitted: Novelty) -> None:
    between = torch.zeros(1, D)
    between[0, 1] = 3.0  # between the sets, where nothing is
    beyond = torch.zeros(1, D)
    beyond[0, 1] = -9.0
    known = fitted.distance(_sets(2, 100)).median()
    assert fitted.distance(between)[0] > known
    assert fitted.distance(beyond)[0] > fitted.limit


def test_an_image_that_is_extreme_in_what_images_vary_in_is_no_stranger(fitted: Novelty) -> None:
    usual = torch.randn(1, D)
    extreme = usual.clone()
    extreme[0, 0] = 30.0
    plain = Novelty(means=fitted.means, whitening=fitted.whitening, limit=1.0)
    assert plain.distance(extreme)[0] > 1.3 * plain.distance(usual)[0]
    assert fitted.distance(extreme)[0] < fitted.limit


def test_stored_statistics_give_the_same_distances(fitted: Novelty) -> None:
    again = novelty_from(tensors_of(fitted), fitted.limit)
    val = _sets(3, 50)
    torch.testing.assert_close(again.distance(val), fitted.distance(val))


def test_statistics_without_a_background_keep_their_plain_distance(fitted: Novelty) -> None:
    tensors = {"means": fitted.means, "whitening": fitted.whitening}
    older = novelty_from(tensors, 2.0)
    assert older.background is None
    assert older.distance(_sets(4, 100)).mean() == pytest.approx(1.0, abs=0.2)


def test_statistics_with_half_a_background_are_refused(fitted: Novelty) -> None:
    tensors = tensors_of(fitted)
    del tensors["background_mean"]
    with pytest.raises(WeightsError, match="background_mean"):
        novelty_from(tensors, 2.0)


def test_foreign_pictures_are_the_same_for_the_same_seed_and_of_every_group() -> None:
    known = [np.full((80, 100), 90, np.uint8)]
    first, second = foreign_images(known), foreign_images(known)
    assert [p.group for p in first] == [p.group for p in second]
    assert all((a.grey == b.grey).all() for a, b in zip(first, second, strict=True))
    assert {p.group for p in first} == {
        "photographs, grey",
        "CT and MR slices",
        "text screenshots",
        "several panels",
        "noise",
        "blank frames",
        "gradients",
        "colour Doppler, drawn",
    }
    assert all(p.rgb is not None for p in first if p.group == "colour Doppler, drawn")
