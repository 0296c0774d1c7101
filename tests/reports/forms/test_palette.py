"""Colours stay apart: to every reader, in grey print, and on a black image."""

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from reports.forms.overlay.palette import KNOWN, PALETTE, inks
from tests.planner.organ_answers import CHAMBERS

_Row = npt.NDArray[np.float64]
SEEN = {
    "full colour": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
"""How linear RGB looks with a full deficiency (Machado 2009, IEEE TVCG 15:1291)."""

XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(ink: str) -> _Row:
    """Linear RGB of `#rrggbb`, each in [0, 1]."""
    coded = np.array(list(bytes.fromhex(ink.removeprefix("#")))) / 255
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def lab(ink: str, seen: _Row = SEEN["full colour"]) -> _Row:
    """L*, a*, b* of a colour as it is seen."""
    x, y, z = XYZ @ np.clip(seen @ linear(ink), 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = [np.cbrt(v) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("way", SEEN)
def test_two_colours_are_apart_however_colours_are_seen(way: str) -> None:
    apart = [
        float(np.linalg.norm(lab(one, SEEN[way]) - lab(other, SEEN[way])))
        for one, other in combinations(PALETTE, 2)
    ]
    assert min(apart) > 25


def test_two_colours_are_apart_in_grey_print() -> None:
    assert min(abs(lab(one)[0] - lab(other)[0]) for one, other in combinations(PALETTE, 2)) > 5


def test_every_colour_stands_out_from_black() -> None:
    luminance = [float(linear(ink) @ np.array([0.2126, 0.7152, 0.0722])) for ink in PALETTE]
    assert min((value + 0.05) / 0.05 for value in luminance) >= 4.95


def test_structures_of_one_exam_have_colours_of_their_own() -> None:
    for together in (
        CHAMBERS,
        ("nerve", "vessel"),
        ("aponeurosis", "fascicle", "muscle thickness"),
        ("fetal head", "pubic symphysis", "angle of progression", "head–symphysis distance"),
        ("head", "fetal brain", "cavum septi pellucidi", "lateral ventricle"),
    ):
        assert len({KNOWN[name] for name in together}) == len(together)


def test_an_unknown_structure_has_a_colour_by_its_name_that_no_other_of_the_report_has() -> None:
    names = [f"structure {index}" for index in range(6)]
    found = inks(["lesion", *names])
    assert len(set(found.values())) == len(PALETTE)
    assert inks([names[0]]) == inks([names[0]])
    assert inks(["lesion", names[0]])["lesion"] == KNOWN["lesion"]
    assert inks(["Lesion"])["Lesion"] == KNOWN["lesion"]


def test_more_structures_than_colours_share_them() -> None:
    assert len(inks(f"part {index}" for index in range(20))) == 20
