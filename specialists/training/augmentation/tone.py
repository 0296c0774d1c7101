"""Random changes of tone as scanners and operators cause them.

These are gain, gamma, depth, speckle, shadow and marks.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def change_tone(images: Tensor, field: Tensor, rng: np.random.Generator) -> Tensor:
    """Return (B, 1, S, S) images in [0, 1] with random tone, black outside `field`."""
    B, _, S, _ = images.shape
    x = images

    def draw(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (B, 1, 1, 1))).float()

    def some(share: float) -> Tensor:
        return torch.from_numpy(rng.random((B, 1, 1, 1)) < share)

    x = torch.where(some(0.7), x.clamp_min(1e-4) ** torch.exp(draw(-0.45, 0.45)), x)
    x = torch.where(some(0.3), _compressed(x, rng), x)
    x = torch.where(some(0.7), (x - 0.2) * draw(0.75, 1.3) + 0.2 + draw(-0.06, 0.06), x)
    depth = torch.linspace(-0.5, 0.5, S)[None, None, :, None]
    x = torch.where(some(0.4), x * (1 + draw(-0.6, 0.6) * depth), x)
    noise = torch.from_numpy(rng.standard_normal((B, 1, S // 2, S // 2), np.float32))
    noise = F.interpolate(noise, size=(S, S), mode="bilinear", align_corners=False)
    x = torch.where(some(0.4), x * (1 + draw(0.0, 0.35) * noise), x)
    small = F.interpolate(x, scale_factor=0.5, mode="area")
    soft = F.interpolate(small, size=(S, S), mode="bilinear", align_corners=False)
    x = torch.where(some(0.2), soft, x)
    x = torch.where(some(0.2), x + draw(0.3, 1.2) * (x - soft), x)  # a scanner's edge enhancement
    x = torch.where(some(0.2), x * _shadow(B, S, rng), x)
    x = torch.where(some(0.25), _with_marks(x, rng), x)
    x = torch.where(some(0.15), x * _sector(field, rng), x)
    x = torch.where(some(0.35), x * _blackened(field, rng), x)
    return x.clamp(0, 1) * field


def _compressed(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Return (B, 1, S, S) images under another log compression.

    Each image gets a piecewise linear, rising curve of grey through 0 and 1.
    """
    B = len(x)
    knots = np.cumsum(rng.uniform(0.15, 1.0, (B, 5)), 1)
    curve = torch.from_numpy(np.concatenate([np.zeros((B, 1)), knots / knots[:, -1:]], 1)).float()
    place = x.clamp(0, 1) * 5
    low = place.floor().clamp_max(4)
    rows = torch.arange(B)[:, None, None, None].expand_as(x)
    first, second = curve[rows, low.long()], curve[rows, low.long() + 1]
    return first + (place - low) * (second - first)


def _blackened(field: Tensor, rng: np.random.Generator) -> Tensor:
    """Return (B, 1, S, S): 0 in boxes of the size of text, mostly near the image's rim, else 1.

    The service blackens burned-in text before any network receives an image, so that blackening
    must change little.
    """
    B, _, S, _ = field.shape
    kept = torch.ones(B, 1, S, S)
    for index in range(B):
        inside = torch.nonzero(field[index, 0])
        if not len(inside):
            continue
        (top, left), (bottom, right) = inside.amin(0).tolist(), inside.amax(0).tolist()
        for _ in range(int(rng.integers(1, 5))):
            width, height = rng.uniform(0.05, 0.35) * S, rng.uniform(0.02, 0.06) * S
            x, y = rng.uniform(left, right), rng.uniform(top, bottom)
            if rng.random() < 0.7:  # by one of the four sides
                rim = 0.08 * rng.random() * S
                side = int(rng.integers(4))
                x = (left + rim, right - rim - width, x, x)[side]
                y = (y, y, top + rim, bottom - rim - height)[side]
            rows = slice(max(0, int(y)), max(0, int(y + height)))
            kept[index, 0, rows, max(0, int(x)) : max(0, int(x + width))] = 0
    return kept


def _sector(field: Tensor, rng: np.random.Generator) -> Tensor:
    """Return (B, 1, S, S): 1 in the field of a trapezoid or curved probe.

    Its upper corners and lower rim are cut.
    """
    B, _, S, _ = field.shape
    fields = []
    for image in field:
        rows = torch.nonzero(image[0].any(1)).flatten()
        columns = torch.nonzero(image[0].any(0)).flatten()
        if not len(rows):  # the affine map left nothing of the image
            fields.append(torch.ones(1, S, S))
            continue
        index = torch.arange(S, dtype=torch.float32)
        down = ((index - rows[0]) / max(1, len(rows)))[:, None]
        aside = ((index - columns.float().mean()).abs() / max(1, len(columns)) * 2)[None]
        top, widest, rim = rng.uniform([0.45, 0.3, 0.0], [0.9, 1.0, 0.15])
        wide = aside <= top + (1 - top) * (down / widest).clamp(0, 1)
        fields.append((wide & (down <= 1 - rim * aside**2))[None].float())
    return torch.stack(fields)


def _shadow(B: int, S: int, rng: np.random.Generator) -> Tensor:
    columns = torch.arange(S)[None, None, None, :]
    centre = torch.from_numpy(rng.uniform(0, S, (B, 1, 1, 1))).float()
    width = torch.from_numpy(rng.uniform(0.02, 0.12, (B, 1, 1, 1))).float() * S
    depth = torch.from_numpy(rng.uniform(0.3, 0.9, (B, 1, 1, 1))).float()
    start = torch.from_numpy(rng.uniform(0, 0.7, (B, 1, 1, 1))).float() * S
    rows = torch.arange(S)[None, None, :, None]
    below = torch.sigmoid((rows - start) / 4)
    return 1 - depth * below * torch.exp(-(((columns - centre) / width) ** 2))


def _with_marks(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw caliper crosses and dotted lines anywhere, so that they carry no hint of a lesion."""
    out = x.clone()
    S = x.shape[-1]
    arm = max(2, S // 64)
    for image in out:
        bright = float(rng.uniform(0.7, 1.0))
        first, second = rng.integers(arm, S - arm, (2, 2))
        for row, column in (first, second):
            image[0, row - arm : row + arm + 1, column] = bright
            image[0, row, column - arm : column + arm + 1] = bright
        if rng.random() < 0.5:
            steps = torch.linspace(0, 1, 14)
            rows = (first[0] + steps * float(second[0] - first[0])).long()
            columns = (first[1] + steps * float(second[1] - first[1])).long()
            image[0, rows, columns] = bright
    return out
