"""Views of one image for test-time augmentation, the way back from each, and their mean.

A view is the image mirrored or made smaller in the network's square, as the geometry policy of the
task allows. Outputs are moved back into the square of the plain view before they are averaged:
probabilities of pixels and classes, heatmaps, corners of boxes. The mean can therefore be decoded
like a single output.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from specialists.decode import enlarged, probabilities
from specialists.letterbox import Letterbox, letterbox
from specialists.manifest import GeometryPolicy, Kind, SpecialistEntry
from specialists.model import Output

ZOOMS = (1.0, 0.9)
"""Scales of an image's views. None is above 1, because that would cut off part of the image."""

LEAST_SHARE = 1e-12
"""Smallest probability that is told apart from 0; it keeps logarithms and ratios finite."""


@dataclass(frozen=True, kw_only=True)
class View:
    """The image as the network sees it: scaled about the centre of its square, then mirrored."""

    hflip: bool = False
    vflip: bool = False
    zoom: float = 1.0

    def mirrored(self, maps: Tensor) -> Tensor:
        """Mirror (..., H, W) maps as the view is mirrored; doing it twice restores them."""
        axes = [axis for axis, flip in ((-1, self.hflip), (-2, self.vflip)) if flip]
        return maps.flip(axes) if axes else maps

    def mirrored_points(self, points: Tensor) -> Tensor:
        """Mirror (..., 2) points (x, y) in [0, 1] as the view is mirrored."""
        flips = torch.tensor([self.hflip, self.vflip])
        return torch.where(flips, 1 - points, points)


PLAIN = View()


def views_of(policy: GeometryPolicy) -> tuple[View, ...]:
    """Return the views of an image under which the task's labels stay true, the plain view first.

    Their order is always the same.
    """
    flips = [
        (hflip, vflip)
        for vflip in ((False, True) if policy.vflip else (False,))
        for hflip in ((False, True) if policy.hflip else (False,))
    ]
    return tuple(View(hflip=h, vflip=v, zoom=zoom) for zoom in ZOOMS for h, v in flips)


def merged(
    entry: SpecialistEntry, outputs: Sequence[Output], views: Sequence[View], box: Letterbox
) -> Output:
    """Average a specialist's outputs for several views of one image (batch of one).

    The result is in the plain view's square.

    Args:
        entry: the specialist's manifest entry.
        outputs: one per view.
        views: the views that the network saw.
        box: the plain view's letterbox.
    """
    ways = [_Way(view, box) for view in views]
    if entry.kind is Kind.DETECT:
        return _boxes(entry, outputs, ways)
    maps = [output for output in outputs if isinstance(output, Tensor)]
    if len(maps) != len(outputs):
        raise TypeError(f"{entry.id} gave no tensor")
    if entry.kind is Kind.CLASSIFY:
        return _classes(entry, maps)
    if entry.kind is Kind.SEGMENT:
        shares = [enlarged(one.float(), box.input_px).softmax(1) for one in maps]
        moved = [way.back(one, inside=True) for way, one in zip(ways, shares, strict=True)]
        return _log(_mean(moved))
    return _mean([_heatmaps(way, one.float()) for way, one in zip(ways, maps, strict=True)])


class _Way:
    """The way back from a view of an image into the square of its plain view."""

    def __init__(self, view: View, box: Letterbox) -> None:
        self.view = view
        seen = letterbox(box.height_px, box.width_px, box.input_px, view.zoom, box.aspect)
        self.ratio = seen.scale / box.scale
        self._field = [corner / box.input_px for corner in seen.field()]

    def back(self, maps: Tensor, mode: str = "bilinear", *, inside: bool = False) -> Tensor:
        """Resample (1, C, H, W) maps over the view's square to the plain view's square.

        Args:
            maps: (1, C, H, W) over the view's square.
            mode: torch's name of the interpolation.
            inside: whether only pixels of the image are read: at its edge the nearest pixel of the
                image is used, not the network's output for the black border.
        """
        upright = self.view.mirrored(maps)
        if self.ratio == 1:
            return upright
        height, width = maps.shape[-2:]
        y, x = (self._places(n, axis, inside) for n, axis in ((height, 1), (width, 0)))
        grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
        return F.grid_sample(upright, grid[None], mode, "border", align_corners=False)

    def points(self, points: Tensor) -> Tensor:
        """Convert (..., 2) points (x, y) in [0, 1] to the plain view's square."""
        return (self.view.mirrored_points(points) - 0.5) / self.ratio + 0.5

    def _places(self, size: int, axis: int, inside: bool) -> Tensor:
        """Return (size,) positions of the plain view's pixels in this view, in [-1, 1]."""
        seen = (torch.arange(size) + 0.5 - size / 2) * self.ratio + size / 2
        if inside:
            low, high = self._field[axis] * size, self._field[axis + 2] * size
            seen = seen.clamp(math.ceil(low - 0.5) + 0.5, max(math.ceil(high - 0.5) - 0.5, low))
        return seen * 2 / size - 1


def _classes(entry: SpecialistEntry, logits: Sequence[Tensor]) -> Tensor:
    """Return (1, classes) logits whose calibrated scores are the mean of the views' scores."""
    shares = [torch.from_numpy(probabilities(entry, one)) for one in logits]
    return _log(_mean(shares))[None] * _temperature(entry)


def _boxes(
    entry: SpecialistEntry, outputs: Sequence[Output], ways: Sequence[_Way]
) -> tuple[Tensor, Tensor, Tensor]:
    """Average the box corners, the presence scores and the attention maps."""
    corners, scores, attention = [], [], []
    temperature = _temperature(entry)
    for way, output in zip(ways, outputs, strict=True):
        if isinstance(output, Tensor):
            raise TypeError(f"{entry.id} gave one tensor")
        box, logits, cells = (part.float() for part in output)
        found = way.points(box.reshape(2, 2))
        corners.append(torch.cat([found.amin(0), found.amax(0)])[None])
        scores.append(torch.sigmoid(logits / temperature))
        side = round(cells.shape[1] ** 0.5)
        shares = way.back(cells.softmax(1).reshape(1, 1, side, side)).flatten(1)
        attention.append(shares / shares.sum(1, keepdim=True))
    return _mean(corners), torch.logit(_mean(scores)) * temperature, _log(_mean(attention))


def _heatmaps(way: _Way, heatmaps: Tensor) -> Tensor:
    """Resample (1, L, H, W) heatmaps to the plain view's square.

    The peaks keep the width that is expected in the plain view.
    """
    if way.ratio == 1:
        return way.back(heatmaps)
    moved = way.back(heatmaps, "bicubic").clamp_min(0)
    peaks = moved.amax((2, 3), keepdim=True).clamp_min(LEAST_SHARE)
    # Moving back widened each Gaussian by 1 / ratio; this power restores its width and keeps its
    # height.
    return peaks * (moved / peaks) ** (1 / way.ratio**2)


def _temperature(entry: SpecialistEntry) -> float:
    """Return the calibration temperature; 1 for a detector that has not learned absence."""
    return 1.0 if entry.temperature is None else entry.temperature


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean(0)


def _log(shares: Tensor) -> Tensor:
    return shares.clamp_min(LEAST_SHARE).log()
