"""The codes of a report's terms: LOINC, DCM, SNOMED CT and UCUM where they exist, else private.

Codes are plain triples that every form (DICOM, FHIR) takes from here. DCM and SNOMED CT codes
are those of PS3.16; LOINC codes are those of its TID 5000 family and of the report titles. What
no standard names is in the private scheme `99USTRI`, with its unit in UCUM: the angle of
progression and its station, nerve areas and distances, angles and lengths of a muscle, ratios of a
lesion, scores of classifiers and detectors. LOINC and SNOMED CT name areas and lengths of the left
heart at end-diastole, at end-systole or in one view; a single frame of an unverified view shows
none of these, so that they are private too.
"""

import hashlib
import re
from typing import NamedTuple

from reports.forms.attributes import fitted
from reports.model import ExamCode, FindingState, Laterality, Measurement, MeasurementState

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
LEFT_VENTRICLE = Coded("87878005", "SCT", "Left ventricle")
LEFT_ATRIUM = Coded("82471001", "SCT", "Left atrium")
APONEUROSIS = private("aponeurosis", "Aponeurosis")
FASCICLE = private("fascicle", "Muscle fascicle")
OVARY_OR_TUMOUR = private("ovary-tumour", "Ovary or ovarian tumour")
MYOCARDIUM = private("myocardium", "Myocardium of the left ventricle")

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
    "aponeurosis": APONEUROSIS,
    "fascicle": FASCICLE,
    "fascicles": FASCICLE,
    "fetal head outline": private("head-outline", "Outline of the fetal head"),
    "head axis end points": private("head-axes", "End points of the head's axes"),
    "left ventricular cavity": private("lv-cavity", "Cavity of the left ventricle"),
    "myocardium": MYOCARDIUM,
    "left atrium": LEFT_ATRIUM,
    "ovary or tumour": OVARY_OR_TUMOUR,
    "shape": Coded("300842002", "SCT", "Shape"),
    "orientation": Coded("111354", "DCM", "Orientation"),
    "classification": private("breast-class", "Classification of a breast lesion"),
    "three-way classification (cross-check)": private("breast-3-class", "Breast, three classes"),
    "suspicion of the nodule": private("nodule-susp", "Suspicion of a thyroid nodule"),
    "apical view": private("apical-view", "Apical view of the heart"),
    "type of finding": private("ovary-type", "Type of an ovarian finding"),
    "lung classification": private("lung-class", "Classification of a lung image"),
    "healthy or diseased (cross-check)": private("lung-health", "Healthy or diseased lung"),
}
"""What a finding or an outline is about, by its label."""

QUALITIES = {
    "parallel": Coded("111355", "DCM", "Parallel"),
    "not parallel": Coded("111356", "DCM", "Not parallel"),
    "undetermined": Coded("82334004", "SCT", "Indeterminate"),
    "round": Coded("42700002", "SCT", "Round"),
    "irregular": Coded("49608001", "SCT", "Irregular"),
    "oval": private("oval", "Oval"),
}
"""The values of a quality, such as the shape of an outline."""

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
HEAD_STATION = private("head-station", "Head station by the angle of progression")
HEAD_SYMPHYSIS_DISTANCE = private("hsd", "Head-symphysis distance")
PERCENTILE_RANK = Coded("125012", "DCM", "Growth Percentile Rank")
"""Of PS3.16 CID 12017; here of a head circumference at the age that the sender states."""

MARGIN_IRREGULARITY = private("margin-irreg", "Margin irregularity of an outline")
POSTERIOR_ECHO = private("posterior-echo", "Echo behind over echo beside a lesion")
NERVE_AREA = private("nerve-area", "Nerve cross-sectional area")
VESSEL_AREA = private("vessel-area", "Vessel cross-sectional area")
NERVE_VESSEL_DISTANCE = private("nerve-vessel", "Nerve-vessel distance")
NERVE_VESSEL_GAP = private("nerve-vesselgap", "Nerve-vessel gap")
MUSCLE_THICKNESS = private("muscle-thick", "Muscle thickness")
SUPERFICIAL_INCLINATION = private("superf-incl", "Superficial aponeurosis inclination")
DEEP_INCLINATION = private("deep-incl", "Deep aponeurosis inclination")
PENNATION_ANGLE = private("pennation-angle", "Pennation angle")
FASCICLE_LENGTH = private("fascicle-length", "Fascicle length")
LV_CAVITY_AREA = private("lv-cavity-area", "Left ventricular cavity area")
LV_LONG_AXIS = private("lv-long-axis", "Left ventricular long axis")
MYOCARDIAL_AREA = private("myocard-area", "Myocardial area")
LEFT_ATRIAL_AREA = private("left-atr-area", "Left atrial area")

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
    "head circumference percentile": PERCENTILE_RANK,
    "angle of progression": ANGLE_OF_PROGRESSION,
    "head station": HEAD_STATION,
    "head–symphysis distance": HEAD_SYMPHYSIS_DISTANCE,
    "margin irregularity": MARGIN_IRREGULARITY,
    "posterior echo ratio": POSTERIOR_ECHO,
    "nerve cross-sectional area": NERVE_AREA,
    "vessel cross-sectional area": VESSEL_AREA,
    "nerve–vessel distance": NERVE_VESSEL_DISTANCE,
    "nerve–vessel gap": NERVE_VESSEL_GAP,
    "muscle thickness": MUSCLE_THICKNESS,
    "superficial aponeurosis inclination": SUPERFICIAL_INCLINATION,
    "deep aponeurosis inclination": DEEP_INCLINATION,
    "pennation angle": PENNATION_ANGLE,
    "fascicle length": FASCICLE_LENGTH,
    "left ventricular cavity area": LV_CAVITY_AREA,
    "left ventricular long axis": LV_LONG_AXIS,
    "myocardial area": MYOCARDIAL_AREA,
    "left atrial area": LEFT_ATRIAL_AREA,
}

_OF_A_LESION = (
    LONG_AXIS,
    SHORT_AXIS,
    AREA,
    TALLER_THAN_WIDE,
    MARGIN_IRREGULARITY,
    POSTERIOR_ECHO,
)
EXAM_MEASUREMENTS = {
    ExamCode.BREAST: _OF_A_LESION,
    ExamCode.INTRAPARTUM: (ANGLE_OF_PROGRESSION, HEAD_STATION, HEAD_SYMPHYSIS_DISTANCE),
    ExamCode.FETAL_HEAD: (
        HEAD_CIRCUMFERENCE,
        BIPARIETAL_DIAMETER,
        OCCIPITOFRONTAL_DIAMETER,
        CEPHALIC_INDEX,
        GESTATIONAL_AGE,
    ),
    ExamCode.NERVE: (NERVE_AREA, VESSEL_AREA, NERVE_VESSEL_DISTANCE, NERVE_VESSEL_GAP),
    ExamCode.MUSCLE: (
        MUSCLE_THICKNESS,
        SUPERFICIAL_INCLINATION,
        DEEP_INCLINATION,
        PENNATION_ANGLE,
        FASCICLE_LENGTH,
    ),
    ExamCode.THYROID: _OF_A_LESION,
    ExamCode.HEART: (LV_CAVITY_AREA, LV_LONG_AXIS, MYOCARDIAL_AREA, LEFT_ATRIAL_AREA),
    ExamCode.OVARY: (LONG_AXIS, SHORT_AXIS, AREA),
    ExamCode.LUNG: (),
}
"""The measurements of an exam: a refused report names each as not attempted.

The percentile is none of them: it is asked for only where the request states an age.
"""

UNITS = {
    "mm": Coded("mm", "UCUM", "millimeter"),
    "mm²": Coded("mm2", "UCUM", "square millimeter"),
    "cm²": Coded("cm2", "UCUM", "square centimeter"),
    "cm": Coded("cm", "UCUM", "centimeter"),
    "deg": Coded("deg", "UCUM", "degree"),
    "°": Coded("deg", "UCUM", "degree"),
    "wk": Coded("wk", "UCUM", "week"),
    "weeks": Coded("wk", "UCUM", "week"),
    "%": Coded("%", "UCUM", "percent"),
    "percentile": Coded("%", "UCUM", "percent"),
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
LATERALITIES = {
    Laterality.LEFT: Coded("7771000", "SCT", "Left"),
    Laterality.RIGHT: Coded("24028007", "SCT", "Right"),
    Laterality.BILATERAL: Coded("51440002", "SCT", "Bilateral"),
}
"""The sides of PS3.16 CID 244."""

INDICATION = Coded("121109", "DCM", "Indications for Procedure")
SENT_LABEL = private("sent-label", "Label as sent")
SENT_STUDY = private("sent-study", "Study as sent")
SENT_SITE = private("sent-site", "Site as sent")
SENT_AGE = private("sent-age", "Gestational age as sent")
ASKED = private("asked", "Answer to the question of the request")
UNRELIABLE = private("unreliable", "Unreliable")
IN_STUDY = private("in-study", "Place in the summary of a study")
BEST_IN_STUDY = private("best-in-study", "Taken: the best of the study's images")
OUTLIER_IN_STUDY = private("outlier", "Outlier among the study's images")
COMPARISON = private("then-and-now", "Value in an earlier study and in this one")
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


def quality(value: str) -> Coded:
    """Return the code of a quality's value, such as of the shape "oval"."""
    return QUALITIES.get(value) or _own("q", value)


def class_score(label: str) -> Coded:
    """Return the code of a classifier's score for a class, never called a risk or a probability."""
    return _own("score", label, f"Classifier score for {label}; not a probability")


def qualifier(measurement: Measurement) -> Coded | None:
    """Return what qualifies a number, of CID 42; None: it stands without reserve.

    PS3.3 C.18.1.1 has the qualifier say why a value is missing, or qualify the value that is there:
    an unreliable number keeps its value as an indeterminate one, and whoever reads only numbers
    without a qualifier leaves it out.

    A number that has evidence was attempted and failed; one without was not attempted. A reason
    that speaks of a range or of ambiguity makes it out of range or indeterminate.
    """
    if measurement.state is MeasurementState.MEASURED:
        return INDETERMINATE if measurement.unreliable else None
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
