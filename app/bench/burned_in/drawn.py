"""Text drawn into phantoms at several sizes, contrasts and places, and how much of it is found.

The same five texts stand in every screen: a name, a date, an age, an id and a diagnosis.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from app.images.burned_in.finder import FindText
from specialists.phantom.draw import draw

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

TEXTS = ("MARIA GONZALEZ", "12.03.1961", "58Y", "ID 4471209", "TIRADS 4C")
SIZES_PX = (10, 14, 20, 28, 40)
WIDTH_PX, HEIGHT_PX = 1024, 768
MARGIN_PX = 70
"""Black margin around the phantom, in which text of the largest size has room."""

GONE_SHARE = 0.99
"""Share of a text's ink that must be black where it counts as gone."""

NEAR_HEIGHTS = 1.0
"""Tissue this near to a text's bounds, in heights of its letters, may go with it."""

_TINT = (1.0, 0.85, 0.2)
"""Yellow: how strongly text in colour shows in red, green and blue."""


class Ink(StrEnum):
    """How bright the letters are."""

    FAINT = "40 over its ground"
    MIDDLE = "100 over its ground"
    WHITE = "white"


class Place(StrEnum):
    """Where the texts stand."""

    MARGIN = "margin"
    TISSUE = "tissue"
    TURNED = "turned by 90°"


_RISE = {Ink.FAINT: 40, Ink.MIDDLE: 100, Ink.WHITE: 255}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A way in which the texts are drawn."""

    place: Place
    ink: Ink
    size_px: int
    colour: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Screen:
    """A screen, (H, W) or (H, W, 3), with the ink of each text, (H, W)."""

    pixels: Pixels
    inks: tuple[Mask, ...]


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many texts of a kind are gone, and how much of the tissue away from them is too."""

    kind: Kind
    texts: int
    gone: int
    tissue: float


def kinds() -> Iterator[Kind]:
    """Yield every way in which the texts are drawn."""
    for place, ink, size_px, colour in product(Place, Ink, SIZES_PX, (False, True)):
        yield Kind(place=place, ink=ink, size_px=size_px, colour=colour)


def screen_of(kind: Kind, seed: int) -> Screen:
    """Draw a screen with all texts of that kind."""
    ground = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    height, width = HEIGHT_PX - 2 * MARGIN_PX, WIDTH_PX - 2 * MARGIN_PX
    tissue = draw("breast", seed=seed, height_px=height, width_px=width).pixels
    ground[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] = tissue
    letters = [_letters(text, kind) for text in TEXTS]
    layers = [
        _placed(one, at) for one, at in zip(letters, _corners(letters, kind.place), strict=True)
    ]
    tint = np.asarray(_TINT if kind.colour else (1.0, 1.0, 1.0), np.float32)
    over = np.max(layers, axis=0)[..., None] / np.float32(255) * _RISE[kind.ink] * tint
    pixels = np.clip(ground[..., None] + over, 0, 255).astype(np.uint8)
    return Screen(
        pixels=pixels if kind.colour else np.ascontiguousarray(pixels[..., 0]),
        inks=tuple(layer > 128 for layer in layers),
    )


def judged(find_text: FindText, kind: Kind, seed: int) -> Share:
    """Return how many of the texts of that kind are found on a drawn screen."""
    screen = screen_of(kind, seed)
    black = np.zeros((HEIGHT_PX, WIDTH_PX), np.bool_)
    for x_min, y_min, x_max, y_max in find_text(screen.pixels):
        black[y_min:y_max, x_min:x_max] = True
    apart = np.zeros_like(black)
    apart[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] = True
    near_px = round(NEAR_HEIGHTS * kind.size_px)
    for ink in screen.inks:
        rows, columns = np.nonzero(ink)
        near = (
            slice(max(0, part.min() - near_px), part.max() + near_px) for part in (rows, columns)
        )
        apart[tuple(near)] = False
    gone = sum(float(black[ink].mean()) >= GONE_SHARE for ink in screen.inks)
    return Share(kind=kind, texts=len(screen.inks), gone=gone, tissue=float(black[apart].mean()))


def _letters(text: str, kind: Kind) -> Pixels:
    """Return the letters of a text as coverage, (H, W) in [0, 255], turned where the kind says."""
    font = PIL.ImageFont.load_default(kind.size_px)
    left, top, right, bottom = (round(side) for side in font.getbbox(text))
    picture = PIL.Image.new("L", (right - left + 2, bottom - top + 2), 0)
    PIL.ImageDraw.Draw(picture).text((1 - left, 1 - top), text, fill=255, font=font)
    letters = np.asarray(picture)
    return np.rot90(letters) if kind.place is Place.TURNED else letters


def _corners(letters: list[Pixels], place: Place) -> list[tuple[int, int]]:
    """Return where the upper left corner (x, y) of each text goes."""
    heights, widths = ([one.shape[axis] for one in letters] for axis in (0, 1))
    if place is Place.TISSUE:
        return [((WIDTH_PX - width) // 2, 120 + 115 * i) for i, width in enumerate(widths)]
    right = [WIDTH_PX - 12 - width for width in widths]
    low = [HEIGHT_PX - 12 - height for height in heights]
    if place is Place.MARGIN:
        return [(12, 12), (right[1], 12), (12, low[2]), (400, low[3]), (right[4], low[4])]
    return [(12, 40), (12, low[1]), (right[2], 40), (right[3], 220), (right[4], low[4])]


def _placed(letters: Pixels, at: tuple[int, int]) -> Pixels:
    layer = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    x, y = at
    layer[y : y + letters.shape[0], x : x + letters.shape[1]] = letters
    return layer
