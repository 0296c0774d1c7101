"""What a convolutional trunk offers to the ViT and to the decoders on it."""

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class Trunk(nn.Module):
    """A pyramid of feature maps from one image."""

    strides: Mapping[str, int]
    """Of each level, finest first."""
    widths: Mapping[str, int]

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps by level, finest first, of (B, 1, H, W) normalised grey."""

    def fold(self) -> None:
        """Bring the weights into the form that ships; most trunks are trained in it."""
