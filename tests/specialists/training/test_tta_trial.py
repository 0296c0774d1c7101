"""The gain of augmentation is a paired difference of every figure, over the same images."""

from pathlib import Path

import numpy as np
import pytest

from specialists.errors import TrainingError
from specialists.manifest import Manifest
from specialists.training.data.tables import Row
from specialists.training.evaluation.judge import Figure, Judged, PerImage
from specialists.training.evaluation.prediction_files import Given
from specialists.training.trials.tta import gains_of, tta_trial
from tests.specialists.dataset import read_csv, write_csv
from tests.specialists.nets import an_entry


def judged(rows: list[Row], *figures: Figure) -> Judged:
    return Judged(
        entry=an_entry("breast_lesion", Path()),
        rows=rows,
        given=Given(),
        figures=list(figures),
        per_image=PerImage(name="mean Dice", values=np.zeros(len(rows))),
    )


def test_a_difference_is_paired_by_image_and_drawn_by_groups() -> None:
    rows: list[Row] = [{"image_path": f"{n}", "group_id": f"{n // 2}"} for n in range(40)]
    values = np.random.default_rng(0).random(40)
    every = range(40)
    plain = judged(rows, Figure.mean("dice lesion", every, values))
    better = judged(rows, Figure.mean("dice lesion", every, values + 0.01))
    (gain,) = gains_of(plain, better, rows)
    assert (gain.figure, gain.n) == ("dice lesion", 40)
    assert gain.augmented - gain.plain == pytest.approx(0.01, abs=1e-4)
    assert (gain.low, gain.high) == pytest.approx((0.01, 0.01), abs=1e-4)


def test_figures_of_other_images_are_not_compared() -> None:
    rows: list[Row] = [{"image_path": f"{n}"} for n in range(4)]
    plain = judged(rows, Figure.mean("a", [0, 1], [1, 2]), Figure.mean("b", [0, 1], [1, 2]))
    other = judged(rows, Figure.mean("a", [0, 2], [1, 2]), Figure.mean("b", [0, 1], [3, 4]))
    assert [(gain.figure, gain.low) for gain in gains_of(plain, other, rows)] == [("b", None)]


def test_a_task_whose_labels_cannot_be_read_is_a_line_and_the_others_go_on(
    tiny: Manifest, data: Path
) -> None:
    rows = [{**row, "mask": "9"} for row in read_csv(data, "breast_2cls")]
    write_csv(data, "breast_2cls", [dict(row) for row in rows])
    found = tta_trial(tiny, data, "val", None)
    assert len(found.trials) == 5
    assert "'breast_2cls' cannot be read: 9" in found.problems[0]
    with pytest.raises(TrainingError, match="9 is none of 2 classes"):
        tta_trial(tiny, data, "val", ["breast_2cls"])
