"""The headline of each exam: the numbers that it is for."""

import re
from pathlib import Path

import pytest

import reports
from reports.measure.formulas import MEASUREMENTS
from reports.model import ExamCode, Measurement
from tests.reports.wording.impressions import a_number, of_exam


@pytest.mark.parametrize(
    ("code", "numbers", "said"),
    [
        (
            ExamCode.INTRAPARTUM,
            (
                a_number("angle of progression", 132.1, "deg", (128.1, 136.1)),
                a_number("head station", 1.46, "cm", (1.1, 1.8)),
                a_number("head–symphysis distance", 22.2, "mm"),
            ),
            (
                "Angle of progression 132° (90 % interval 128 to 136°), which corresponds to head "
                "station +1.5 cm.",
                "Head–symphysis distance 22.2 mm.",
            ),
        ),
        (
            ExamCode.INTRAPARTUM,
            (
                a_number("angle of progression", 132.1, "deg"),
                a_number("head station", None, "cm").model_copy(
                    update={"reason": "Not available from this image: it needs square pixels."}
                ),
            ),
            ("Angle of progression 132.1°; head station not available from this image.",),
        ),
        (
            ExamCode.INTRAPARTUM,
            (a_number("angle of progression", None, "deg"),),
            ("Angle of progression not assessed, because the outline has no area.",),
        ),
        (
            ExamCode.FETAL_HEAD,
            (
                a_number("head circumference", 178.2, "mm", (171.0, 185.0)),
                a_number("biparietal diameter", 47.4, "mm", (45.0, 49.6)),
                a_number("occipitofrontal diameter", 60.1, "mm"),
                a_number("cephalic index", 78.9, "%", (74.9, 82.9)),
                a_number("gestational age", 19.86, "wk", (18.4, 21.3)),
                a_number("head circumference percentile", 45.4, "percentile"),
            ),
            (
                "Gestational age 19w6d (90 % interval 18w3d to 21w2d), by a head circumference of "
                "178 mm.",
                "Head circumference at the 45th percentile for the age as sent; biparietal "
                "diameter 47.4 mm; occipitofrontal diameter 60.1 mm; cephalic index 79 %.",
            ),
        ),
        (
            ExamCode.FETAL_HEAD,
            (
                a_number("head circumference", 1075.0, "px"),
                a_number("gestational age", None, "wk").model_copy(
                    update={"reason": "Not available from this image: it needs millimetres."}
                ),
            ),
            ("Head circumference 1075 px; gestational age not available from this image.",),
        ),
        (
            ExamCode.FETAL_HEAD,
            (
                a_number("head circumference", 60.0, "mm"),
                a_number("gestational age", None, "wk"),
                a_number("head circumference percentile", 0.2, "percentile"),
            ),
            (
                "Head circumference 60.0 mm, below the 1st percentile for the age as sent; "
                "gestational age not assessed, because the outline has no area.",
            ),
        ),
        (
            ExamCode.FETAL_HEAD,
            (a_number("head circumference", None, "mm"),),
            ("Head circumference not assessed, because the outline has no area.",),
        ),
        (
            ExamCode.NERVE,
            (
                a_number("nerve cross-sectional area", 7.5, "mm²", (7.2, 7.9)),
                a_number("nerve–vessel distance", 5.0, "mm"),
            ),
            (
                "Nerve cross-sectional area 7.5 mm² (90 % interval 7.2 to 7.9 mm²).",
                "Nerve–vessel distance 5.0 mm.",
            ),
        ),
        (
            ExamCode.NERVE,
            (
                a_number("nerve cross-sectional area", 7.5, "mm²"),
                a_number("nerve cross-sectional area", 3.5, "mm²"),
            ),
            ("Nerve cross-sectional area 7.5 mm², the largest of 2 nerves.",),
        ),
        (
            ExamCode.NERVE,
            (
                a_number("nerve cross-sectional area", 2513.0, "px²"),
                a_number("nerve–vessel distance", 100.0, "px"),
            ),
            (
                "Nerve found; its cross-sectional area in mm² is not available from this image.",
                "Nerve–vessel distance 100 px.",
            ),
        ),
        (
            ExamCode.NERVE,
            (a_number("nerve cross-sectional area", None, "mm²"),),
            ("Nerve cross-sectional area not assessed, because the outline has no area.",),
        ),
        (
            ExamCode.MUSCLE,
            (
                a_number("muscle thickness", 20.1, "mm"),
                a_number("pennation angle", 16.5, "deg", (12.5, 20.5)),
                a_number("fascicle length", 72.0, "mm"),
            ),
            (
                "Muscle thickness 20.1 mm; pennation angle 16° (90 % interval 12 to 20°).",
                "Fascicle length 72.0 mm.",
            ),
        ),
        (
            ExamCode.MUSCLE,
            (a_number("muscle thickness", None, "mm"), a_number("pennation angle", 16.5, "deg")),
            (
                "Pennation angle 16.5°; muscle thickness not assessed, because the outline has no "
                "area.",
            ),
        ),
        (
            ExamCode.MUSCLE,
            (a_number("muscle thickness", None, "mm"), a_number("pennation angle", None, "deg")),
            ("Muscle thickness not assessed, because the outline has no area.",),
        ),
        (
            ExamCode.HEART,
            (
                a_number("left ventricular cavity area", 8.8, "cm²"),
                a_number("left ventricular long axis", 45.0, "mm"),
                a_number("myocardial area", 7.7, "cm²"),
                a_number("left atrial area", 4.6, "cm²"),
            ),
            (
                "Left ventricular cavity area 8.8 cm²; left ventricular long axis 45.0 mm; "
                "myocardial area 7.7 cm²; left atrial area 4.6 cm².",
            ),
        ),
        (
            ExamCode.HEART,
            (a_number("left atrial area", 7300.0, "px²"), a_number("myocardial area", 9.0, "px²")),
            (
                "Myocardial area and left atrial area: not available in millimetres from this "
                "image.",
            ),
        ),
        (None, (a_number("wall thickness", 4.0, "mm"),), ("Wall thickness 4.0 mm.",)),
    ],
)
def test_the_numbers_of_an_exam_come_first(
    code: ExamCode | None, numbers: tuple[Measurement, ...], said: tuple[str, ...]
) -> None:
    assert of_exam(code, numbers) == said


def test_every_number_that_a_headline_names_is_measured() -> None:
    template = (Path(reports.__file__).parent / "templates" / "headline.j2").read_text("utf-8")
    named = set(re.findall(r'number\("([^"]+)"\)', template))
    for names in re.findall(r"listing\(\(?\[(.*?)\]\)", template):
        named |= set(re.findall(r'"([^"]+)"', names))
    assert named <= {name for names in MEASUREMENTS.values() for name in names}
