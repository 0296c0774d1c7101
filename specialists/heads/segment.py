"""Segmentation head: per-pixel class logits from decoded features."""

from torch import Tensor, nn


class SegmentHead(nn.Module):
    """(B, C, H, W) decoded features to (B, classes, H, W) logits."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.out = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, classes, H, W) logits at the decoder's stride."""
        logits: Tensor = self.out(x)
        return logits
