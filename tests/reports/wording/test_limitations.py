"""The limitations: the four that matter first, then the rest."""

import pytest

from reports.model import (
    CheckOutcome,
    Colour,
    DicomSource,
    ExamCode,
    ExamInfo,
    PixelAspect,
    Region,
    Report,
    RequestInfo,
    Spacing,
)
from reports.provenance import PlannerRef
from reports.wording.phrases import NOT_FOR_CLINICAL_USE
from reports.wording.report import word
from tests.builders import (
    a_calibrated_image_info,
    a_finding,
    a_measurement,
    a_provenance,
    a_refused_report,
    a_report,
    a_sha256,
    an_image_info,
)

STILL = "One still image was analysed; what it does not show was not assessed."


def limits(report: Report) -> tuple[str, ...]:
    return word(report).limitations


def of_exam(code: ExamCode, **changes: object) -> tuple[str, ...]:
    exam = ExamInfo(code=code, title="An exam", chosen_by="request", score=None)
    return limits(a_report(exam=exam, **changes))


def test_use_image_exam_and_validity_elsewhere_come_first() -> None:
    number = a_measurement(unit="mm", interval=(150.0, 170.0), coverage=0.9, held_elsewhere=0.71)
    found = a_finding(label_set=("benign",), held_elsewhere=0.62, evidence=("e4",))
    assert limits(a_report(measurements=(number,), findings=(found,)))[:4] == (
        NOT_FOR_CLINICAL_USE,
        "Image: no pixel spacing is known; pixels are assumed to be square, and lengths, ratios "
        "and angles are wrong if they are not; burned-in text was not checked, and may still "
        "show a name.",
        f"Exam: the plane of the image was not checked. {STILL}",
        "Elsewhere: intervals and label sets were calibrated to hold for 90 % of images like those "
        "of the training; on a source left out of it, intervals as little as 71 % and label sets "
        "as little as 62 %. On other devices, planes or patients they may hold for fewer.",
    )


def test_weights_for_research_only_stand_beside_the_use() -> None:
    why = "the weights of usgen may be used for research only, since nobody read the licence"
    [first, *rest] = limits(a_report(provenance=a_provenance(research_only=why)))
    assert first == (
        f"{NOT_FOR_CLINICAL_USE} Weights that made this report may be used for research only: it "
        "stays preliminary and is not sent from this system, unless whoever runs it accepts that."
    )
    assert not any("usgen" in line for line in rest)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            ExamCode.FETAL_HEAD,
            "it was not checked that the plane is one in which heads are measured; in another, "
            "circumference, diameters and age are wrong",
        ),
        (
            ExamCode.INTRAPARTUM,
            "it was not checked that the view is midsagittal and the probe not mirrored; otherwise "
            "the angle of progression is wrong",
        ),
        (
            ExamCode.MUSCLE,
            "it was not checked that the image lies along the fascicles; across them, thickness "
            "and angles are wrong",
        ),
        (
            ExamCode.NERVE,
            "it was not checked that the image cuts nerve and vessel at right angles; an oblique "
            "cut makes areas too large",
        ),
        (
            ExamCode.HEART,
            "it was not checked that the view is an apical two- or four-chamber view; of another, "
            "its name and the outlines are wrong",
        ),
        (ExamCode.LUNG, "where on the chest the image was taken is not known"),
        (ExamCode.OVARY, "the plane of the image was not checked"),
    ],
)
def test_what_was_not_checked_of_the_exam_is_the_third(code: ExamCode, said: str) -> None:
    assert of_exam(code)[2] == f"Exam: {said}. {STILL}"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            ExamCode.FETAL_HEAD,
            "Structures of the head: a detector that draws no box cannot tell absence; what has "
            "none is not assessed.",
        ),
        (
            ExamCode.INTRAPARTUM,
            "Orientation: the end of the symphysis further right in the image is taken as the "
            "inferior one.",
        ),
        (ExamCode.NERVE, "Nerve and vessel: which ones they are was not established."),
        (
            ExamCode.THYROID,
            "Nodules: a detector that draws no box cannot tell absence; one nodule that two panels "
            "of a picture show counts as two.",
        ),
        (
            ExamCode.THYROID,
            "Suspicion: it was learnt from the category of a whole examination, not of a single "
            "nodule.",
        ),
        (
            ExamCode.HEART,
            "Phase: where in the heartbeat the image was taken was not determined.",
        ),
        (
            ExamCode.OVARY,
            "Outline: whether it is drawn around an ovary or a tumour is not told by it.",
        ),
        (
            ExamCode.OVARY,
            "Type: a finding of a kind that is not among the classes is taken for one of them.",
        ),
        (
            ExamCode.LUNG,
            "Classes follow sources: in the training data each class came mostly from sources of "
            "its own, so that the scores may tell where an image comes from and not what it shows.",
        ),
    ],
)
def test_what_else_is_not_known_of_an_exam_is_among_the_rest(code: ExamCode, said: str) -> None:
    assert said in of_exam(code)[3:]


@pytest.mark.parametrize(
    "line",
    [
        "Intervals: none is given for long axis, because it is not calibrated yet.",
        "Label sets: none is given for classification; it is not calibrated yet.",
        "Training: how far this image is from the training images is not stated.",
    ],
)
def test_what_is_not_calibrated_or_stated_is_named(line: str) -> None:
    assert line in limits(a_report())


def test_a_refusal_assessed_nothing_and_assumes_nothing_of_its_pixels() -> None:
    assert limits(word(a_refused_report())) == (
        NOT_FOR_CLINICAL_USE,
        "Image: no pixel spacing is known; burned-in text was not checked, and may still show a "
        "name.",
        "Nothing of this image was assessed.",
        "Training: how far this image is from the training images is not stated.",
    )


def test_a_proven_spacing_was_not_verified_and_assumes_nothing_square() -> None:
    report = a_report(
        image=a_calibrated_image_info(), measurements=(a_measurement(value=16.0, unit="mm"),)
    )
    assert limits(report)[1] == (
        "Image: the stated pixel spacing was not verified against the image; burned-in text was "
        "not checked, and may still show a name."
    )


def test_mixed_calibration_counts_its_regions_and_keeps_the_assumption_for_px() -> None:
    image = an_image_info(
        pixel_aspect=PixelAspect.KNOWN,
        spacing_reason="the two spacings contradict each other",
        text_blackened=0,
        regions=(
            Region(box=(0, 0, 320, 480), spacing_mm=Spacing(x=0.1, y=0.1)),
            Region(box=(320, 0, 640, 480), spacing_mm=None),
        ),
    )
    said = limits(a_report(image=image))
    assert said[1] == (
        "Image: 1 of 2 regions state a pixel spacing, which was not verified against the image; "
        "pixels are assumed to be square where a measurement is in px, and lengths, ratios and "
        "angles are wrong if they are not; small or faint burned-in text may remain."
    )
    assert "Pixel spacing: not used, since the two spacings contradict each other." in said
    assert (
        "Several views: the frame shows 2 regions of 2D tissue, and all were analysed as one "
        "image; none was preferred."
    ) in said


def test_pixels_that_the_source_says_are_not_square_are_said_to_be() -> None:
    image = an_image_info(pixel_aspect=PixelAspect.KNOWN, aspect_ratio=1.25)
    assert (
        "each pixel is 1.25 times as high as wide by the source, and a length in px is in widths "
        "of a pixel"
    ) in limits(a_report(image=image))[1]


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (0, "Burned-in text: none was found; small or faint text may remain."),
        (
            1,
            "Burned-in text: 1 place was found and blackened before anything was stored; small or "
            "faint text may remain.",
        ),
        (
            3,
            "Burned-in text: 3 places were found and blackened before anything was stored; small "
            "or faint text may remain.",
        ),
    ],
)
def test_what_became_of_burned_in_text_is_said(places: int, said: str) -> None:
    assert said in limits(a_report(image=an_image_info(text_blackened=places)))


@pytest.mark.parametrize(
    ("burned_in", "masked_px", "said"),
    [
        (
            None,
            0,
            "is not stated, and nothing was blackened, since the file states no ultrasound region.",
        ),
        ("yes", 700, "states yes, and 700 px outside the ultrasound regions were blackened."),
    ],
)
def test_what_the_dicom_file_says_of_text_is_said(
    burned_in: str | None, masked_px: int, said: str
) -> None:
    source = DicomSource.model_validate(
        {
            "sop_class_uid": "1.2.3",
            "study_uid": "1.2.4",
            "series_uid": "1.2.5",
            "instance_uid": "1.2.6",
            "frames": 1,
            "burned_in": burned_in,
            "masked_px": masked_px,
        }
    )
    assert (
        "Burned-in text: not checked in what is shown, which may still hold a name; "
        f"BurnedInAnnotation {said}"
    ) in limits(a_report(image=an_image_info(dicom=source)))


def test_limits_of_source_planner_and_request_are_stated() -> None:
    image = an_image_info(
        colour=Colour.TINTED,
        conversions=("16 bits to 8 bits",),
        frame=3,
        frame_reason="of its 4 frames it scores best",
        synthetic=True,
    )
    blind = PlannerRef(id="m", sha256=a_sha256("m"), blind=True)
    said = limits(
        a_report(
            image=image,
            request=RequestInfo(exam=None, question_given=True, frame=3),
            provenance=a_provenance(planner=blind),
        )
    )
    assert said[2] == (
        "Exam: the plane of the image was not checked. One frame was analysed; what it and the "
        "others show beside it was not assessed."
    )
    assert said[-7:] == (
        "Synthetic test image: drawn by a program, it shows no patient.",
        "Training: how far this image is from the training images is not stated.",
        "Frame: frame 4, counted from 1, was analysed, since of its 4 frames it scores best.",
        "Colour: the image is tinted; it was converted to grey before the analysis.",
        "Converted before the analysis: 16 bits to 8 bits.",
        "Steps: they were planned without regard to what the image shows, which this installation "
        "allows.",
        "Question: its text was not kept.",
    )


def test_colour_quality_and_the_distance_from_the_training_are_stated() -> None:
    checks = tuple(
        a_report()
        .checks[0]
        .model_copy(
            update={"name": name, "detail": "The image is dark.", "outcome": CheckOutcome.FLAG}
        )
        for name in ("image quality", "image against training images")
    )
    said = limits(a_report(image=an_image_info(colour=Colour.COLOUR), checks=checks))
    assert "Colour: the image holds colour; only 2D grey-scale tissue can be analysed." in said
    assert "Image quality: The image is dark." in said
    assert (
        "Training: an image that is far from the training images is refused; a smaller difference, "
        "such as another device or population, is not told."
    ) in said
