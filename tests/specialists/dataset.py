"""A folder in the FMC-UIA layout, drawn from phantoms: one small CSV of each kind."""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from specialists.phantom.draw import Options, Phantom, draw
from specialists.phantom.tissue import Lesion

BREAST = 12
BIRTH = 6
SIZES_PX = [(96, 128), (128, 96), (112, 112)]
LOOKS = [Lesion.BENIGN, Lesion.MALIGNANT, Lesion.NONE]
VAL_GROUPS = {"Two/drawn": (1, 2), "Three/drawn": (2,)}
Row = dict[str, object]


def write_dataset(root: Path) -> Path:
    """Write 12 breast and 6 intrapartum images in groups of two, and return the folder.

    Both splits have every label.
    """
    tables: dict[str, list[Row]] = {}
    for index in range(BREAST):
        height_px, width_px = SIZES_PX[index % 3]
        options = Options(lesion=LOOKS[index % 3])
        size = {"height_px": height_px, "width_px": width_px}
        _add_breast(root, tables, draw("breast", seed=index, options=options, **size), index)
    for index in range(BIRTH):
        phantom = draw("intrapartum", seed=index, height_px=128, width_px=160)
        _add_birth(root, tables, phantom, index)
    for task, rows in tables.items():
        write_csv(root, task, rows)
    return root


def write_csv(root: Path, task: str, rows: list[Row]) -> Path:
    path = root / "csv_files" / f"{task}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    named = [{"task_id": task, **row} for row in rows]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(named[0]))
        writer.writeheader()
        writer.writerows(named)
    return path


def read_csv(root: Path, task: str) -> list[dict[str, str]]:
    with (root / "csv_files" / f"{task}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _add_breast(root: Path, tables: dict[str, list[Row]], phantom: Phantom, index: int) -> None:
    row = _row(root, phantom, "Two/drawn", index)
    lesion = next((s for s in phantom.truth.structures), None)
    mask = np.zeros(phantom.pixels.shape, np.uint8)
    box = dict.fromkeys(("x_min", "y_min", "x_max", "y_max"), None)
    if lesion is not None:
        mask[phantom.masks["lesion"]] = 1
        box = dict(zip(box, lesion.box, strict=True))
        label = int(phantom.truth.lesion is Lesion.MALIGNANT)
        tables.setdefault("breast_2cls", []).append({**row, "mask": label})
    tables.setdefault("breast_lesion_det", []).append({**row, **box})
    path = _write(root, mask, "Two/drawn/MASKS", index)
    tables.setdefault("breast_lesion", []).append({**row, "mask_path": path})


def _add_birth(root: Path, tables: dict[str, list[Row]], phantom: Phantom, index: int) -> None:
    row = _row(root, phantom, "Three/drawn", index)
    mask = np.zeros(phantom.pixels.shape, np.uint8)
    for value, label in enumerate(("pubic symphysis", "fetal head"), start=1):
        mask[phantom.masks[label]] = value
    path = _write(root, mask, "Three/drawn/MASKS", index)
    tables.setdefault("head_symphysis_multi", []).append({**row, "mask_path": path})
    angle = phantom.truth.aop
    if angle is None:
        raise ValueError("an intrapartum phantom has an angle")
    marks = (angle.superior, angle.inferior, angle.tangent)
    points = {f"point_{n}_xy": json.dumps(xy) for n, xy in enumerate(marks, start=1)}
    stated: float | str = angle.deg
    if index == 0:
        points["point_3_xy"] = stated = ""  # a landmark that nobody marked
    tables.setdefault("aop_landmarks", []).append({**row, **points, "aop_deg": stated})
    head = next(s for s in phantom.truth.structures if s.label == "fetal head")
    corners = dict(zip(("x_min", "y_min", "x_max", "y_max"), head.box, strict=True))
    tables.setdefault("intrapartum_head_det", []).append({**row, **corners})


def _row(root: Path, phantom: Phantom, folder: str, index: int) -> Row:
    group = index // 2
    return {
        "image_path": _write(root, phantom.pixels, f"{folder}/IMAGES", index),
        "dataset": folder,
        "group_id": f"{folder}:{group}",
        "split": "val" if group in VAL_GROUPS[folder] else "train",
    }


def _write(root: Path, pixels: np.ndarray, folder: str, index: int) -> str:
    path = root / "Segmentation" / folder / f"{index:03d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(pixels).save(path)
    return f"../Segmentation/{folder}/{path.name}"
