"""Technique, planner and scores: how a report was made."""

import pytest

from reports.model import ChosenBy, FindingState, Region, Report, ScoresEvidence, Spacing
from reports.provenance import PlannerRef
from reports.wording.making import (
    TRAINING_CLASSES,
    classifier_sentences,
    detector_sentences,
    planner_sentence,
    technique,
)
from specialists.manifest import read_manifest
from tests.builders import (
    a_calibrated_image_info,
    a_finding,
    a_provenance,
    a_refused_report,
    a_report,
    a_sha256,
    a_step,
    an_image_info,
)
from tests.shared_data import known_rows, sources_of

MEANS = (
    "Networks trained on such images drew the outlines, boxes and landmarks; each number is "
    "computed from them by a fixed formula."
)
MODEL = PlannerRef(id="small_vlm", sha256=a_sha256("small_vlm"))


@pytest.mark.parametrize("task", sorted(TRAINING_CLASSES))
def test_the_training_shares_are_those_of_the_training_tables(task: str) -> None:
    entry = read_manifest().specialist(task)
    stated = TRAINING_CLASSES[task]
    names = stated.source.lower().replace("-", "")
    assert all(source in names for source in sources_of(entry))
    classes = [int(row["mask"]) for row in known_rows(entry) if row["split"] == "train"]
    assert list(stated.counts.values()) == [
        classes.count(index) for index in range(len(stated.counts))
    ]


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (a_report(), ("The image states no pixel spacing, so that lengths are in px.", MEANS)),
        (
            a_report(image=a_calibrated_image_info()),
            ("Pixel spacing 0.1 × 0.1 mm (DICOM PixelSpacing).", MEANS),
        ),
        (
            a_report(
                image=an_image_info(
                    spacing_source="DICOM SequenceOfUltrasoundRegions",
                    regions=(
                        Region(box=(0, 0, 320, 480), spacing_mm=Spacing(x=0.1, y=0.1)),
                        Region(box=(320, 0, 640, 480), spacing_mm=None),
                    ),
                )
            ),
            (
                "Pixel spacing 0.1 × 0.1 mm in region 1 of 2 (DICOM SequenceOfUltrasoundRegions); "
                "what lies elsewhere is measured in px.",
                MEANS,
            ),
        ),
        (
            a_report(
                image=an_image_info(
                    spacing_source="DICOM SequenceOfUltrasoundRegions",
                    regions=(
                        Region(box=(0, 0, 640, 480), spacing_mm=Spacing(x=0.0691358, y=0.07)),
                    ),
                )
            ),
            (
                "Pixel spacing 0.06914 × 0.07 mm in the ultrasound region (DICOM "
                "SequenceOfUltrasoundRegions); what lies elsewhere is measured in px.",
                MEANS,
            ),
        ),
        (
            a_report(image=an_image_info(regions=(Region(box=(0, 0, 640, 480), spacing_mm=None),))),
            ("No region of the image states a pixel spacing, so that lengths are in px.", MEANS),
        ),
        (
            a_report(measurements=()),
            ("Networks trained on such images gave the findings.",),
        ),
        (a_refused_report(), ()),
    ],
)
def test_the_technique_is_the_spacing_and_how_numbers_are_made(
    report: Report, said: tuple[str, ...]
) -> None:
    assert technique(report) == said


def planned(planner: PlannerRef, *chosen: ChosenBy) -> Report:
    steps = tuple(a_step(index=n, chosen_by=who) for n, who in enumerate(chosen))
    return a_report(steps=steps, provenance=a_provenance(planner=planner))


def test_the_planner_is_called_by_its_own_name() -> None:
    rules = PlannerRef(id="rules", sha256=a_sha256("rules"))
    by_rules = planned(rules, ChosenBy.RULES, ChosenBy.FORCED)
    assert planner_sentence(by_rules) == "The rules of the protocol chose the steps."
    by_model = planned(MODEL, ChosenBy.MODEL, ChosenBy.FORCED)
    assert planner_sentence(by_model) == "The model small_vlm chose the steps."
    mixed = planned(MODEL, ChosenBy.MODEL, ChosenBy.RULES, ChosenBy.RULES, ChosenBy.FORCED)
    assert planner_sentence(mixed) == (
        "The model small_vlm chose the steps. 2 of 3 choices were made by the rules, since the "
        "model was not sure or gave no answer."
    )


def test_what_is_to_be_known_of_a_planner_is_said() -> None:
    free = MODEL.model_copy(update={"research_only": True, "blind": True})
    assert planner_sentence(planned(free, ChosenBy.MODEL)) == (
        "The model small_vlm chose the steps. The licence of its weights allows research only. It "
        "failed the test of whether it looks at the image, and was used because this installation "
        "allows it."
    )
    stated = MODEL.model_copy(update={"research_only": True, "licence": "Research only, it says."})
    assert planner_sentence(planned(stated, ChosenBy.MODEL)).endswith("Research only, it says.")


def test_all_scores_their_set_and_their_training_are_how_it_was_made() -> None:
    report = a_report(
        findings=(a_finding(label="classification", label_set=("benign",), evidence=("e4",)),)
    )
    assert classifier_sentences(report) == (
        "breast_2cls: benign 0.82, malignant 0.18; 90 % label set: benign; trained on images of "
        "which 68 % benign and 32 % malignant (BUSI and BUS-BRA, train rows of "
        "breast_2cls.csv).",
    )


def test_an_unknown_training_is_not_made_up_and_a_category_is_that_of_the_training() -> None:
    scores = {"lower suspicion": 0.27, "high suspicion": 0.73}
    item = ScoresEvidence(id="e1", specialist="thyroid_tirads_2cls", step=1, scores=scores)
    assert classifier_sentences(a_report(findings=(), evidence=(item,), measurements=())) == (
        "thyroid_tirads_2cls: lower suspicion 0.27, high suspicion 0.73; lower suspicion was "
        "TI-RADS 2 to 4a in its training data; high suspicion was TI-RADS 4b to 5 in its training "
        "data.",
    )


def test_a_detectors_score_and_threshold_are_how_it_was_made() -> None:
    found = a_finding(reason="it counts as found from 0.68")
    doubt = a_finding(
        id="f2",
        label="nodule",
        state=FindingState.NOT_ASSESSED,
        score=0.66,
        reason="the detector found none (presence score 0.66; one counts as found from 0.68), but "
        "the segmentation outlined 1 region: the two disagree",
    )
    assert detector_sentences(a_report(findings=(found, doubt))) == (
        "Lesion: presence score 0.93; it counts as found from 0.68.",
        "Nodule: presence score 0.66; it counts as found from 0.68.",
    )
