"""The formulas that measure an exam, and the measurements that each slot's result yields."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from reports.measure import head, heart, muscle, nerve, progression
from reports.measure.numbers import (
    AREA,
    LONG_AXIS,
    RATIO,
    SHORT_AXIS,
    Number,
    Seen,
    outline_numbers,
)
from reports.model import ExamCode

MEASUREMENTS: Mapping[str, tuple[str, ...]] = {
    "mask:lesion": (LONG_AXIS, SHORT_AXIS, AREA, RATIO),
    "mask:nodule": (LONG_AXIS, SHORT_AXIS, AREA, RATIO),
    "mask:ovary": (LONG_AXIS, SHORT_AXIS, AREA),
    head.MASK: (
        head.HC,
        head.BPD,
        head.OFD,
        head.CEPHALIC_INDEX,
        head.GESTATIONAL_AGE,
    ),
    progression.POINTS: (progression.AOP,),
    progression.MASK: (progression.HSD,),
    nerve.MASK: (
        nerve.NERVE_AREA,
        nerve.VESSEL_AREA,
        nerve.DISTANCE,
        nerve.GAP,
    ),
    muscle.APONEUROSIS: (
        muscle.SUPERFICIAL_INCLINATION,
        muscle.DEEP_INCLINATION,
    ),
    muscle.FASCICLE: (muscle.FASCICLE_ANGLE,),
    muscle.POINTS: (muscle.THICKNESS,),
    heart.MASK: (
        heart.CAVITY_AREA,
        heart.LONG_AXIS,
        heart.WALL_AREA,
        heart.ATRIUM_AREA,
    ),
}
"""Measurements by the slot whose result they are made from."""

BESIDES: Mapping[str, tuple[str, ...]] = {muscle.FASCICLE: (muscle.APONEUROSIS,)}
"""The further slots whose results a slot's measurements need."""


def _of_outlines(slot: str) -> Callable[[Seen], Sequence[Number]]:
    return partial(outline_numbers, slot=slot, names=MEASUREMENTS[slot])


def _nothing(seen: Seen) -> Sequence[Number]:
    return ()


NUMBERS_OF: Mapping[ExamCode, Callable[[Seen], Sequence[Number]]] = {
    ExamCode.BREAST: _of_outlines("mask:lesion"),
    ExamCode.FETAL_HEAD: head.head_numbers,
    ExamCode.INTRAPARTUM: progression.progression_numbers,
    ExamCode.NERVE: nerve.nerve_numbers,
    ExamCode.MUSCLE: muscle.muscle_numbers,
    ExamCode.THYROID: _of_outlines("mask:nodule"),
    ExamCode.HEART: heart.heart_numbers,
    ExamCode.OVARY: _of_outlines("mask:ovary"),
    ExamCode.LUNG: _nothing,
}
"""The function that measures an exam; a question uses the measurements of its own label."""
