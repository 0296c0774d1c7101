"""Drawn B-mode images whose geometry is exactly known: the tests' images and the demo's default.

They show where a point or an outline ends up after the whole way through the service. They are no
evidence of how a specialist performs on patients, and the PNG carries a mark so that a report calls
them synthetic.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL.PngImagePlugin import PngInfo

from reports.model import Point
from specialists.errors import Rejected
from specialists.phantom.field import Field, FieldShape, b_mode, fan_field, linear_field
from specialists.phantom.tissue import (
    OUTLINE_POINTS,
    Ellipse,
    Lesion,
    Outline,
    birth_tissue,
    breast_tissue,
)
from specialists.phantom.truth import (
    MARK,
    PhantomKind,
    Truth,
    progression,
    read_truth,
    tangent_of,
    truth_of,
)

__all__ = [
    "MARK",
    "Lesion",
    "Options",
    "Phantom",
    "Truth",
    "draw",
    "png_bytes",
    "read_truth",
    "write_png",
]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to draw; what is None is chosen at random from the seed, but a breast's field is linear.

    `pixel_aspect` is a pixel's width ÷ its height. `furniture` are the scanner's depth ticks and
    grey bar.
    """

    lesion: Lesion | None = None
    field: FieldShape | None = None
    furniture: bool | None = None
    pixel_aspect: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Phantom:
    """A drawn image with its truth; `pixels` is (H, W) uint8.

    `masks` maps a structure's label to its (H, W) raster of pixel centres inside.
    """

    pixels: npt.NDArray[np.uint8]
    masks: dict[str, npt.NDArray[np.bool_]]
    truth: Truth


def draw(
    kind: PhantomKind,
    *,
    seed: int,
    height_px: int = 600,
    width_px: int = 800,
    options: Options | None = None,
) -> Phantom:
    """Draw an image of that size, with its truth; the same arguments give the same bytes.

    Raises:
        Rejected: a side is shorter than 64 px, the pixel aspect is not within 0.5 to 2, or the kind
            has no such field.
    """
    wanted = options or Options()
    if min(height_px, width_px) < 64:
        raise Rejected("A phantom needs at least 64 pixels on each side.")
    if not 0.5 <= wanted.pixel_aspect <= 2.0:
        raise Rejected("A phantom's pixel aspect must be between 0.5 and 2.")
    rng = np.random.default_rng([seed, 0 if kind == "breast" else 1])
    if kind == "breast":
        return _breast(seed, rng, (height_px, width_px), wanted)
    return _intrapartum(seed, rng, (height_px, width_px), wanted)


def write_png(phantom: Phantom, path: Path) -> None:
    """Write the image as a PNG file with its truth in the text chunk `MARK`.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_bytes(png_bytes(phantom))


def png_bytes(phantom: Phantom) -> bytes:
    """Return the bytes of the PNG file that `write_png` writes."""
    text = PngInfo()
    text.add_text(MARK, phantom.truth.model_dump_json())
    buffer = io.BytesIO()
    PIL.Image.fromarray(phantom.pixels).save(buffer, format="PNG", pnginfo=text)
    return buffer.getvalue()


def _breast(
    seed: int, rng: np.random.Generator, size_px: tuple[int, int], wanted: Options
) -> Phantom:
    height_px, width_px = size_px
    shape = wanted.field or FieldShape.LINEAR
    furniture = wanted.furniture if wanted.furniture is not None else bool(rng.random() < 0.3)
    depth_mm = float(rng.uniform(30, 46))
    if shape is FieldShape.LINEAR:
        spacing = min(depth_mm / height_px, 62 / (width_px * wanted.pixel_aspect))
        margin = 0.06 if furniture else 0.0
        field = linear_field(height_px, width_px, (spacing * wanted.pixel_aspect, spacing), margin)
    else:
        near = float(rng.uniform(38, 70)) if shape is not FieldShape.SECTOR else 2.0
        half_angle = float(rng.uniform(0.38, 0.5))
        field = fan_field(shape, size_px, wanted.pixel_aspect, (near, near + depth_mm), half_angle)
    look = wanted.lesion or list(Lesion)[int(rng.choice(3, p=[0.2, 0.5, 0.3]))]
    outline = None if look is Lesion.NONE else _lesion_outline(field, rng, look)
    pixels = b_mode(breast_tissue(field, rng, outline, look), field, rng)
    outlines = {} if outline is None else {"lesion": outline}
    truth = truth_of(("breast", seed, look), field, outlines, None)
    return _phantom(pixels, outlines, field, truth, furniture)


def _lesion_outline(field: Field, rng: np.random.Generator, look: Lesion) -> Outline:
    """Return a lesion's outline within the field.

    A benign one is wider than tall and smooth, a malignant one taller than wide and irregular.
    """
    reach = 0.5 * min(field.depth_mm, 42.0)
    size = reach * float(np.exp(rng.uniform(np.log(0.16), np.log(0.48))))
    stretch = float(rng.uniform(1.15, 1.6))
    angles = np.arange(OUTLINE_POINTS) * 2 * np.pi / OUTLINE_POINTS
    benign = look is Lesion.BENIGN
    half = (size * stretch**0.5, size / stretch**0.5)
    tilt = float(rng.normal(0, 0.12))
    base = Ellipse(
        centre_mm=(0, 0), half_mm=half, tilt_rad=tilt if benign else tilt + np.pi / 2
    ).outline()
    wobble = np.zeros(OUTLINE_POINTS)
    for order in range(2, 5 if benign else 12):
        strength = (0.03 if benign else 0.10) / order**0.7
        wobble += rng.normal(0, strength) * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
    radii = base.radii_mm * np.exp(np.clip(wobble, -0.4, 0.4))
    largest = float(radii.max())
    for _ in range(200):
        x = float(rng.uniform(0.15, 0.85)) * field.right_mm
        y = float(rng.uniform(0.12, 0.55)) * field.depth_mm
        outline = Outline(centre_mm=(x, y), radii_mm=radii)
        bottom = field.apex_mm[1] + field.far_mm
        points = outline.points_mm()
        shown = (points > 0).all() and (points[:, 0] < field.right_mm).all()
        if (
            shown
            and field.contains(*points.T).all()
            and largest + 2.5 < y < bottom - 1.15 * largest
        ):
            return outline
    return Outline(centre_mm=_middle(field), radii_mm=radii * min(1.0, 0.2 * reach / largest))


def _middle(field: Field) -> Point:
    return field.apex_mm[0], field.apex_mm[1] + field.near_mm + 0.45 * field.depth_mm


def _intrapartum(
    seed: int, rng: np.random.Generator, size_px: tuple[int, int], wanted: Options
) -> Phantom:
    shape = wanted.field or (FieldShape.CONVEX if rng.random() < 0.85 else FieldShape.SECTOR)
    if shape not in (FieldShape.CONVEX, FieldShape.SECTOR):
        raise Rejected("A transperineal view is drawn as a sector or convex field.")
    furniture = wanted.furniture if wanted.furniture is not None else bool(rng.random() < 0.6)
    fan = shape is FieldShape.CONVEX
    near = float(rng.uniform(32, 46)) if fan else 6.0
    far = near + float(rng.uniform(130, 155)) + (0 if fan else 20)
    half_angle = float(rng.uniform(0.64, 0.80) if fan else rng.uniform(0.74, 0.86))
    field = fan_field(shape, size_px, wanted.pixel_aspect, (near, far), half_angle)
    symphysis, head = _birth_anatomy(field, rng)
    pixels = b_mode(birth_tissue(field, rng, symphysis, head), field, rng)
    outlines = {"pubic symphysis": symphysis.outline(), "fetal head": head.outline()}
    angle = progression(field, symphysis, head)
    truth = truth_of(("intrapartum", seed, Lesion.NONE), field, outlines, angle)
    return _phantom(pixels, outlines, field, truth, furniture)


def _birth_anatomy(field: Field, rng: np.random.Generator) -> tuple[Ellipse, Ellipse]:
    """Return a symphysis at the upper left and a head below it.

    Both are whole in the image, and the tangent point is in the field.
    """
    apex_x, top = field.apex_mm[0], field.apex_mm[1] + field.near_mm
    top += max(0.0, 0.8 * (32 - field.near_mm))  # a fan from a point has no room near its tip
    for _ in range(2000):
        long = float(rng.uniform(15, 19))
        symphysis = Ellipse(
            centre_mm=(apex_x - rng.uniform(12, 32), top + rng.uniform(16, 30)),
            half_mm=(long, long * float(rng.uniform(0.36, 0.46))),
            tilt_rad=float(rng.uniform(-0.5, 0.35)),
        )
        wide = float(rng.uniform(44, 54))
        head = Ellipse(
            centre_mm=(apex_x + rng.uniform(-30, 26), top + rng.uniform(72, 98)),
            half_mm=(wide, wide * float(rng.uniform(0.76, 0.9))),
            tilt_rad=float(rng.uniform(0.2, 1.4)),
        )
        if _fits(field, symphysis, head):
            return symphysis, head
    raise Rejected("No anatomy fits this field; ask for another size.")


def _fits(field: Field, symphysis: Ellipse, head: Ellipse) -> bool:
    pubis, skull = symphysis.outline().points_mm(), head.outline().points_mm()
    sx, sy = field.spacing_mm
    room = np.array([field.width_px * sx, field.height_px * sy])
    apart = float(np.hypot(*(pubis[:, None] - skull[None]).transpose(2, 0, 1)).min())
    clear = head.outline().depth_inside(*_as_maps(pubis))[0].max() < 0
    return bool(
        field.contains(*pubis.T).mean() > 0.97
        and (skull > 0).all()
        and (skull < room).all()
        and field.contains(*skull.T).mean() > 0.8
        and clear
        and apart > 4
        and field.contains(*tangent_of(symphysis, head)[0]).all()
    )


def _as_maps(
    points: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    x, y = points.astype(np.float32).T
    return x, y


def _phantom(
    pixels: npt.NDArray[np.uint8],
    outlines: dict[str, Outline],
    field: Field,
    truth: Truth,
    furniture: bool,
) -> Phantom:
    x, y = field.grid_mm()
    masks = {name: outline.depth_inside(x, y)[0] >= 0 for name, outline in outlines.items()}
    if furniture:
        pixels = np.where(field.contains(x, y), pixels, _furniture(field))
    return Phantom(pixels=pixels, masks=masks, truth=truth)


def _furniture(field: Field) -> npt.NDArray[np.uint8]:
    """Return (H, W) uint8 with a grey bar, and centimetre ticks of depth at the right edge."""
    drawn = np.zeros((field.height_px, field.width_px), dtype=np.uint8)
    height, width = drawn.shape
    thick = max(1, height // 300)
    top = field.apex_mm[1] + field.near_mm
    ticks = np.arange(top, height * field.spacing_mm[1], 10.0) / field.spacing_mm[1]
    for number, row in enumerate(ticks.astype(int)):
        long = width // (60 if number % 5 == 0 else 110)
        drawn[max(row, 0) : row + thick, width - long - 2 : width - 2] = 200
    bar = np.linspace(255, 0, height // 4).astype(np.uint8)
    drawn[8 : 8 + len(bar), 4 : 4 + max(2, width // 60)] = bar[: height - 8, None]
    return drawn
