"""The physics of a drawn B-mode image.

It covers the probe's field, speckle, attenuation, log compression and scan conversion.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Map = npt.NDArray[np.float32]
"""(H, W) float32 on the image's pixel centres, or (depth samples, beams) on the probe's grid."""

FLOOR_DB = -56.0
"""Echo level drawn as black; 0 dB is drawn as white."""

LOOKS = 3
"""Number of frames that are averaged, as in a scanner's spatial compounding."""


class FieldShape(StrEnum):
    """What the beams cover.

    In order: a rectangle, a fan from a point, a fan from an arc, a fan under a flat top.
    """

    LINEAR = "linear"
    SECTOR = "sector"
    CONVEX = "convex"
    TRAPEZOID = "trapezoid"


@dataclass(frozen=True, kw_only=True)
class Field:
    """Where the beams run, in millimetres from the image's upper left corner.

    A fan's beams start `near_mm` from the apex and end `far_mm` from it; a rectangle's fill
    `left_mm` to `right_mm` and run from the top of the image to `far_mm`.
    """

    shape: FieldShape
    height_px: int
    width_px: int
    spacing_mm: tuple[float, float]
    """Pixel spacing per axis, (x, y)."""
    left_mm: float
    right_mm: float
    apex_mm: tuple[float, float]
    near_mm: float
    far_mm: float
    half_angle_rad: float

    @property
    def depth_mm(self) -> float:
        """Length of a beam."""
        return self.far_mm - self.near_mm

    def grid_mm(self) -> tuple[Map, Map]:
        """Return the pixel centres as a (1, W) map of x and an (H, 1) map of y."""
        x = (np.arange(self.width_px, dtype=np.float32) + 0.5) * self.spacing_mm[0]
        y = (np.arange(self.height_px, dtype=np.float32) + 0.5) * self.spacing_mm[1]
        return x[None, :].astype(np.float32), y[:, None].astype(np.float32)

    def contains(self, x_mm: npt.ArrayLike, y_mm: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return whether each point lies in the field."""
        x, y = np.asarray(x_mm), np.asarray(y_mm)
        if self.shape is FieldShape.LINEAR:
            inside = (x >= self.left_mm) & (x < self.right_mm) & (y >= 0) & (y < self.far_mm)
        else:
            dx, dy = x - self.apex_mm[0], y - self.apex_mm[1]
            radius = np.hypot(dx, dy)
            inside = (radius >= self.near_mm) & (radius < self.far_mm)
            inside &= np.abs(np.arctan2(dx, dy)) <= self.half_angle_rad
        return np.asarray(inside, dtype=np.bool_)

    def beams_mm(self) -> tuple[Map, Map]:
        """Return (depth samples, beams) maps of x and y along the beams of a fan.

        There is about one sample per pixel.
        """
        step = min(self.spacing_mm)
        depths = np.arange(self.near_mm, self.far_mm + step, step, dtype=np.float32)
        count = max(32, int(1.4 * self.half_angle_rad * self.far_mm / step))
        angles = np.linspace(-self.half_angle_rad, self.half_angle_rad, count, dtype=np.float32)
        x = self.apex_mm[0] + depths[:, None] * np.sin(angles)[None, :]
        y = self.apex_mm[1] + depths[:, None] * np.cos(angles)[None, :]
        return x.astype(np.float32), y.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Tissue:
    """What the beams meet: echo strength in dB and loss in dB per mm.

    The loss is what exceeds the attenuation that the scanner compensates.
    """

    echo_db: Map
    loss_db_mm: Map


def linear_field(
    height_px: int, width_px: int, spacing_mm: tuple[float, float], margin: float
) -> Field:
    """Return a rectangular field that fills the image except for a margin at its right.

    `margin` is a share of the width.
    """
    right = width_px * spacing_mm[0] * (1.0 - margin)
    return Field(
        shape=FieldShape.LINEAR,
        height_px=height_px,
        width_px=width_px,
        spacing_mm=spacing_mm,
        left_mm=0.0,
        right_mm=right,
        apex_mm=(right / 2, 0.0),
        near_mm=0.0,
        far_mm=height_px * spacing_mm[1],
        half_angle_rad=0.0,
    )


def fan_field(
    shape: FieldShape,
    size_px: tuple[int, int],
    aspect: float,
    reach_mm: tuple[float, float],
    half_angle_rad: float,
) -> Field:
    """Return a fan that just fits the image.

    Args:
        shape: the kind of fan.
        size_px: (height, width) of the image.
        aspect: pixel width ÷ height.
        reach_mm: (near, far) distance of the beams' ends from the apex.
        half_angle_rad: angle between the central and the outermost beams.
    """
    height_px, width_px = size_px
    near, far = reach_mm
    flat = shape is FieldShape.TRAPEZOID
    top = near if flat else near * float(np.cos(half_angle_rad))
    border = 0.0 if flat else 0.02
    tall = (far - top) / (1.0 - 2 * border)
    wide = 0.0 if flat else 2 * far * float(np.sin(half_angle_rad))
    spacing = max(tall / height_px, wide / (width_px * aspect))
    apex_y = border * tall - top
    return Field(
        shape=shape,
        height_px=height_px,
        width_px=width_px,
        spacing_mm=(spacing * aspect, spacing),
        left_mm=0.0,
        right_mm=width_px * spacing * aspect,
        apex_mm=(width_px * spacing * aspect / 2, apex_y),
        near_mm=near,
        far_mm=far,
        half_angle_rad=half_angle_rad,
    )


def b_mode(tissue: Tissue, field: Field, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Render the (H, W) uint8 image that the probe would show of that tissue.

    It is black outside the field.
    """
    sx, sy = field.spacing_mm
    x, y = field.grid_mm()
    if field.shape is FieldShape.LINEAR:
        grey = _beams_to_grey(tissue.echo_db, tissue.loss_db_mm, (sy, sx), rng)
    else:
        beam_x, beam_y = field.beams_mm()
        places = np.stack([beam_y / sy - 0.5, beam_x / sx - 0.5])
        echo = ndimage.map_coordinates(tissue.echo_db, places, order=1, mode="nearest")
        loss = ndimage.map_coordinates(tissue.loss_db_mm, places, order=1, mode="nearest")
        step = min(sx, sy)
        pitch = 2 * field.half_angle_rad * field.far_mm / echo.shape[1]
        beams = _beams_to_grey(echo, loss, (step, 0.6 * pitch), rng)
        dx, dy = x - field.apex_mm[0], y - field.apex_mm[1]
        row = (np.hypot(dx, dy) - field.near_mm) / step
        column = (np.arctan2(dx, dy) / field.half_angle_rad + 1) / 2 * (echo.shape[1] - 1)
        grey = ndimage.map_coordinates(beams, np.stack([row, column]), order=1, mode="nearest")
    shown = np.where(field.contains(x, y), np.clip(np.rint(grey), 0, 255), 0)
    return shown.astype(np.uint8)


def _beams_to_grey(
    echo_db: Map, loss_db_mm: Map, pitch_mm: tuple[float, float], rng: np.random.Generator
) -> Map:
    """Return the grey levels of echoes on a (depth, beam) grid of that pitch.

    They range from 0 to 255 but are not clipped.
    """
    axial_mm, lateral_mm = pitch_mm
    lost = np.cumsum(loss_db_mm, axis=0, dtype=np.float32) * np.float32(axial_mm)
    lost = ndimage.gaussian_filter1d(lost, 0.7 / lateral_mm, axis=1, mode="nearest")
    amplitude = np.power(np.float32(10.0), (echo_db - lost) / 20).astype(np.float32)
    power = np.zeros_like(amplitude)
    for _ in range(LOOKS):
        power += _speckle(amplitude, rng)
    depth = np.linspace(0.0, 1.0, len(power), dtype=np.float32)[:, None]
    noise_floor = np.power(np.float32(10.0), (-60.0 + 6.0 * depth) / 10)
    noise = ndimage.gaussian_filter1d(
        rng.exponential(1.0, power.shape).astype(np.float32), 1.0, axis=1
    )
    decibels = 10 * np.log10(power / LOOKS + noise * noise_floor + np.float32(1e-9))
    return np.asarray(255 * (1 - decibels / FLOOR_DB), dtype=np.float32)


def _speckle(amplitude: Map, rng: np.random.Generator) -> Map:
    """Return the echo power of random scatterers seen through a point spread function.

    The function widens sideways with depth.
    """
    scatterers = rng.standard_normal((2, *amplitude.shape), dtype=np.float32) * amplitude
    axial = max(0.7, amplitude.shape[0] / 620)
    seen = ndimage.gaussian_filter1d(scatterers, axial, axis=1, mode="nearest")
    widths = np.array([1.2, 2.4]) * max(0.7, amplitude.shape[1] / 800)
    near, far = (
        ndimage.gaussian_filter1d(seen, width, axis=2, mode="nearest")
        * np.float32(2 * np.sqrt(np.pi * width * axial))
        for width in widths
    )
    depth = np.linspace(0.0, 1.0, len(amplitude), dtype=np.float32)[None, :, None]
    mixed = near * (1 - depth) + far * depth
    return np.asarray((mixed**2).sum(axis=0) / 2, dtype=np.float32)
