"""A folder in the FMC-UIA layout with drawn heads of known size: ellipses in two data sets."""

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage
from scipy.integrate import quad

from tests.specialists.dataset import Row, write_csv

HEADS = 20
HEIGHT_PX, WIDTH_PX = 120, 160


def ellipse_mask(
    long: float, short: float, deg: float, centre: tuple[float, float] = (80.0, 60.0)
) -> npt.NDArray[np.uint8]:
    """Return (H, W), 1 inside an ellipse of these semi-axes in px, long axis turned by `deg`."""
    y, x = np.mgrid[:HEIGHT_PX, :WIDTH_PX] + 0.5
    turn = math.radians(deg)
    dx, dy = x - centre[0], y - centre[1]
    along = dx * math.cos(turn) + dy * math.sin(turn)
    across = dy * math.cos(turn) - dx * math.sin(turn)
    inside: npt.NDArray[np.bool_] = (along / long) ** 2 + (across / short) ** 2 <= 1
    return inside.astype(np.uint8)


def perimeter(long: float, short: float) -> float:
    """The circumference by numerical integration of the arc."""
    arc, _ = quad(lambda t: math.hypot(long * math.sin(t), short * math.cos(t)), 0, 2 * math.pi)
    return float(arc)


def axis_ends(long: float, short: float, deg: float) -> list[list[float]]:
    """The ends of the long axis, then of the short one, around the middle of the image."""
    turn = math.radians(deg)
    along = np.array([math.cos(turn), math.sin(turn)])
    across = np.array([-along[1], along[0]])
    middle = np.array([80.0, 60.0])
    ends = (middle - long * along, middle + long * along)
    others = (middle - short * across, middle + short * across)
    return [point.round(6).tolist() for point in (*ends, *others)]


def head(index: int) -> tuple[float, float, float]:
    """Semi-axes in px and turn in degrees of one of the heads."""
    return 40.0 + index, 30.0 + index / 2, 7.0 * index


def write_heads(root: Path) -> Path:
    """Write `fetal_head` and `fetal_head_axes`: ten heads each at 0.5 and 1.25 mm per pixel."""
    masks: list[Row] = []
    axes: list[Row] = []
    for index in range(HEADS):
        long, short, deg = head(index)
        dataset, mm_per_px = ("near", 0.5) if index < HEADS // 2 else ("far", 1.25)
        mask = ellipse_mask(long, short, deg)
        row: Row = {
            "image_path": _write(root, mask * 120, "IMAGES", index),
            "dataset": dataset,
            "group_id": f"{dataset}:{index}",
            "split": "val",
            "mm_per_px": mm_per_px,
        }
        path = _write(root, mask, "MASKS", index)
        hc_mm = perimeter(long, short) * mm_per_px
        masks.append({**row, "mask_path": path, "hc_mm": hc_mm})
        ends = axis_ends(long, short, deg)
        points = {f"point_{n}_xy": json.dumps(xy) for n, xy in enumerate(ends, start=1)}
        axes.append({**row, **points})
    write_csv(root, "fetal_head", masks)
    write_csv(root, "fetal_head_axes", axes)
    return root


def _write(root: Path, pixels: npt.NDArray[np.uint8], folder: str, index: int) -> str:
    path = root / "Segmentation" / "Two" / "heads" / folder / f"{index:03d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(pixels).save(path)
    return f"../Segmentation/Two/heads/{folder}/{path.name}"
