"""The answer to a question, in two or three short sentences."""

import pytest

from reports.asked import Asked, Topic
from reports.model import FindingState, RequestInfo, Scope
from reports.wording.report import word
from tests.builders import a_finding, a_measurement, a_report, a_worded_report

SIZE = Topic(name="size", findings=("f1",), measurements=("m1", "m2", "m3"))
BIRADS = Topic(name="BI-RADS category", cannot="This service gives no BI-RADS category.")
CLASS = Topic(name="classification", findings=("f2",))
RATIO = Topic(name="orientation", measurements=("m4",))


def answer(*topics: Topic, narrowed: bool = False) -> str | None:
    return word(a_worded_report(), asked=Asked(topics=topics, narrowed=narrowed)).asked


def test_a_report_without_a_question_has_no_answer_to_one_and_keeps_the_one_it_has() -> None:
    assert word(a_report()).asked is None
    assert word(a_report(asked="Asked: size.")).asked == "Asked: size."


@pytest.mark.parametrize(
    ("topics", "said"),
    [
        ((), "The question was not understood; the whole protocol is reported."),
        ((SIZE,), "Asked: size. Lesion 160 × 100 px."),
        ((BIRADS,), "Asked: BI-RADS category. This service gives no BI-RADS category."),
        (
            (SIZE, BIRADS),
            "Asked: size and BI-RADS category. Lesion 160 × 100 px. This service gives no BI-RADS "
            "category.",
        ),
        (
            (CLASS,),
            "Asked: classification. Classifier favours benign, score 0.82; it "
            "cannot exclude malignancy and is not a probability of cancer.",
        ),
        ((RATIO,), "Asked: orientation. Taller-than-wide ratio 0.62."),
        (
            (Topic(name="lesion", findings=("f1",)),),
            "Asked: lesion. Lesion found, 160 × 100 px.",
        ),
        (
            (SIZE, RATIO, CLASS, BIRADS),
            "Asked: size, orientation, classification and BI-RADS category. Lesion 160 × 100 px. "
            "Taller-than-wide ratio 0.62. This service gives no BI-RADS category. Further answers "
            "stand below.",
        ),
        ((Topic(name="whole report"),), "Asked: whole report."),
        (
            (
                Topic(
                    name="normality",
                    findings=("f1", "f2"),
                    measurements=("m1", "m2", "m3", "m4"),
                    cannot="This service does not judge whether an image is normal.",
                ),
            ),
            "Asked: normality. This service does not judge whether an image is normal.",
        ),
        (
            (Topic(name="whether it is cancer", findings=("f2",), cannot="It does not say so."),),
            "Asked: whether it is cancer. It does not say so. Classifier favours "
            "benign, score 0.82; it cannot exclude malignancy and is not a probability of cancer.",
        ),
    ],
)
def test_a_question_is_answered_in_its_order(topics: tuple[Topic, ...], said: str) -> None:
    assert answer(*topics) == said


def test_a_request_for_the_answer_alone_says_so() -> None:
    assert answer(SIZE, narrowed=True) == (
        "Asked: only size; the analysis was limited to what answers it. Lesion 160 × 100 px."
    )


def test_a_wish_for_the_answer_alone_that_narrows_nothing_says_so() -> None:
    request = RequestInfo(exam=None, question_given=True, scope=Scope.QUESTION, frame=None)
    report = a_worded_report(request=request)
    assert word(report, asked=Asked(topics=(BIRADS,))).asked == (
        "Asked: BI-RADS category. The whole protocol is reported. This service gives no BI-RADS "
        "category."
    )
    assert word(report, asked=Asked()).asked == (
        "The question was not understood; the whole protocol is reported."
    )


def test_a_narrowed_report_does_not_miss_an_outline_that_nobody_asked_for() -> None:
    request = RequestInfo(exam=None, question_given=True, scope=Scope.QUESTION, frame=None)
    boxed = a_finding(evidence=("e1",))
    report = word(a_report(request=request, findings=(boxed,), measurements=()))
    assert report.findings[0].statement == "Lesion: found."
    assert report.impression[0] == "Lesion found."


def test_what_was_asked_for_and_not_measured_says_why() -> None:
    age = a_measurement(
        name="gestational age",
        state="not_assessed",
        value=None,
        reason="Not available from this image: it needs millimetres.",
    )
    topic = Topic(name="gestational age", measurements=("m1",))
    report = word(a_report(measurements=(age,)), asked=Asked(topics=(topic,)))
    assert report.asked == (
        "Asked: gestational age. Gestational age: not available from this image: it needs "
        "millimetres."
    )


def test_what_was_asked_for_and_not_found_is_not_excluded() -> None:
    absent = a_finding(state=FindingState.NOT_FOUND, evidence=())
    asked = Asked(topics=(Topic(name="lesion", findings=("f1",)),))
    assert word(a_report(findings=(absent,)), asked=asked).asked == (
        "Asked: lesion. Lesion: not found. This does not exclude one that is faint or outside this "
        "image."
    )
