"""A missing label weighs nothing, a perfect answer costs next to nothing, and nothing is NaN."""

import pytest
import torch

from specialists.heads.regress import target_heatmaps
from specialists.training.losses import (
    box_iou,
    classify_loss,
    detect_loss,
    dice_loss,
    regress_loss,
    segment_loss,
)

NAN = float("nan")
BOX = [0.2, 0.3, 0.6, 0.7]


def detect(
    target: list[list[float]], *, known: bool, box: torch.Tensor | None = None
) -> torch.Tensor:
    count = len(target)
    found = torch.tensor([BOX] * count, requires_grad=True) if box is None else box
    attention = torch.zeros(count, 64, requires_grad=True)
    return detect_loss(found, torch.zeros(count), attention, torch.tensor(target), known)


def test_a_box_that_is_not_there_weighs_nothing_without_negatives() -> None:
    one = detect([BOX], known=False)
    assert detect([BOX, [NAN] * 4], known=False).item() == pytest.approx(one.item())


@pytest.mark.parametrize("known", [True, False])
def test_a_batch_without_any_box_is_finite_and_has_gradients(known: bool) -> None:
    box = torch.tensor([BOX, BOX], requires_grad=True)
    loss = detect([[NAN] * 4] * 2, known=known, box=box)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert (loss.item() > 0) == known
    assert box.grad is not None
    assert (box.grad == 0).all()


def test_a_missing_box_costs_presence_where_absence_is_known() -> None:
    target = torch.tensor([[NAN] * 4])
    sure, unsure = (
        detect_loss(torch.tensor([BOX]), torch.tensor([logit]), torch.zeros(1, 64), target, True)
        for logit in (-5.0, 5.0)
    )
    assert sure < 0.01 < 4 < unsure


def test_a_better_box_costs_less() -> None:
    near, far = torch.tensor([[0.22, 0.3, 0.6, 0.7]]), torch.tensor([[0.5, 0.3, 0.9, 0.7]])
    exact = detect([BOX], known=False, box=torch.tensor([BOX]))
    assert exact < detect([BOX], known=False, box=near) < detect([BOX], known=False, box=far)


def test_iou_of_boxes_is_known() -> None:
    a = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.2, 0.2], [0.0, 0.0, 0.5, 0.5]])
    b = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 0.9, 0.9], [0.25, 0.0, 0.75, 0.5]])
    assert box_iou(a, b).tolist() == pytest.approx([1.0, 0.0, 1 / 3], abs=1e-5)


def test_a_missing_landmark_weighs_nothing() -> None:
    points = torch.tensor([[[0.3, 0.4], [NAN, NAN]]])
    heatmaps = target_heatmaps(torch.tensor([[[0.3, 0.4], [0.9, 0.9]]]) * 32, 32, 32)
    heatmaps[:, 1] = 1000.0
    heatmaps.requires_grad_()
    loss = regress_loss(heatmaps, points)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert heatmaps.grad is not None
    assert (heatmaps.grad[:, 1] == 0).all()


def test_a_batch_without_landmarks_costs_nothing_and_is_finite() -> None:
    heatmaps = torch.rand(2, 3, 16, 16, requires_grad=True)
    loss = regress_loss(heatmaps, torch.full((2, 3, 2), NAN))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert heatmaps.grad is not None
    assert heatmaps.grad.isfinite().all()


def test_a_perfect_mask_costs_next_to_nothing_and_an_empty_one_is_finite() -> None:
    target = torch.zeros(2, 32, 32, dtype=torch.int64)
    target[0, 8:24, 8:24] = 1
    logits = torch.stack([(target == 0) * 20.0, (target == 1) * 20.0], dim=1)
    assert segment_loss(logits, target) < 0.01
    assert segment_loss(logits, 1 - target) > 5
    empty = torch.zeros(2, 32, 32, dtype=torch.int64)
    free = torch.zeros(2, 2, 16, 16, requires_grad=True)
    loss = segment_loss(free, empty)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()


@pytest.mark.parametrize(
    ("classes", "mixed", "empty", "gradient"),
    [
        (2, 0.49835181, 0.98965180, 0.49220145),
        (3, 0.66192591, 0.98457444, 0.43266475),
        (4, 0.74311686, 0.97948653, 0.36813286),
    ],
)
def test_the_dice_loss_is_what_monais_was(
    classes: int, mixed: float, empty: float, gradient: float
) -> None:
    """The figures: DiceLoss of MONAI 1.6.1 of a batch, softmax, no background, smoothing 1."""
    numbers = torch.arange(3 * classes * 64) * 7919 % 101
    logits = (numbers / 50 - 1).reshape(3, classes, 8, 8).requires_grad_()
    target = (torch.arange(192) * 31 % classes).reshape(3, 8, 8)
    assert dice_loss(logits, torch.zeros_like(target)).item() == pytest.approx(empty, abs=1e-6)
    loss = dice_loss(logits, target)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(mixed, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.abs().sum().item() == pytest.approx(gradient, abs=1e-5)


def test_a_right_class_costs_less_than_a_wrong_one() -> None:
    target = torch.tensor([1])
    assert classify_loss(torch.tensor([[0.0, 4.0]]), target) < classify_loss(
        torch.tensor([[4.0, 0.0]]), target
    )
