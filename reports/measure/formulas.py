"""The formulas that measure an exam, and the measurements that each slot's result yields."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from reports.measure import fascicle, head, heart, lesion, muscle, nerve, progression
from reports.measure.numbers import AREA, LONG_AXIS, SHORT_AXIS, Number, Seen, outline_numbers
from reports.model import ExamCode

MEASUREMENTS: Mapping[str, tuple[str, ...]] = {
    lesion.LESION: lesion.NAMES,
    lesion.NODULE: lesion.NAMES,
    "mask:ovary": (LONG_AXIS, SHORT_AXIS, AREA),
    head.MASK: (
        head.HC,
        head.BPD,
        head.OFD,
        head.CEPHALIC_INDEX,
        head.GESTATIONAL_AGE,
        head.HC_PERCENTILE,
    ),
    progression.POINTS: (progression.AOP, progression.STATION),
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
    muscle.FASCICLE: (muscle.PENNATION_ANGLE, fascicle.FASCICLE_LENGTH),
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


def _of_muscle(seen: Seen) -> Sequence[Number]:
    return (*muscle.muscle_numbers(seen), *fascicle.length_numbers(seen))


def _nothing(seen: Seen) -> Sequence[Number]:
    return ()


NUMBERS_OF: Mapping[ExamCode, Callable[[Seen], Sequence[Number]]] = {
    ExamCode.BREAST: partial(lesion.lesion_and_echo_numbers, slot=lesion.LESION),
    ExamCode.FETAL_HEAD: head.head_numbers,
    ExamCode.INTRAPARTUM: progression.progression_numbers,
    ExamCode.NERVE: nerve.nerve_numbers,
    ExamCode.MUSCLE: _of_muscle,
    ExamCode.THYROID: partial(lesion.lesion_and_echo_numbers, slot=lesion.NODULE),
    ExamCode.HEART: heart.heart_numbers,
    ExamCode.OVARY: _of_outlines("mask:ovary"),
    ExamCode.LUNG: _nothing,
}
"""The function that measures an exam; a question uses the measurements of its own label."""

FOLLOW = frozenset({head.GESTATIONAL_AGE, head.HC_PERCENTILE, progression.STATION})
"""Measurements that are a formula of another one, which its interval is sent through."""
