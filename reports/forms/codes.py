"""The codes of a report's terms: LOINC, DCM, SNOMED CT and UCUM where they exist, else private.

Codes are plain triples that every form (DICOM, FHIR) takes from here. DCM and SNOMED CT codes
are those of PS3.16; LOINC codes are those of its TID 5000 family and of the report titles. What
no standard names is in the private scheme `99USTRI`: no standard code was found for the angle of
progression (it is in UCUM `deg`), nor for a classifier's score, a detector's presence score, or
the taller-than-wide ratio.
"""

import hashlib
import re
from typing import NamedTuple

from reports.forms.attributes import fitted
from reports.model import ExamCode, FindingState, Measurement, MeasurementState

PRIVATE_SCHEME = "99USTRI"
"""USTri's private scheme; PS3.3 section 8.2 reserves the prefix 99 for such schemes."""

PRIVATE_SCHEME_NAME = "USTri private codes"
_VALUE_LENGTH = 16
"""Most characters that a Code Value holds (VR SH)."""


class Coded(NamedTuple):
    """A code, the DICOM designator of its scheme, and its meaning for a person."""

    value: str
    scheme: str
    meaning: str


def private(value: str, meaning: str) -> Coded:
    """Return a code of the private scheme."""
    return Coded(value, PRIVATE_SCHEME, meaning)


LESION = Coded("52988006", "SCT", "Lesion")
NODULE = Coded("27925004", "SCT", "Nodule")
HEAD = Coded("69536005", "SCT", "Head")
SYMPHYSIS = Coded("82561000", "SCT", "Symphysis pubis")
BRAIN = Coded("12738006", "SCT", "Brain")
CSP = Coded("74968005", "SCT", "Cavum of septum pellucidum")
LATERAL_VENTRICLE = Coded("66720007", "SCT", "Lateral ventricle")
NERVE = Coded("91728009", "SCT", "Nerve")
VESSEL = Coded("59820001", "SCT", "Blood vessel")
BREAST = Coded("76752008", "SCT", "Breast")
MUSCLE = Coded("127954009", "SCT", "Skeletal muscle")
FOREARM = Coded("14975008", "SCT", "Forearm")
THYROID = Coded("69748006", "SCT", "Thyroid")
HEART = Coded("80891009", "SCT", "Heart")
OVARY = Coded("15497006", "SCT", "Ovary")
LUNG = Coded("39607008", "SCT", "Lung")

STRUCTURES = {
    "lesion": LESION,
    "nodule": NODULE,
    "head": HEAD,
    "fetal head": HEAD,
    "pubic symphysis": SYMPHYSIS,
    "brain": BRAIN,
    "fetal brain": BRAIN,
    "cavum septi pellucidi": CSP,
    "lateral ventricle": LATERAL_VENTRICLE,
    "nerve": NERVE,
    "vessel": VESSEL,
    "aponeurosis": private("aponeurosis", "Aponeurosis"),
    "fascicle": private("fascicle", "Muscle fascicle"),
    "fascicles": private("fascicle", "Muscle fascicle"),
}

ABNORMAL_STRUCTURE = Coded("49755003", "SCT", "Morphologically Abnormal Structure")
ANATOMICAL_STRUCTURE = Coded("91723000", "SCT", "Anatomical Structure")

SITES = {
    ExamCode.BREAST: BREAST,
    ExamCode.FETAL_HEAD: HEAD,
    ExamCode.INTRAPARTUM: HEAD,
    ExamCode.NERVE: FOREARM,
    ExamCode.MUSCLE: MUSCLE,
    ExamCode.THYROID: THYROID,
    ExamCode.HEART: HEART,
    ExamCode.OVARY: OVARY,
    ExamCode.LUNG: LUNG,
}
"""The body part of an exam; the subject, not the site, states that a head is a fetus's."""

FETAL_EXAMS = frozenset({ExamCode.FETAL_HEAD, ExamCode.INTRAPARTUM})

US_REPORT = Coded("25061-3", "LN", "Ultrasound report")
US_BREAST_REPORT = Coded("24601-7", "LN", "US Breast")

LONG_AXIS = Coded("103339001", "SCT", "Long axis")
SHORT_AXIS = Coded("103340004", "SCT", "Short axis")
AREA = Coded("42798000", "SCT", "Area")
TALLER_THAN_WIDE = private("taller-wide", "Taller-than-wide ratio")
HEAD_CIRCUMFERENCE = Coded("11984-2", "LN", "Head Circumference")
BIPARIETAL_DIAMETER = Coded("11820-8", "LN", "Biparietal Diameter")
OCCIPITOFRONTAL_DIAMETER = Coded("11851-3", "LN", "Occipital-Frontal Diameter")
CEPHALIC_INDEX = Coded("11823-2", "LN", "Cephalic Index")
GESTATIONAL_AGE = Coded("18185-9", "LN", "Gestational Age")
HC_HADLOCK_1984 = Coded("11932-1", "LN", "HC, Hadlock 1984")
"""The method by which a gestational age follows from a head circumference."""

ANGLE_OF_PROGRESSION = private("aop", "Angle of progression")
HEAD_SYMPHYSIS_DISTANCE = private("hsd", "Head-symphysis distance")
NERVE_AREA = private("nerve-area", "Nerve cross-section area")
NERVE_VESSEL_DISTANCE = private("nerve-vessel", "Nerve-vessel distance")
MUSCLE_THICKNESS = private("muscle-thick", "Muscle thickness")
FASCICLE_ANGLE = private("fascicle-angle", "Fascicle angle")

MEASUREMENTS = {
    "long axis": LONG_AXIS,
    "short axis": SHORT_AXIS,
    "area": AREA,
    "taller-than-wide ratio": TALLER_THAN_WIDE,
    "head circumference": HEAD_CIRCUMFERENCE,
    "biparietal diameter": BIPARIETAL_DIAMETER,
    "occipitofrontal diameter": OCCIPITOFRONTAL_DIAMETER,
    "cephalic index": CEPHALIC_INDEX,
    "gestational age": GESTATIONAL_AGE,
    "angle of progression": ANGLE_OF_PROGRESSION,
    "head–symphysis distance": HEAD_SYMPHYSIS_DISTANCE,
    "nerve cross-section area": NERVE_AREA,
    "nerve–vessel distance": NERVE_VESSEL_DISTANCE,
    "muscle thickness": MUSCLE_THICKNESS,
    "fascicle angle": FASCICLE_ANGLE,
}

EXAM_MEASUREMENTS = {
    ExamCode.BREAST: (LONG_AXIS, SHORT_AXIS, AREA, TALLER_THAN_WIDE),
    ExamCode.INTRAPARTUM: (ANGLE_OF_PROGRESSION, HEAD_SYMPHYSIS_DISTANCE),
    ExamCode.FETAL_HEAD: (
        HEAD_CIRCUMFERENCE,
        BIPARIETAL_DIAMETER,
        OCCIPITOFRONTAL_DIAMETER,
        CEPHALIC_INDEX,
        GESTATIONAL_AGE,
    ),
    ExamCode.NERVE: (NERVE_AREA, NERVE_VESSEL_DISTANCE),
    ExamCode.MUSCLE: (MUSCLE_THICKNESS, FASCICLE_ANGLE),
    ExamCode.THYROID: (LONG_AXIS, SHORT_AXIS, AREA, TALLER_THAN_WIDE),
    ExamCode.HEART: (),
    ExamCode.OVARY: (LONG_AXIS, SHORT_AXIS, AREA),
    ExamCode.LUNG: (),
}
"""The measurements of an exam: a refused report names each as not attempted."""

UNITS = {
    "mm": Coded("mm", "UCUM", "millimeter"),
    "mm²": Coded("mm2", "UCUM", "square millimeter"),
    "cm": Coded("cm", "UCUM", "centimeter"),
    "deg": Coded("deg", "UCUM", "degree"),
    "°": Coded("deg", "UCUM", "degree"),
    "wk": Coded("wk", "UCUM", "week"),
    "weeks": Coded("wk", "UCUM", "week"),
    "%": Coded("%", "UCUM", "percent"),
    "px": Coded("{pixels}", "UCUM", "pixels"),
    "px²": Coded("{square_pixels}", "UCUM", "square pixels"),
    "1": Coded("1", "UCUM", "no units"),
}
NO_UNITS = UNITS["1"]
DAYS = Coded("d", "UCUM", "day")
"""The unit of a gestational age in PS3.16 TID 5008."""

PRESENT = Coded("52101004", "SCT", "Present")
ABSENT = Coded("272519000", "SCT", "Absent")
NOT_ASSESSED = Coded("373121007", "SCT", "Not Evaluated")
ASSESSED = private("assessed", "Assessed")
STATE = private("state", "State of the finding")
STATES = {
    FindingState.FOUND: PRESENT,
    FindingState.NOT_FOUND: ABSENT,
    FindingState.NOT_ASSESSED: NOT_ASSESSED,
}
PRESENCE_SCORE = private("presence-score", "Detector's presence score; not a probability")
SEGMENT_SCORE = private("outline-score", "Segmentation's mean score; not a probability")
HOLE = private("hole", "Hole in an outline, not part of its area")
LANDMARK = private("landmark", "Landmark")
LANDMARK_SCORE = private("landmark-score", "Landmark's peak score; not a probability")
OUTCOME = private("outcome", "Outcome of the analysis")
LIMITATION = private("limitation", "Limitation")
CHECK = private("check", "Cross-check of two results")
PROVENANCE = private("provenance", "Provenance")
NOTICE = private("notice", "Notice to the reader")

FAILURE = Coded("114006", "DCM", "Measurement failure")
NOT_ATTEMPTED = Coded("114007", "DCM", "Measurement not attempted")
OUT_OF_RANGE = Coded("114009", "DCM", "Value out of range")
INDETERMINATE = Coded("114011", "DCM", "Value indeterminate")

IMPRESSION = Coded("121073", "DCM", "Impression")
ENGLISH = Coded("en", "RFC5646", "English")
COMMENT = Coded("121106", "DCM", "Comment")
QUALITATIVE_EVALUATIONS = Coded("C0034375", "UMLS", "Qualitative Evaluations")
EQUATION_CITATION = Coded("121421", "DCM", "Equation Citation")

_RANGE_WORDS = re.compile(r"out of range|outside the range|only for \d+ to \d+", re.IGNORECASE)
_INDETERMINATE_WORDS = re.compile(r"indeterminate|flat|peak|ambiguous|sector's edge", re.IGNORECASE)


def title_of(exam: ExamCode | None) -> Coded:
    """Return the code of the report's title."""
    return US_BREAST_REPORT if exam is ExamCode.BREAST else US_REPORT


def structure(label: str) -> Coded:
    """Return the code of a structure; where there is none, a private one made from the label."""
    known = STRUCTURES.get(label.casefold())
    return known or _own("s", label)


def category(label: str) -> Coded:
    """Return the category of a structure: an abnormality, or anatomy."""
    return ABNORMAL_STRUCTURE if structure(label) in {LESION, NODULE} else ANATOMICAL_STRUCTURE


def measured(name: str) -> Coded:
    """Return the code of a measurement's name; a private one where there is none."""
    known = MEASUREMENTS.get(name.casefold())
    return known or _own("m", name)


def unit(symbol: str | None) -> Coded:
    """Return the UCUM unit of a measurement's unit; one that UCUM lacks becomes an annotation."""
    if symbol is None:
        return NO_UNITS
    annotation = re.sub(r"[^!-z|~]|[{}]", "_", symbol)[: _VALUE_LENGTH - 2]
    return UNITS.get(symbol) or Coded(f"{{{annotation}}}", "UCUM", fitted(symbol, "LO"))


def class_score(label: str) -> Coded:
    """Return the code of a classifier's score for a class, never called a risk or a probability."""
    return _own("score", label, f"Classifier score for {label}; not a probability")


def qualifier(measurement: Measurement) -> Coded | None:
    """Return why a number is missing, as a qualifier of CID 42; None: it is not missing.

    A number that has evidence was attempted and failed; one without was not attempted. A reason
    that speaks of a range or of ambiguity makes it out of range or indeterminate.
    """
    if measurement.state is MeasurementState.MEASURED:
        return None
    reason = measurement.reason or ""
    if _RANGE_WORDS.search(reason):
        return OUT_OF_RANGE
    if _INDETERMINATE_WORDS.search(reason):
        return INDETERMINATE
    return FAILURE if measurement.evidence else NOT_ATTEMPTED


def _own(prefix: str, label: str, meaning: str | None = None) -> Coded:
    value = f"{prefix}-" + re.sub(r"[^a-z0-9]+", "-", label.casefold()).strip("-")
    if len(value) > _VALUE_LENGTH or not label.isascii():
        # Two labels that are alike up to the cut must not share a code.
        value = f"{value[: _VALUE_LENGTH - 7]}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"
    text = fitted(" ".join((meaning or label).split()), "LO")
    return private(value, text or "unnamed")
