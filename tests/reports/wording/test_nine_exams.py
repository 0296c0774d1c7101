"""The impression of a planned report of each exam, from its specialists' answers."""

import pytest

from reports.model import ExamCode
from tests.planner.exam_answers import an_even_image
from tests.planner.organ_answers import ALL_ANSWERS, ALL_TOOLS
from tests.planner.stand_ins import BREAST_TOOLS, breast_answers, report_of

CANNOT = "it cannot exclude malignancy and is not a probability of cancer"


def impression(exam: ExamCode) -> tuple[str, ...]:
    answers = ALL_ANSWERS | {ExamCode.BREAST: breast_answers}
    tools = ALL_TOOLS | {ExamCode.BREAST: BREAST_TOOLS}
    image = an_even_image((0.25, 0.25))
    return report_of(answers[exam](), image=image, installed=tools[exam]).impression


@pytest.mark.parametrize(
    ("exam", "said"),
    [
        (
            ExamCode.BREAST,
            ("Lesion 40.0 × 25.0 mm.", f"Classifier favours benign, score 0.82; {CANNOT}."),
        ),
        (
            ExamCode.THYROID,
            (
                "Nodule 40.0 × 25.0 mm, unreliable.",
                "Classifier favours high suspicion, score 0.73; it is neither a diagnosis nor a "
                "probability of cancer, and no TI-RADS category.",
            ),
        ),
        (
            ExamCode.OVARY,
            (
                "Ovary or tumour 40.0 × 25.0 mm.",
                "Classifier cannot tell serous cystadenoma from simple cyst; it cannot exclude "
                "malignancy.",
            ),
        ),
        (
            ExamCode.LUNG,
            (
                "Classifier favours a regular lung, score 0.90; it cannot exclude lung disease and "
                "is not a probability of disease.",
            ),
        ),
        (
            ExamCode.FETAL_HEAD,
            (
                "Gestational age 29w1d, by a head circumference of 267.9 mm.",
                "Biparietal diameter 75.0 mm; occipitofrontal diameter 95.0 mm; cephalic index "
                "78.9 %.",
            ),
        ),
        (
            ExamCode.INTRAPARTUM,
            (
                "Angle of progression 145.8°, which corresponds to head station +2.7 cm.",
                "Head–symphysis distance 22.2 mm.",
            ),
        ),
        (
            ExamCode.NERVE,
            (
                "Nerve cross-sectional area 156.8 mm², unreliable.",
                "Nerve–vessel distance 25.0 mm, unreliable.",
            ),
        ),
        (
            ExamCode.MUSCLE,
            (
                "Muscle thickness 50.0 mm, unreliable; pennation angle 16.5°, unreliable.",
                "Fascicle length 176.0 mm, unreliable.",
            ),
        ),
        (
            ExamCode.HEART,
            (
                "Left ventricular cavity area 8.8 cm²; left ventricular long axis 45.0 mm; "
                "myocardial area 13.1 cm²; left atrial area 4.6 cm².",
                "Classifier favours the apical 4-chamber view, score 0.97; it knows apical 2- and "
                "4-chamber views only.",
            ),
        ),
    ],
)
def test_the_impression_of_an_exam(exam: ExamCode, said: tuple[str, ...]) -> None:
    assert impression(exam) == said
