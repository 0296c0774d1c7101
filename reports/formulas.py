"""Which formulas measure an exam, and which measurements are asked of which slot."""

from collections.abc import Callable, Mapping, Sequence

from reports import measure_head, measure_muscle, measure_nerve, measure_progression
from reports.measure import AREA, LONG_AXIS, RATIO, SHORT_AXIS, Number, Seen, breast_numbers
from reports.model import ExamCode

NUMBERS_OF: dict[ExamCode, Callable[[Seen], Sequence[Number]]] = {
    ExamCode.BREAST: breast_numbers,
    ExamCode.FETAL_HEAD: measure_head.head_numbers,
    ExamCode.INTRAPARTUM: measure_progression.progression_numbers,
    ExamCode.NERVE: measure_nerve.nerve_numbers,
    ExamCode.MUSCLE: measure_muscle.muscle_numbers,
}
"""What measures an exam; a question takes the measurements of its label."""

MEASUREMENTS: Mapping[str, tuple[str, ...]] = {
    "mask:lesion": (LONG_AXIS, SHORT_AXIS, AREA, RATIO),
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
