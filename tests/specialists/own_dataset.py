"""Four tasks that no manifest lists, one of each kind, on drawn images, as a user brings them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from specialists.errors import TrainingError
from specialists.phantom.draw import Options, Phantom, draw
from specialists.phantom.tissue import Lesion
from specialists.training.commands import prepare
from specialists.training.new_task import Declared
from tests.specialists.dataset import Row, write_csv

IMAGES = 36
HEIGHT_PX, WIDTH_PX = 96, 128
LOOKS = [Lesion.BENIGN, Lesion.MALIGNANT, Lesion.NONE]
TASKS = {
    "my_outline": ("segmentation", 2),
    "my_classes": ("classification", 3),
    "my_box": ("detection", 1),
    "my_points": ("Regression", 2),
}


def write_own_data(root: Path) -> Path:
    """The folder, with 36 images in groups of two and neither `split` nor `dataset`."""
    rows: dict[str, list[Row]] = {task: [] for task in TASKS}
    for index in range(IMAGES):
        look = index // 2 % 3
        size = {"height_px": HEIGHT_PX, "width_px": WIDTH_PX}
        phantom = draw("breast", seed=500 + index, options=Options(lesion=LOOKS[look]), **size)
        labels = _labels(root, phantom, index, look)
        common = {"image_path": _write(root, phantom.pixels, "images", index)}
        for task, (name, classes) in TASKS.items():
            first: Row = {"task_name": name, "num_classes": classes, **common}
            rows[task].append({**first, **labels[task], "group_id": f"patient {index // 2}"})
    for task, found in rows.items():
        write_csv(root, task, found)
    return root


def _labels(root: Path, phantom: Phantom, index: int, look: int) -> dict[str, Row]:
    lesion = next(iter(phantom.truth.structures), None)
    mask = np.zeros(phantom.pixels.shape, np.uint8)
    box: Row = dict.fromkeys(("x_min", "y_min", "x_max", "y_max"), "")
    points: Row = {"point_1_xy": "", "point_2_xy": ""}
    if lesion is not None:
        mask[phantom.masks["lesion"]] = 1
        x_min, y_min, x_max, y_max = lesion.box
        box = {"x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max}
        points = {
            "point_1_xy": json.dumps([x_min, y_min]),
            "point_2_xy": json.dumps([x_max, y_max]),
        }
    return {
        "my_outline": {"mask_path": _write(root, mask, "masks", index)},
        "my_classes": {"mask": look},
        "my_box": box,
        "my_points": points,
    }


def _write(root: Path, pixels: np.ndarray, folder: str, index: int) -> str:
    path = root / folder / f"{index:03d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(pixels).save(path)
    return f"../{folder}/{path.name}"


def refusal(data: Path, task: str) -> str:
    """Return why a training on that task is refused."""
    with pytest.raises(TrainingError) as refused:
        prepare([task], data, data / "out", Declared())
    return str(refused.value)
