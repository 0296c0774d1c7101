"""Segmentation head: per-pixel class logits from decoded features."""

from torch import Tensor, nn


class SegmentHead(nn.Module):
    """Logits (B, classes, H, W) from (B, C, H, W) decoded features."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.out = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, classes, H, W) logits at the decoder's stride."""
        logits: Tensor = self.out(x)
        return logits
