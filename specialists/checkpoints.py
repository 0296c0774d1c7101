"""Weights on disk: safetensors only, identified by SHA-256, loaded completely or not at all."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from specialists.errors import WeightsError


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        WeightsError: the file is missing or cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"The weights file {path} cannot be read: {error.strerror}.") from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> str:
    """Write the tensors atomically and return the SHA-256 of the file, in hexadecimal."""
    data = save_bytes({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(path)
    return hashlib.sha256(data).hexdigest()


def read_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a file, checked against `sha256` where one is given.

    Raises:
        WeightsError: the file is missing, truncated, altered or not safetensors.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"The weights file {path} cannot be read: {error.strerror}.") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise WeightsError(
            f"The weights file {path} is truncated or altered: its SHA-256 is not the manifest's."
        )
    try:
        return load_bytes(data)
    except SafetensorError as error:
        raise WeightsError(f"The weights file {path} is not safetensors: {error}.") from error


def half(module: nn.Module) -> dict[str, Tensor]:
    """Return the module's state with floating-point tensors in half precision.

    This is the form in which weights are shipped.
    """
    return {
        name: tensor.detach().half() if tensor.is_floating_point() else tensor.detach().clone()
        for name, tensor in module.state_dict().items()
    }


def load_module(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load `tensors` into `module`, converted to the precision of the module.

    Raises:
        WeightsError: a tensor is missing, unexpected, of another shape, or not finite.
    """
    with _alone():
        _fill(module, tensors, path)


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = module.state_dict()
    if problem := sorted(own.keys() ^ tensors.keys()):
        raise WeightsError(f"The weights file {path} does not fit the network at {problem[0]}.")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise WeightsError(f"The weights file {path} has another shape at {name}.")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WeightsError(f"The weights file {path} holds values that are not finite: {name}.")
    module.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in tensors.items()})


@contextmanager
def _alone() -> Iterator[None]:
    """Limit torch to one thread within the context.

    For many small tensors, waking other threads costs more time than they save.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
