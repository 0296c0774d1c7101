"""Synthetic (phantom) images as training samples.

They are a small, capped share that teaches the geometry, never the diagnosis.
"""

from pathlib import Path

from PIL import Image as PILImage

from specialists.phantom.draw import draw
from specialists.training.data.tables import Sample

DATASET = "phantom"
SHARE = 0.02
"""Largest share of phantom images among the training samples."""

LABELLED = frozenset({"breast_lesion", "breast_lesion_det", "exam_cls"})
"""Tasks that phantom images carry labels of."""

SIZES = ((480, 640), (600, 800), (500, 500), (640, 480))


def phantom_samples(folder: Path, count: int) -> list[Sample]:
    """Return `count` phantom breast images, drawn into `folder` unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for seed in range(count):
        # seeds far from those that a user or a test draws with
        phantom = draw(
            "breast",
            seed=1_000_000 + seed,
            height_px=SIZES[seed % 4][0],
            width_px=SIZES[seed % 4][1],
        )
        image, mask = folder / f"{seed:04d}.png", folder / f"{seed:04d}_mask.png"
        PILImage.fromarray(phantom.pixels).save(image)
        lesion = phantom.masks.get("lesion")
        drawn = (phantom.pixels * 0) if lesion is None else lesion.astype("uint8")
        PILImage.fromarray(drawn).save(mask)
        box = next((s.box for s in phantom.truth.structures if s.label == "lesion"), None)
        samples.append(
            Sample(
                path=image,
                dataset=DATASET,
                group=f"phantom:{seed}",
                split="train",
                masks={"breast_lesion": mask},
                boxes={"breast_lesion_det": box},
                classes={"exam_cls": 0},
            )
        )
    return samples
