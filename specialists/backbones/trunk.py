"""What a convolutional trunk offers to the ViT and to the decoders on it."""

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from specialists.errors import TrainingError


class Trunk(nn.Module):
    """A pyramid of feature maps from one image."""

    strides: Mapping[str, int]
    """Of each level, finest first."""
    widths: Mapping[str, int]

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps by level, finest first, of (B, 1, H, W) normalised grey."""

    def freeze(self, level: str) -> None:
        """Let no training change what that level's map follows from.

        Raises:
            TrainingError: it has no such level, or norms whose statistics follow the batches.
        """
        raise TrainingError(
            f"This trunk cannot be frozen up to {level!r}: its norms learn from every batch."
        )

    def fold(self) -> None:
        """Bring the weights into the form that ships; most trunks are trained in it."""
