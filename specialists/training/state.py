"""A training's state on disk: weights, moving average, optimiser and step.

A training that was killed can be resumed from it.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from specialists.checkpoints import read_tensors, save_tensors
from specialists.errors import TrainingError

STATE = "state.safetensors"
AVERAGE_DECAY = 0.998


class Average:
    """Exponential moving average of a module's state."""

    def __init__(self, module: nn.Module) -> None:
        self.tensors = {name: t.detach().clone() for name, t in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the module; faster in the first steps."""
        decay = min(AVERAGE_DECAY, (1 + step) / (10 + step))
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:
                self.tensors[name].copy_(tensor)


def save_state(
    folder: Path, step: int, module: nn.Module, average: Average, optimizer: Optimizer
) -> None:
    """Write everything that `load_state` needs; an older state is replaced as a whole."""
    tensors: dict[str, Tensor] = {f"module.{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.tensors.items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
    # in the same file, so that a kill cannot separate it from the rest
    tensors["step"] = torch.tensor(step)
    save_tensors(folder / STATE, tensors, {})


def load_state(folder: Path, module: nn.Module, average: Average, optimizer: Optimizer) -> int:
    """Restore module, average and optimiser; return the step at which they were saved.

    Raises:
        TrainingError: there is no state in that folder, or it holds no step.
    """
    if not (folder / STATE).exists():
        raise TrainingError(f"There is no training to resume in {folder}.")
    tensors = read_tensors(folder / STATE)
    if "step" not in tensors:
        raise TrainingError(f"{folder / STATE} does not say at which step it was saved.")
    module.load_state_dict(_part(tensors, "module."))
    here = next(iter(average.tensors.values())).device
    average.tensors = {k: v.to(here) for k, v in _part(tensors, "average.").items()}
    values: dict[int, dict[str, Tensor]] = {}
    for key, tensor in _part(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        values.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(
        {"state": values, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if value.shape == parameter.shape:  # a fused step reads memory in the parameter's order
                kept[name] = torch.empty_like(parameter).copy_(value)
    return int(tensors["step"])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
