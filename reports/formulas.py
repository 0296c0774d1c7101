"""Which formulas measure an exam, and which measurements are asked of which slot."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from reports import measure_head, measure_muscle, measure_nerve, measure_progression
from reports.measure import AREA, LONG_AXIS, RATIO, SHORT_AXIS, Number, Seen, outline_numbers
from reports.model import ExamCode

MEASUREMENTS: Mapping[str, tuple[str, ...]] = {
    "mask:lesion": (LONG_AXIS, SHORT_AXIS, AREA, RATIO),
    "mask:nodule": (LONG_AXIS, SHORT_AXIS, AREA, RATIO),
    "mask:ovary": (LONG_AXIS, SHORT_AXIS, AREA),
    measure_head.MASK: (
        measure_head.HC,
        measure_head.BPD,
        measure_head.OFD,
        measure_head.CEPHALIC_INDEX,
        measure_head.GESTATIONAL_AGE,
    ),
    measure_progression.POINTS: (measure_progression.AOP,),
    measure_progression.MASK: (measure_progression.HSD,),
    measure_nerve.MASK: (
        measure_nerve.NERVE_AREA,
        measure_nerve.VESSEL_AREA,
        measure_nerve.DISTANCE,
        measure_nerve.GAP,
    ),
    measure_muscle.APONEUROSIS: (
        measure_muscle.SUPERFICIAL_INCLINATION,
        measure_muscle.DEEP_INCLINATION,
    ),
    measure_muscle.FASCICLE: (measure_muscle.FASCICLE_ANGLE,),
    measure_muscle.POINTS: (measure_muscle.THICKNESS,),
}
"""By the slot whose result they are asked of."""

BESIDES: Mapping[str, tuple[str, ...]] = {measure_muscle.FASCICLE: (measure_muscle.APONEUROSIS,)}
"""The slots whose results the measurements of a slot need besides."""


def _of_outlines(slot: str) -> Callable[[Seen], Sequence[Number]]:
    return partial(outline_numbers, slot=slot, names=MEASUREMENTS[slot])


def _nothing(seen: Seen) -> Sequence[Number]:
    return ()


NUMBERS_OF: Mapping[ExamCode, Callable[[Seen], Sequence[Number]]] = {
    ExamCode.BREAST: _of_outlines("mask:lesion"),
    ExamCode.FETAL_HEAD: measure_head.head_numbers,
    ExamCode.INTRAPARTUM: measure_progression.progression_numbers,
    ExamCode.NERVE: measure_nerve.nerve_numbers,
    ExamCode.MUSCLE: measure_muscle.muscle_numbers,
    ExamCode.THYROID: _of_outlines("mask:nodule"),
    ExamCode.HEART: _nothing,
    ExamCode.OVARY: _of_outlines("mask:ovary"),
    ExamCode.LUNG: _nothing,
}
"""What measures an exam; a question takes the measurements of its label."""
