"""Outlines that cannot be what they are said to be are flagged, and true ones are not."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.measure import nerve
from reports.measure.numbers import Seen
from reports.measure.outlines.plausibility import (
    CAVUM_SHARE,
    Fault,
    Reason,
    box_reason,
    cavum_age_reason,
    features_of,
    implausible,
    implausible_in,
    inner_box_reason,
    landmark_reason,
)
from reports.measure.outlines.ranges import EXPECTED
from reports.model import ImageInfo, MaskEvidence, NamedPoint, Ring
from specialists.manifest import Kind, read_manifest
from tests.builders import a_calibrated_image_info, an_ellipse, an_image_info

IMAGE = an_image_info()
HEAD = an_ellipse((320, 240), (160, 125), angle_deg=20, points=360)


def faults(label: str, *parts: list[Ring], image: ImageInfo = IMAGE) -> set[Fault]:
    return {reason.fault for reason in implausible(label, list(parts), image, None)}


def with_bays(waves: int, depth: float) -> Ring:
    """A head whose border swings in and out so many times."""
    turns = [2 * math.pi * index / 720 for index in range(720)]
    radii = [140 * (1 - depth * max(math.sin(waves * turn), 0)) for turn in turns]
    return tuple(
        (320 + 1.15 * r * math.cos(t), 240 + r * math.sin(t))
        for r, t in zip(radii, turns, strict=True)
    )


@settings(max_examples=30)
@given(st.floats(90, 200), st.floats(0.7, 0.9), st.floats(0, 180))
def test_an_elliptical_head_is_plausible_however_it_lies(
    long: float, ratio: float, turn: float
) -> None:
    assert faults("head", [an_ellipse((320, 240), (long, ratio * long), turn, points=360)]) == set()


def test_a_head_outline_with_bays_and_holes_is_flagged_with_clauses() -> None:
    hole = an_ellipse((300, 230), (40, 40), points=90)
    found = implausible("head", [[with_bays(5, 0.3), hole]], IMAGE, None)
    assert {reason.fault for reason in found} >= {Fault.BAY, Fault.HOLE, Fault.ELLIPSE}
    clauses = "; ".join(reason.clause for reason in found)
    assert "the outline has a bay: it covers 8" in clauses
    assert "% of its convex hull" in clauses
    assert "the outline has holes: they take" in clauses
    assert not clauses.endswith(".")


def test_a_nerve_in_three_parts_is_flagged_and_two_close_pieces_too() -> None:
    apart = [[an_ellipse((x, 200), (25, 20), points=90)] for x in (120, 300, 480)]
    assert faults("nerve", *apart) == {Fault.PARTS}
    assert faults("nerve", *apart[:2]) == set()
    close = [[an_ellipse((x, 200), (25, 20), points=90)] for x in (200, 253)]
    assert faults("nerve", *close) == {Fault.PIECES}


def test_crumbs_are_not_counted_as_parts() -> None:
    crumb: list[Ring] = [an_ellipse((100, 100), (5, 5), points=30)]
    assert faults("head", [HEAD], crumb) == set()


@pytest.mark.parametrize(
    ("label", "ring", "fault"),
    [
        ("head", an_ellipse((320, 240), (12, 10)), Fault.SIZE),
        ("lesion", an_ellipse((320, 240), (6, 5)), Fault.SIZE),
        ("pubic symphysis", an_ellipse((320, 400), (50, 25)), Fault.POSITION),
        ("nodule", an_ellipse((320, 200), (200, 30)), Fault.ELONGATION),
        ("head", ((10.0, 10.0), (20.0, 20.0), (30.0, 30.0)), Fault.SIZE),
    ],
)
def test_size_place_and_length_are_judged(label: str, ring: Ring, fault: Fault) -> None:
    assert fault in faults(label, [ring])


def test_where_millimetres_are_known_they_decide_and_not_the_share_of_the_field() -> None:
    small: list[Ring] = [an_ellipse((320, 240), (50, 40), points=180)]
    assert faults("head", small) == {Fault.SIZE}
    assert faults("head", small, image=a_calibrated_image_info((0.4, 0.4))) == set()
    (reason,) = implausible("head", [small], a_calibrated_image_info((2.5, 2.5)), None)
    assert "as large as a circle of 224 mm" in reason.clause


def test_pixels_that_are_not_square_are_allowed_for() -> None:
    flat = tuple((x, y / 2) for x, y in an_ellipse((320, 440), (200, 160), points=360))
    assert Fault.ELONGATION in faults("head", [flat])
    assert faults("head", [flat], image=an_image_info(aspect_ratio=2.0)) == set()


def test_a_scanned_area_that_does_not_hold_the_structure_is_no_field() -> None:
    elsewhere: Ring = ((0.0, 0.0), (60.0, 0.0), (60.0, 60.0), (0.0, 60.0))
    assert features_of([[HEAD]], IMAGE, elsewhere) == features_of([[HEAD]], IMAGE, None)
    around: Ring = ((100.0, 80.0), (540.0, 80.0), (540.0, 400.0), (100.0, 400.0))
    assert features_of([[HEAD]], IMAGE, around).share > features_of([[HEAD]], IMAGE, None).share


def test_a_box_elsewhere_is_a_reason_and_one_around_the_outline_is_none() -> None:
    assert box_reason([[HEAD]], (165, 115, 480, 370)) is None
    assert box_reason([], (0, 0, 10, 10)) is None
    reason = box_reason([[HEAD]], (0, 0, 200, 200))
    assert reason is not None
    assert reason.fault is Fault.BOX
    assert "overlap by" in reason.clause


def test_landmarks_off_the_outline_are_named() -> None:
    on, off = NamedPoint(name="a", x=320 + 160, y=240), NamedPoint(name="b", x=320, y=240)
    level: list[Ring] = [an_ellipse((320, 240), (160, 125), points=360)]
    assert landmark_reason(level, [on], IMAGE, 0.02) is None
    reason = landmark_reason(level, [on, off], IMAGE, 0.02)
    assert reason == Reason(fault=Fault.LANDMARK, clause="1 of 2 landmarks lie off the outline: b")


@pytest.mark.parametrize(
    ("hc_mm", "bpd_mm", "said"),
    [
        (60.0, 17.0, True),  # eleven weeks
        (None, 22.0, True),
        (98.0, None, True),
        (120.0, 34.0, False),
        (None, None, False),
    ],
)
def test_a_cavum_is_not_expected_before_fifteen_weeks(
    hc_mm: float | None, bpd_mm: float | None, said: bool
) -> None:
    reason = cavum_age_reason(hc_mm=hc_mm, bpd_mm=bpd_mm)
    assert (reason is not None) == said
    if reason is not None:
        assert reason.fault is Fault.AGE
        assert "before 15 weeks" in reason.clause


def test_a_cavum_as_large_as_half_the_brain_is_a_reason() -> None:
    brain = (100.0, 100.0, 400.0, 320.0)
    name = "cavum septi pellucidi"
    assert inner_box_reason(name, (180, 190, 220, 210), brain, CAVUM_SHARE) is None
    reason = inner_box_reason(name, (150, 150, 320, 260), brain, CAVUM_SHARE)
    assert reason is not None
    assert reason.clause == (
        "the cavum septi pellucidi measures 57 % of the brain's length (expected 5.0 % to 25 %)"
    )


def test_the_structures_of_a_slot_are_judged_by_label() -> None:
    masks = [
        MaskEvidence(id=f"e{n}", specialist="s", step=1, label=label, polygons=(ring,))
        for n, (label, ring) in enumerate(
            [
                ("nerve", an_ellipse((120, 200), (25, 20), points=90)),
                ("nerve", an_ellipse((300, 200), (25, 20), points=90)),
                ("nerve", an_ellipse((480, 200), (25, 20), points=90)),
                ("vessel", an_ellipse((300, 330), (30, 30), points=90)),
            ]
        )
    ]
    found = implausible_in(Seen(image=IMAGE, evidence={nerve.MASK: masks}), nerve.MASK)
    assert {label: len(reasons) for label, reasons in found.items()} == {"nerve": 1, "vessel": 0}
    (reason,) = found["nerve"]
    assert reason.clause == "it was outlined in 3 separate parts, where 1 to 2 would be usual"


def test_an_unknown_structure_or_none_is_not_judged() -> None:
    assert implausible("kidney", [[HEAD]], IMAGE, None) == ()
    assert implausible("head", [], IMAGE, None) == ()


def test_every_structure_that_we_outline_has_its_expectations() -> None:
    named = {
        label
        for entry in read_manifest().specialists.values()
        if entry.kind is Kind.SEGMENT and not entry.id.startswith("fmc_")
        for label in entry.labels[1:]
    }
    assert named == set(EXPECTED)
