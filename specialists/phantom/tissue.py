"""The anatomy of a drawn image: echo and loss maps with exact outlines.

There is one set for a breast and one for a transperineal view.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from specialists.phantom.field import Field, Map, Tissue

OUTLINE_POINTS = 360


class Lesion(StrEnum):
    """What the drawn lesion is made to look like."""

    NONE = "none"
    BENIGN = "benign"
    MALIGNANT = "malignant"


@dataclass(frozen=True, kw_only=True, eq=False)
class Outline:
    """A star-shaped outline: `radii_mm` (N,) at N equal steps of angle round the centre.

    The image's y axis points down.
    """

    centre_mm: tuple[float, float]
    radii_mm: npt.NDArray[np.float64]

    def points_mm(self) -> npt.NDArray[np.float64]:
        """Return (N, 2) points (x, y) in mm from the image's upper left corner."""
        angles = np.arange(len(self.radii_mm)) * 2 * np.pi / len(self.radii_mm)
        offsets = np.stack([np.cos(angles), np.sin(angles)], axis=1) * self.radii_mm[:, None]
        return np.asarray(offsets + self.centre_mm, dtype=np.float64)

    def depth_inside(self, x_mm: Map, y_mm: Map) -> tuple[Map, Map]:
        """Return the depth inside the outline and the angle of the ray at each position.

        The depth is in millimetres along the ray from the outline inwards, negative outside.
        """
        dx, dy = x_mm - self.centre_mm[0], y_mm - self.centre_mm[1]
        angle = np.arctan2(dy, dx) % (2 * np.pi)
        known = np.arange(len(self.radii_mm) + 1) * 2 * np.pi / len(self.radii_mm)
        radius = np.interp(angle, known, np.append(self.radii_mm, self.radii_mm[0]))
        return (radius - np.hypot(dx, dy)).astype(np.float32), angle.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Ellipse:
    """Half axes along and across a direction; `tilt_rad` turns x towards y (down)."""

    centre_mm: tuple[float, float]
    half_mm: tuple[float, float]
    tilt_rad: float

    def outline(self) -> Outline:
        """Return the same curve as an outline."""
        angles = np.arange(OUTLINE_POINTS) * 2 * np.pi / OUTLINE_POINTS - self.tilt_rad
        a, b = self.half_mm
        radii = a * b / np.hypot(b * np.cos(angles), a * np.sin(angles))
        return Outline(centre_mm=self.centre_mm, radii_mm=radii)

    def ends_mm(self) -> npt.NDArray[np.float64]:
        """Return (2, 2) ends of the axis along the ellipse's direction.

        The first lies against the direction, the second along it.
        """
        along = self.half_mm[0] * np.array([np.cos(self.tilt_rad), np.sin(self.tilt_rad)])
        return np.stack([self.centre_mm - along, self.centre_mm + along])

    def tangents_mm(self, point_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return (2, 2) points where the lines from a point outside touch the curve.

        The ellipse is an affine image of the unit circle. There the points lie acos(1 / distance)
        to either side of the direction towards the point outside.
        """
        cosine, sine = np.cos(self.tilt_rad), np.sin(self.tilt_rad)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        seen = (point_mm - self.centre_mm) @ turn / self.half_mm
        spread = np.arccos(1 / np.hypot(*seen))
        angles = np.arctan2(seen[1], seen[0]) + np.array([-spread, spread])
        unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return np.asarray(unit * self.half_mm @ turn.T + self.centre_mm, dtype=np.float64)


@dataclass(frozen=True)
class _Canvas:
    """The image's pixel grid, and random fields on it with sizes in millimetres."""

    field: Field
    rng: np.random.Generator

    def smooth(self, width_mm: float, height_mm: float) -> Map:
        """Return (H, W) smooth noise of unit variance whose blobs have about that size."""
        sx, sy = self.field.spacing_mm
        down = _spline(self.field.height_px, height_mm / sy)
        across = _spline(self.field.width_px, width_mm / sx)
        seeds = self.rng.standard_normal((down.shape[1], across.shape[1]), dtype=np.float32)
        return np.asarray(down @ seeds @ across.T, dtype=np.float32)

    def strands(self, width_mm: float, height_mm: float, thick_mm: float) -> Map:
        """Return (H, W) thin strands in [0, 1], bright where they face the probe.

        The strands are the zero lines of smooth noise.
        """
        noise = self.smooth(width_mm, height_mm)
        sx, sy = self.field.spacing_mm
        slope_y, slope_x = np.gradient(noise, sy, sx)
        steep = np.hypot(slope_x, slope_y) + np.float32(0.02)
        facing = (slope_y / steep) ** 2
        line = np.exp(-((noise / steep / thick_mm) ** 2)) * facing * facing * facing
        presence = _rise(self.smooth(0.5 * width_mm, 1.5 * height_mm), 0.5)
        return np.asarray(line * presence, dtype=np.float32)

    def weave(self, width_mm: float, height_mm: float, thick_mm: float) -> Map:
        """Return (H, W) strands from 0 up.

        They are the sum of three sets, each finer and fainter than the one before.
        """
        whole = self.strands(width_mm, height_mm, thick_mm)
        for share in (0.7, 0.5):
            finer = self.strands(share * width_mm, share * height_mm, share * thick_mm + 0.04)
            whole = whole + np.float32(share) * finer
        return whole


def _spline(count: int, cell_px: float) -> Map:
    """Return (count, cells) cubic B-spline weights whose rows have unit length."""
    cell = max(cell_px, 1.0)
    cells = int(np.ceil(count / cell)) + 4
    place = np.arange(count, dtype=np.float32)[:, None] / cell + 1.5
    distance = np.abs(place - np.arange(cells, dtype=np.float32)[None, :])
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = np.clip(2 - distance, 0, None) ** 3 / 6
    weights = np.where(distance < 1, inner, outer)
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True), dtype=np.float32)


def _rise(value: Map, width: float) -> Map:
    """Return a smooth step from 0 to 1 round zero."""
    return np.asarray(0.5 + 0.5 * np.tanh(value / np.float32(width)), dtype=np.float32)


def _band(value: Map, centre: float, half_width: float) -> Map:
    """Return 1 at the centre, falling to 0 as a Gaussian."""
    return np.asarray(np.exp(-(((value - centre) / half_width) ** 2)), dtype=np.float32)


def breast_tissue(
    field: Field, rng: np.random.Generator, lesion: Outline | None, look: Lesion
) -> Tissue:
    """Return the maps of a breast: skin, fat with septa, gland, pectoral muscle and rib.

    The lesion is included where one is given.
    """
    canvas = _Canvas(field, rng)
    echo, loss = _breast_layers(canvas)
    if lesion is not None:
        draw = _benign if look is Lesion.BENIGN else _malignant
        echo, loss = draw(canvas, lesion, echo, loss)
    return Tissue(echo_db=echo, loss_db_mm=loss)


def _breast_layers(canvas: _Canvas) -> tuple[Map, Map]:
    rng = canvas.rng
    y = canvas.field.grid_mm()[1]
    depth = canvas.field.depth_mm
    skin = rng.uniform(0.9, 2.0)
    fat = skin + depth * rng.uniform(0.14, 0.30)
    gland = fat + depth * rng.uniform(0.28, 0.42)
    muscle = gland + depth * rng.uniform(0.16, 0.26)
    below = canvas.smooth(14, 9) * 0.075 * depth * np.clip((y - skin) / (0.2 * depth), 0, 1)
    y = np.asarray(y + below, dtype=np.float32)
    in_fat, in_gland = _rise(y - skin, 0.15), _rise(y - fat, 0.5)
    in_muscle, in_chest = _rise(y - gland, 0.4), _rise(y - muscle, 0.5)
    fat_db = -41 + 2.0 * canvas.smooth(5, 3) + 19 * canvas.weave(9, 2.4, 0.15)
    gland_db = -34 + 4.5 * canvas.smooth(4, 1.8) + 13 * canvas.weave(7, 1.6, 0.18)
    muscle_db = -43 + 2.5 * canvas.smooth(9, 1.5) + 17 * canvas.weave(12, 1.3, 0.15)
    chest_db = -50 + 3 * canvas.smooth(8, 4) + 6 * canvas.strands(9, 2.0, 0.2)
    flow = 2.4 * canvas.smooth(2.2, 0.45) + 1.6 * canvas.smooth(0.9, 0.3)
    echo = -29 + 8 * _band(y, skin, 0.16) + 4 * _band(y, 0.3, 0.35)
    echo = echo * (1 - in_fat) + fat_db * in_fat + 7 * _band(y, skin, 0.14)
    echo = echo * (1 - in_gland) + gland_db * in_gland
    echo = echo * (1 - in_muscle) + muscle_db * in_muscle
    echo = echo * (1 - in_chest) + chest_db * in_chest
    fascia = _rise(canvas.smooth(12, 6) + 0.6, 0.4)
    echo += (15 * _band(y, gland, 0.22) + 11 * _band(y, muscle, 0.3)) * fascia
    loss = np.zeros_like(echo) + 0.25 * in_muscle + 0.35 * in_chest
    echo, loss = _rib(canvas, (echo, loss), muscle)
    echo += 3.0 + 2.5 * canvas.smooth(18, 15) + 0.8 * flow * in_fat
    loss += np.clip(canvas.smooth(5, 60) - 1.0, 0, 1.0) * 0.35
    return np.asarray(echo, dtype=np.float32), np.asarray(loss, dtype=np.float32)


def _rib(canvas: _Canvas, maps: tuple[Map, Map], depth_mm: float) -> tuple[Map, Map]:
    """Add a rib to the maps, two times in three.

    It is a bright arc of bone below the muscle, with its shadow.
    """
    if canvas.rng.random() < 1 / 3:
        return maps
    echo, loss = maps
    x, y = canvas.field.grid_mm()
    half = canvas.rng.uniform(6, 10)
    centre = (canvas.rng.uniform(0.1, 0.9) * canvas.field.right_mm, depth_mm + half * 0.5)
    inside, angle = (
        Ellipse(centre_mm=centre, half_mm=(half, 0.5 * half), tilt_rad=0)
        .outline()
        .depth_inside(x, y)
    )
    front = np.clip(-np.sin(angle), 0, 1)
    echo = echo + 13 * _band(inside, 0.3, 0.35) * front - 8 * _rise(inside - 0.6, 0.3)
    return echo, loss + 1.3 * _rise(inside, 0.3)


def _benign(canvas: _Canvas, lesion: Outline, echo: Map, loss: Map) -> tuple[Map, Map]:
    """Draw a benign lesion: smooth and darker, with a bright capsule front and back.

    It has edge shadows, and enhancement behind it.
    """
    rng = canvas.rng
    inside, angle = lesion.depth_inside(*canvas.field.grid_mm())
    core = _rise(inside, 0.18)
    fluid = rng.random() < 0.35
    dark = rng.uniform(-60, -55) if fluid else rng.uniform(-52, -46)
    body = dark + (0.6 if fluid else 2.0) * (canvas.smooth(2.5, 1.2) + canvas.smooth(1.2, 0.4))
    echo = echo * (1 - core) + body * core
    facing = np.abs(np.sin(angle)) ** 4
    echo = echo + rng.uniform(5, 9) * _band(inside, -0.25, 0.25) * facing
    size = float(np.mean(lesion.radii_mm))
    loss = loss * (1 - core) - core * rng.uniform(5, 11) / (2 * size)
    edge = _band(inside, 0.0, 0.5) * np.abs(np.cos(angle)) ** 8
    return echo, np.asarray(loss + edge * rng.uniform(0.8, 1.8), dtype=np.float32)


def _malignant(canvas: _Canvas, lesion: Outline, echo: Map, loss: Map) -> tuple[Map, Map]:
    """Draw a malignant lesion: irregular and dark, with a bright halo and spicules.

    It casts a shadow behind it.
    """
    rng = canvas.rng
    inside, angle = lesion.depth_inside(*canvas.field.grid_mm())
    core = _rise(inside + 0.25 * canvas.smooth(1.2, 0.8), 0.45)
    body = rng.uniform(-52, -46) + 2.5 * canvas.smooth(2.0, 1.2) + 2 * canvas.smooth(1.2, 0.4)
    halo = _rise(inside + 2.2, 0.8) * (1 - core) * _rise(canvas.smooth(4, 3) + 0.3, 0.5)
    rays = np.cos(angle * rng.integers(9, 15) + 1.5 * canvas.smooth(8, 8)) ** 6
    reach = np.exp(np.minimum(inside, 0) / 2.5) * (1 - core)
    echo = echo + 4 * halo + (6 * rays - 3) * reach
    echo = echo * (1 - core) + body * core
    grains = canvas.strands(1.2, 1.0, 0.12) * core * (rng.random() < 0.4)
    size = float(np.mean(lesion.radii_mm))
    loss = loss + core * rng.uniform(6, 15) / (2 * size)
    return np.asarray(echo + 14 * grains, dtype=np.float32), np.asarray(loss, dtype=np.float32)


def birth_tissue(
    field: Field, rng: np.random.Generator, symphysis: Ellipse, head: Ellipse
) -> Tissue:
    """Return the maps of perineal tissue with symphysis and head.

    The symphysis is an oval capsule, the head a bright skull over its shadow.
    """
    canvas = _Canvas(field, rng)
    x, y = field.grid_mm()
    below = np.hypot(x - field.apex_mm[0], y - field.apex_mm[1]) - field.near_mm
    echo = -27 + 3 * canvas.smooth(6, 2) + 6 * canvas.smooth(35, 30) - 0.13 * below
    echo = (
        echo
        + 3 * canvas.smooth(3, 1.2)
        + 10 * canvas.weave(24, 6, 0.6)
        + 8 * _band(below, 0.6, 0.7)
    )
    loss = np.clip(canvas.smooth(14, 200), 0, 2) * 0.05 * _rise(below - 12, 4)
    echo, loss = _head(canvas, head, echo, loss)
    inside, angle = symphysis.outline().depth_inside(x, y)
    core = _rise(inside, 0.6)
    facing = 0.45 + 0.55 * np.abs(np.sin(angle - symphysis.tilt_rad))
    body = rng.uniform(-45, -40) + 2.5 * canvas.smooth(4, 2.5)
    echo = echo * (1 - core) + body * core
    echo = echo + rng.uniform(13, 18) * _band(inside, 0.0, 1.2) * facing
    behind = np.asarray(loss + core * rng.uniform(0.1, 0.35), dtype=np.float32)
    return Tissue(echo_db=echo.astype(np.float32), loss_db_mm=behind)


def _head(canvas: _Canvas, head: Ellipse, echo: Map, loss: Map) -> tuple[Map, Map]:
    rng = canvas.rng
    x, y = canvas.field.grid_mm()
    inside, _ = head.outline().depth_inside(x, y)
    core = _rise(inside - 3.0, 1.0)
    brain = -43 + 3 * canvas.smooth(12, 9) + 12 * canvas.strands(14, 9, 0.7)
    echo = echo * (1 - core) + brain * core
    slope_y, slope_x = np.gradient(inside)
    ray_x, ray_y = x - canvas.field.apex_mm[0], y - canvas.field.apex_mm[1]
    square = np.hypot(ray_x, ray_y) * np.hypot(slope_x, slope_y) + np.float32(1e-6)
    facing = (slope_x * ray_x + slope_y * ray_y) / square
    near = 0.3 + 0.7 * np.clip(facing, 0, 1)
    far = 0.85 * np.clip(-facing, 0, 1) ** 2
    patches = 0.8 + 0.2 * np.tanh(2 * canvas.smooth(18, 18) + 0.5)
    skull = _band(inside, 1.6, 1.9)
    echo = echo + 32 * skull * np.where(facing > 0, near, far) * patches
    bone = rng.uniform(2.0, 4.5)
    bone_behind = _band(inside, 3.6, 1.6) * np.clip(facing, 0.15, 1)
    loss = loss + bone * bone_behind + 0.03 * core
    return echo, np.asarray(loss, dtype=np.float32)
