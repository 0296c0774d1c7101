"""The breast protocol from request to report, with stand-in specialists."""

import pytest

from planner.case import Request
from planner.conclusion.report import conclude
from reports.layout import lay_out
from reports.measure.lesion import NAMES
from reports.model import (
    CheckOutcome,
    ChosenBy,
    FindingState,
    MeasurementState,
    Outcome,
    Report,
)
from specialists.errors import Declined
from specialists.manifest import Manifest, Threshold
from specialists.result import Result
from tests.builders import (
    LESION_BOX,
    a_calibrated_image_info,
    a_classify_result,
    a_component,
    a_detect_result,
    a_segment_result,
    a_sha256,
    an_ellipse,
    an_image,
)
from tests.planner.stand_ins import (
    BREAST_TOOLS,
    LEARNT_FROM,
    StandInTools,
    a_manifest,
    an_identity,
    breast_answers,
    no_lesion_answers,
    report_of,
    run_case,
    statements,
)

MEASURES = list(NAMES)


def finding(report: Report, label: str) -> tuple[FindingState, str]:
    found = next(item for item in report.findings if item.label == label)
    return found.state, found.reason or ""


def outcomes(report: Report) -> dict[str, CheckOutcome]:
    return {check.name: check.outcome for check in report.checks}


def test_the_whole_protocol_runs_in_order_and_the_box_is_the_region_of_what_follows() -> None:
    tools = StandInTools()
    run_case(tools)
    assert tools.calls == [
        ("exam_cls", None),
        ("breast_lesion_det", None),
        ("breast_lesion", LESION_BOX),
        ("breast_2cls", LESION_BOX),
        ("breast_3cls", None),
    ]


def test_a_lesion_that_is_found_is_reported_with_its_evidence_and_numbers() -> None:
    report = report_of()
    assert (report.outcome, report.reason) == (Outcome.REPORTED, None)
    assert finding(report, "lesion") == (FindingState.FOUND, "")
    assert finding(report, "classification")[0] is FindingState.FOUND
    assert [item.name for item in report.measurements] == MEASURES
    assert all(item.state is MeasurementState.MEASURED for item in report.measurements)
    assert set(outcomes(report).values()) == {CheckOutcome.AGREE}
    assert report.exam.code == "breast"
    assert report.exam.chosen_by == "image"


def test_every_statement_opens_onto_evidence_that_is_there() -> None:
    report = report_of()
    ids = {item.id for item in report.evidence}
    assert [item.id for item in report.evidence] == [f"e{n + 1}" for n in range(len(ids))]
    for statement in statements(report):
        assert statement.evidence
        assert ids.issuperset(statement.evidence)
        assert statement.statement
    assert all(item.step < len(report.steps) for item in report.evidence)


def test_the_models_name_the_backbone_once_and_every_specialist_that_ran() -> None:
    models = report_of().provenance.models
    assert [model.id for model in models] == ["usgen", *BREAST_TOOLS]
    assert {model.id: model.sha256 for model in models}["breast_2cls"] == a_sha256("breast_2cls")


def test_the_report_names_the_weights_that_are_for_research_only_and_why() -> None:
    said = report_of().provenance.research_only
    assert said == (
        "the weights of usgen, exam_cls, breast_lesion_det, breast_lesion, breast_2cls and "
        "breast_3cls may be used for research only, since the licence of what they or their "
        "backbone learnt from was not read at the source (a set)"
    )
    free = LEARNT_FROM.model_copy(update={"licence_verified": True})
    case = run_case(StandInTools(manifest=a_manifest(learnt_from=free)))
    assert conclude(case, an_identity()).provenance.research_only is None


def test_without_a_lesion_the_whole_image_is_segmented_and_the_classifier_is_never_legal() -> None:
    tools = StandInTools(answers=no_lesion_answers())
    case = run_case(tools)
    assert tools.calls == [
        ("exam_cls", None),
        ("breast_lesion_det", None),
        ("breast_lesion", None),
        ("breast_3cls", None),
    ]
    assert all("breast_2cls" not in record.step.legal for record in case.records)
    report = report_of(no_lesion_answers())
    assert report.outcome is Outcome.REPORTED
    assert finding(report, "lesion") == (FindingState.NOT_FOUND, "")
    state, reason = finding(report, "classification")
    assert state is FindingState.NOT_ASSESSED
    assert "no lesion was found" in reason
    assert [item.name for item in report.measurements] == MEASURES
    assert all(item.state is MeasurementState.NOT_ASSESSED for item in report.measurements)
    assert all(item.reason for item in report.measurements)


def test_two_lesions_are_measured_one_by_one() -> None:
    two = a_segment_result(
        components=(
            a_component(polygons=(an_ellipse((300.0, 210.0), (50.0, 40.0)),)),
            a_component(polygons=(an_ellipse((390.0, 230.0), (9.0, 12.0)),), score=0.7),
        )
    )
    report = report_of(breast_answers(breast_lesion=two))
    assert [item.name for item in report.measurements] == MEASURES * 2
    assert [item.id for item in report.measurements] == [f"m{n}" for n in range(1, 13)]
    masks = [item.id for item in report.evidence if item.kind == "mask"]
    lesion = next(item for item in report.findings if item.label == "lesion")
    assert len(masks) == 2
    assert set(masks) <= set(lesion.evidence)
    assert report.measurements[0].value == pytest.approx(100.0, rel=0.01)
    assert report.measurements[6].value == pytest.approx(24.0, rel=0.01)


def test_a_mask_without_a_box_is_flagged_and_presence_is_left_open() -> None:
    answers = no_lesion_answers(breast_lesion=a_segment_result())
    report = report_of(answers)
    state, reason = finding(report, "lesion")
    assert state is FindingState.NOT_ASSESSED
    assert "disagree" in reason
    assert outcomes(report)["presence: detector against segmentation"] is CheckOutcome.FLAG
    assert report.outcome is Outcome.PARTIAL
    assert report.reason is not None
    assert "lesion" in report.reason
    assert report.measurements[0].state is MeasurementState.MEASURED


def test_a_box_without_a_mask_is_flagged_and_its_numbers_are_not_assessed() -> None:
    report = report_of(breast_answers(breast_lesion=a_segment_result(components=())))
    assert finding(report, "lesion")[0] is FindingState.FOUND
    assert outcomes(report)["presence: detector against segmentation"] is CheckOutcome.FLAG
    assert report.outcome is Outcome.PARTIAL
    assert {item.reason for item in report.measurements} == {"the segmentation outlined no lesion"}


def test_no_box_from_a_detector_that_never_learnt_absence_is_not_assessed() -> None:
    blind = a_detect_result(score=0.1, box=None, absence_known=False)
    report = report_of(no_lesion_answers(breast_lesion_det=blind))
    state, reason = finding(report, "lesion")
    assert state is FindingState.NOT_ASSESSED
    assert "absence" in reason


@pytest.mark.parametrize("name", BREAST_TOOLS[1:])
def test_a_specialist_that_declines_leaves_its_reason_and_the_rest_goes_on(name: str) -> None:
    why = "The image is too dark."
    report = report_of(breast_answers(**{name: Declined(why)}))
    gaps = [item for item in statements(report) if item.state == "not_assessed"]
    assert any("too dark" in (item.reason or "") for item in gaps)
    assert report.outcome is (Outcome.REPORTED if name == "breast_3cls" else Outcome.PARTIAL)
    assert report.steps[-1].action == "stop"
    assert name in [model.id for model in report.provenance.models]


def test_when_all_decline_nothing_was_answered_and_every_reason_is_given() -> None:
    declined = {name: Declined(f"{name} cannot.") for name in BREAST_TOOLS[1:]}
    report = report_of(breast_answers(**declined))
    assert report.outcome is Outcome.REFUSED
    assert "breast_lesion_det cannot" in (report.reason or "")
    assert all(item.reason for item in statements(report))


def test_what_a_specialist_that_is_not_installed_answers_is_open_and_it_is_never_legal() -> None:
    installed = tuple(name for name in BREAST_TOOLS if name != "breast_2cls")
    report = report_of(installed=installed)
    assert all("breast_2cls" not in step.legal for step in report.steps)
    state, reason = finding(report, "classification")
    assert state is FindingState.NOT_ASSESSED
    assert "not installed here (no weights in this test)" in reason
    assert report.outcome is Outcome.PARTIAL


def test_classifiers_that_disagree_are_flagged_and_keep_their_scores() -> None:
    other = a_classify_result(
        specialist="breast_3cls", scores={"normal": 0.1, "benign": 0.2, "malignant": 0.7}
    )
    report = report_of(breast_answers(breast_3cls=other))
    assert outcomes(report)["classes: breast_2cls against breast_3cls"] is CheckOutcome.FLAG
    score = next(item.score for item in report.findings if item.label == "classification")
    assert score == 0.18


def test_an_outline_far_from_its_box_is_flagged_twice() -> None:
    away = a_component(polygons=(an_ellipse((80.0, 80.0), (40.0, 30.0)),))
    report = report_of(breast_answers(breast_lesion=a_segment_result(components=(away,))))
    flags = [name for name, outcome in outcomes(report).items() if outcome is CheckOutcome.FLAG]
    assert flags == [
        "overlap: detector's box against the outline's extent",
        "containment: outline inside the detector's box",
    ]


def test_lengths_are_in_mm_where_the_source_states_a_spacing() -> None:
    info = a_calibrated_image_info((0.1, 0.1))
    image = an_image(
        spacing_mm=info.spacing_mm,
        spacing_source=info.spacing_source,
        pixel_aspect=info.pixel_aspect,
    )
    long_axis = report_of(image=image).measurements[0]
    assert long_axis.unit == "mm"
    assert long_axis.value == pytest.approx(16.0, rel=0.01)


def test_one_legal_action_is_forced_and_two_are_chosen_by_the_rules() -> None:
    steps = [record.step for record in run_case(StandInTools(), Request()).records]
    assert [(step.action, step.chosen_by) for step in steps] == [
        ("exam_cls", ChosenBy.FORCED),
        ("breast_lesion_det", ChosenBy.RULES),
        ("breast_lesion", ChosenBy.RULES),
        ("breast_2cls", ChosenBy.RULES),
        ("breast_3cls", ChosenBy.RULES),
        ("stop", ChosenBy.FORCED),
    ]
    assert all(step.reason for step in steps)
    assert [step.index for step in steps] == list(range(6))


def asking_for(presence: float) -> Manifest:
    """A manifest whose lesion detector finds from that score."""
    manifest = a_manifest()
    limit = {"presence": Threshold(value=presence, source="this test")}
    detector = manifest.specialists["breast_lesion_det"].model_copy(update={"thresholds": limit})
    return manifest.model_copy(
        update={"specialists": manifest.specialists | {detector.id: detector}}
    )


@pytest.mark.parametrize(
    ("box", "components", "says"),
    [
        (LESION_BOX, None, "presence score 0.93"),
        (None, (), "presence score 0.66"),
        (None, None, "presence score 0.66"),
    ],
)
def test_how_it_was_made_states_a_presence_score_and_from_where_one_counts_as_found(
    box: tuple[float, ...] | None, components: tuple[()] | None, says: str
) -> None:
    changes: dict[str, Result] = {
        "breast_lesion_det": a_detect_result(box=box, score=0.93 if box else 0.66)
    }
    if components is not None:
        changes["breast_lesion"] = a_segment_result(components=components)
    tools = StandInTools(answers=breast_answers(**changes), manifest=asking_for(0.68))
    report = conclude(run_case(tools), an_identity())
    assert f"Lesion: {says}; it counts as found from 0.68." in lay_out(report).made.classifiers
    assert "score" not in report.findings[0].statement
