"""The interface of a convolutional trunk towards the ViT and the decoders."""

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from specialists.errors import TrainingError


class Trunk(nn.Module):
    """A pyramid of feature maps from one image."""

    strides: Mapping[str, int]
    """Stride of each level, finest first."""
    widths: Mapping[str, int]

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the maps by level, finest first, of (B, 1, H, W) normalised grey."""

    def freeze(self, level: str) -> None:
        """Exclude that level and everything before it from training.

        Raises:
            TrainingError: it has no such level, or norms whose statistics follow the batches.
        """
        raise TrainingError(
            f"This trunk cannot be frozen up to {level!r}: its norms learn from every batch."
        )

    def fold(self) -> None:
        """Bring the weights into the form that ships; most trunks are trained in that form."""
