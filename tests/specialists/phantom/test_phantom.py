"""The phantoms' truth is what their pixels show, and the same everywhere."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo
from scipy.spatial import ConvexHull

from specialists.errors import Rejected
from specialists.phantom.draw import (
    MARK,
    Lesion,
    Options,
    Phantom,
    draw,
    png_bytes,
    read_truth,
    write_png,
)
from specialists.phantom.field import FieldShape
from specialists.phantom.truth import PhantomKind, Structure

SIZES_PX = [(300, 300), (240, 480), (480, 240), (375, 448)]


def one(kind: PhantomKind, seed: int, size_px: tuple[int, int], aspect: float = 1.0) -> Phantom:
    lesion = Lesion.BENIGN if seed % 2 else Lesion.MALIGNANT
    options = Options(lesion=lesion, pixel_aspect=aspect)
    return draw(kind, seed=seed, height_px=size_px[0], width_px=size_px[1], options=options)


def cases() -> list[Phantom]:
    kinds: tuple[PhantomKind, ...] = ("breast", "intrapartum")
    return [
        one(kind, seed, size, aspect)
        for kind in kinds
        for seed, size in enumerate(SIZES_PX)
        for aspect in (1.0, 0.75)
    ]


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return cases()


def centres_inside(structure: Structure, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Pixel centres from which a ray to the right crosses the polygon an odd number of times."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, dtype=np.bool_)
    ends = np.array(structure.polygon)
    for (x0, y0), (x1, y1) in zip(ends, np.roll(ends, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def test_the_stated_area_is_the_raster_area(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        for structure in phantom.truth.structures:
            counted = int(phantom.masks[structure.label].sum())
            assert counted == pytest.approx(structure.size_px.area, rel=0.01, abs=8)
            spacing = phantom.truth.spacing_mm
            stated_mm2 = structure.size_px.area * spacing.x * spacing.y
            assert structure.size_mm.area == pytest.approx(stated_mm2, rel=1e-6)


def test_the_polygon_and_the_raster_are_the_same_place(phantoms: list[Phantom]) -> None:
    for phantom in phantoms[::3]:
        for structure in phantom.truth.structures:
            mask = phantom.masks[structure.label]
            differing = int((mask ^ centres_inside(structure, mask.shape)).sum())
            assert differing <= 2 + 0.001 * mask.sum()


def test_the_box_holds_the_raster_to_one_pixel(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        for structure in phantom.truth.structures:
            rows, columns = np.nonzero(phantom.masks[structure.label])
            seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert np.abs(np.subtract(structure.box, seen)).max() <= 1.0


def test_axes_are_the_largest_caliper_distances() -> None:
    phantom = one("intrapartum", 3, (400, 400), aspect=1.3)
    assert phantom.truth.aop is not None
    pubis = phantom.truth.structures[0]
    ends = np.array([phantom.truth.aop.superior, phantom.truth.aop.inferior])
    scale = np.array([phantom.truth.spacing_mm.x, phantom.truth.spacing_mm.y])
    apart_mm = np.hypot(*np.diff(ends * scale, axis=0)[0])
    assert pubis.size_mm.long == pytest.approx(apart_mm, rel=1e-3)
    assert pubis.size_mm.area == pytest.approx(
        np.pi / 4 * pubis.size_mm.long * pubis.size_mm.short, rel=1e-3
    )


def longest_chord(points: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the largest distance of two points and the longest chord of their hull across it.

    The chord is found by many parallel cuts.
    """
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    first, last = np.unravel_index(int(apart.argmax()), apart.shape)
    along = (points[last] - points[first]) / apart.max()
    turned = (points - points[first]) @ np.array([[along[0], -along[1]], [along[1], along[0]]])
    start = turned[ConvexHull(turned).vertices]
    step = np.roll(start, -1, axis=0) - start
    cuts = np.linspace(0, apart.max(), 4001)[1:-1, None]
    crossed = (start[:, 0] < cuts) != (start[:, 0] + step[:, 0] < cuts)  # (cuts, edges)
    slope = np.divide(step[:, 1], step[:, 0], out=np.zeros(len(step)), where=step[:, 0] != 0)
    heights = start[:, 1] + slope * (cuts - start[:, 0])
    lengths = np.max(heights, axis=1, where=crossed, initial=-np.inf) - np.min(
        heights, axis=1, where=crossed, initial=np.inf
    )
    return float(apart.max()), float(lengths.max())


def test_axes_are_those_that_a_report_measures(phantoms: list[Phantom]) -> None:
    for phantom in phantoms[::3]:
        spacing = phantom.truth.spacing_mm
        for structure in phantom.truth.structures:
            points = np.array(structure.polygon)
            for size, scale in (
                (structure.size_px, (1.0, 1.0)),
                (structure.size_mm, (spacing.x, spacing.y)),
            ):
                long, short = longest_chord(points * scale)
                assert size.long == pytest.approx(long, rel=1e-6)
                assert size.short == pytest.approx(short, rel=1e-3)


def test_the_angle_of_progression_is_that_of_the_widest_line_past_the_head(
    phantoms: list[Phantom],
) -> None:
    for phantom in phantoms:
        aop = phantom.truth.aop
        if aop is None:
            continue
        scale = np.array([phantom.truth.spacing_mm.x, phantom.truth.spacing_mm.y])
        head = np.array(phantom.truth.structures[1].polygon)
        for stretch, stated in ((scale, aop.deg), (np.ones(2), aop.square_pixel_deg)):
            lines = (head - aop.inferior) * stretch
            axis = (np.array(aop.superior) - aop.inferior) * stretch
            # Cross and dot product with y down: positive where the line lies below the axis.
            cross = lines[:, 0] * axis[1] - lines[:, 1] * axis[0]
            dot = lines @ axis
            angles = np.degrees(np.arctan2(cross, dot)) % 360
            assert stated == pytest.approx(float(angles.max()), abs=0.1)
        distance = np.hypot(*(head - aop.tangent).T).min()
        assert distance < 1.0 * np.hypot(*(head[1] - head[0])) + 1.0


def test_square_pixels_make_both_angles_equal_and_others_do_not() -> None:
    square = one("intrapartum", 5, (300, 300)).truth.aop
    squashed = one("intrapartum", 5, (300, 300), aspect=0.7).truth.aop
    assert square is not None
    assert squashed is not None
    assert square.deg == pytest.approx(square.square_pixel_deg, abs=0.05)
    assert abs(squashed.deg - squashed.square_pixel_deg) > 1.0


def test_the_same_arguments_give_the_same_bytes() -> None:
    first, again = (png_bytes(draw("breast", seed=11, height_px=200, width_px=260)) for _ in "ab")
    other = png_bytes(draw("breast", seed=12, height_px=200, width_px=260))
    assert hashlib.sha256(first).digest() == hashlib.sha256(again).digest()
    assert first != other


@pytest.mark.parametrize("look", [Lesion.BENIGN, Lesion.MALIGNANT])
@pytest.mark.parametrize("seed", range(6))
def test_a_lesion_is_darker_than_what_surrounds_it(look: Lesion, seed: int) -> None:
    options = Options(lesion=look, field=FieldShape.LINEAR, furniture=False)
    phantom = draw("breast", seed=seed, height_px=300, width_px=360, options=options)
    mask = phantom.masks["lesion"]
    box = [round(edge) for edge in phantom.truth.structures[0].box]
    around = np.zeros_like(mask)
    around[max(box[1] - 12, 0) : box[3], max(box[0] - 25, 0) : box[2] + 25] = True
    assert phantom.pixels[mask].mean() < phantom.pixels[around & ~mask].mean() - 8


def test_a_benign_look_is_wider_than_tall_and_a_malignant_one_taller_than_wide() -> None:
    for seed in range(8):
        tall = {}
        for look in (Lesion.BENIGN, Lesion.MALIGNANT):
            options = Options(lesion=look)
            phantom = draw("breast", seed=seed, height_px=128, width_px=160, options=options)
            x_min, y_min, x_max, y_max = phantom.truth.structures[0].box
            tall[look] = (y_max - y_min) / (x_max - x_min)
        assert tall[Lesion.BENIGN] < 1 < tall[Lesion.MALIGNANT]


def test_no_lesion_leaves_no_structure() -> None:
    phantom = draw(
        "breast", seed=1, height_px=128, width_px=128, options=Options(lesion=Lesion.NONE)
    )
    assert phantom.truth.structures == ()
    assert phantom.masks == {}


def test_a_linear_field_fills_its_rectangle_and_a_fan_leaves_the_corners_black() -> None:
    plain = Options(field=FieldShape.LINEAR, furniture=False, lesion=Lesion.NONE)
    linear = draw("breast", seed=2, height_px=200, width_px=260, options=plain).pixels
    assert (linear[:150] > 0).mean() > 0.95
    for shape in (FieldShape.SECTOR, FieldShape.CONVEX):
        options = Options(field=shape, furniture=False)
        fan = draw("intrapartum", seed=2, height_px=300, width_px=300, options=options).pixels
        assert not fan[:40, :40].any()
        assert not fan[:40, -40:].any()
        assert not fan[-10:, :10].any()
        lit = np.nonzero(fan.any(axis=0))[0]
        assert abs((lit.min() + lit.max()) / 2 - 150) < 4


def test_furniture_lies_outside_the_field() -> None:
    pair = [
        draw(
            "intrapartum",
            seed=4,
            height_px=300,
            width_px=400,
            options=Options(furniture=furniture, field=FieldShape.CONVEX),
        )
        for furniture in (False, True)
    ]
    changed = pair[0].pixels != pair[1].pixels
    assert changed.any()
    assert not pair[0].pixels[changed].any()


def test_the_truth_travels_in_the_png(tmp_path: Path) -> None:
    phantom = one("intrapartum", 7, (200, 240))
    path = tmp_path / "phantom.png"
    write_png(phantom, path)
    assert read_truth(path) == phantom.truth
    assert read_truth(path.read_bytes()) == phantom.truth
    with PIL.Image.open(path) as image:
        assert MARK in image.info
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), phantom.pixels)


def test_a_png_without_the_mark_has_no_truth(tmp_path: Path) -> None:
    path = tmp_path / "plain.png"
    PIL.Image.new("L", (20, 20)).save(path)
    assert read_truth(path) is None


def test_what_is_no_png_or_holds_a_broken_mark_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="not a readable PNG"):
        read_truth(b"not an image")
    text = PngInfo()
    text.add_text(MARK, '{"kind": "breast"}')
    path = tmp_path / "broken.png"
    PIL.Image.new("L", (20, 20)).save(path, pnginfo=text)
    with pytest.raises(Rejected, match="does not hold a truth"):
        read_truth(path)


@pytest.mark.parametrize(
    ("size_px", "options", "words"),
    [
        ((63, 300), Options(), "64 pixels"),
        ((300, 300), Options(pixel_aspect=3.0), "pixel aspect"),
        ((300, 300), Options(field=FieldShape.LINEAR), "transperineal"),
    ],
)
def test_what_cannot_be_drawn_is_rejected_with_a_sentence(
    size_px: tuple[int, int], options: Options, words: str
) -> None:
    with pytest.raises(Rejected, match=words):
        draw("intrapartum", seed=0, height_px=size_px[0], width_px=size_px[1], options=options)


def test_every_seed_draws_at_any_shape() -> None:
    for seed in range(40):
        height, width = [(64, 64), (64, 160), (160, 64)][seed % 3]
        for kind in ("breast", "intrapartum"):
            phantom = draw(kind, seed=seed, height_px=height, width_px=width)
            assert phantom.pixels.shape == (height, width)
            assert phantom.pixels.std() > 5
