from reports.layout import Row, lay_out
from reports.model import CheckOutcome, ExamCode, Laterality, Region, RequestInfo
from reports.wording.report import word
from tests.builders import (
    a_finding,
    a_measurement,
    a_refused_report,
    a_report,
    a_worded_report,
    an_image_info,
)


def test_the_header_holds_what_was_sent_and_leaves_out_what_was_not() -> None:
    request = RequestInfo(
        exam=ExamCode.BREAST,
        question_given=False,
        frame=None,
        laterality=Laterality.LEFT,
        site="3 o'clock",
        gestational_age="19w6d",
    )
    laid = lay_out(a_worded_report(request=request))
    assert laid.title == "Breast ultrasound"
    assert laid.header == (
        Row(name="Date", text="2026-11-20 12:00 UTC"),
        Row(name="Status", text="preliminary, version 1"),
        Row(name="Side", text="left"),
        Row(name="Site", text="3 o'clock"),
        Row(name="Gestational age", text="19w6d, as sent"),
        Row(name="Image", text="still image, 640 × 480 px"),
    )


def test_a_refused_or_partial_report_says_so_in_its_header_and_a_refusal_flags_nothing() -> None:
    flagged = a_report().checks[0].model_copy(update={"outcome": CheckOutcome.FLAG})
    laid = lay_out(word(a_refused_report(checks=(flagged,))))
    assert Row(name="Outcome", text="refused") in laid.header
    assert laid.flags == ()
    assert laid.technique == ()
    assert laid.made.checks == (flagged,)


def test_who_signed_and_why_it_was_amended_is_said() -> None:
    signed = a_report(
        signed_by="dr-a", signed_at="2026-11-20T13:05:00Z", amendment_reason="a wrong side"
    )
    assert (
        Row(name="Signed", text="dr-a, 2026-11-20 13:05 UTC; amended because a wrong side")
        in lay_out(signed).header
    )


def test_a_synthetic_image_is_said_to_be_one_where_the_image_is_named() -> None:
    row = lay_out(a_report(image=an_image_info(synthetic=True, frame=3))).header[-1]
    assert row.text == (
        "frame 4, counted from 1, 640 × 480 px, drawn by a program; it shows no patient"
    )


def test_findings_and_measurements_of_one_structure_stand_together() -> None:
    laid = lay_out(a_worded_report())
    assert [(s.name, len(s.findings), len(s.measurements)) for s in laid.structures] == [
        ("Lesion", 1, 4),
        ("Classification", 1, 0),
    ]


def test_what_a_structure_is_like_follows_that_it_was_found() -> None:
    scored, shape, found = (
        a_finding(id="f1", label="classification", structure="lesion", evidence=("e4",)),
        a_finding(id="f2", label="shape", structure="lesion", value="oval", evidence=("e2",)),
        a_finding(id="f3", structure="lesion"),
    )
    [structure] = lay_out(a_report(findings=(scored, shape, found), measurements=())).structures
    assert [finding.id for finding in structure.findings] == ["f3", "f1", "f2"]


def test_the_structure_that_an_item_names_comes_before_what_it_rests_on() -> None:
    report = a_report(measurements=(a_measurement(structure="skin"),))
    assert [s.name for s in lay_out(report).structures] == ["Lesion", "Classification", "Skin"]


def test_what_limits_the_numbers_of_a_structure_is_said_once() -> None:
    note = "Lengths are in px and pixels are assumed square: it states no spacing."
    edge = "The outline reaches the edge."
    numbers = tuple(
        a_measurement(id=f"m{n}", reason=f"{note} {edge} No interval is given: it is not known.")
        for n in range(2)
    )
    whole, parted = (
        lay_out(a_report(measurements=numbers, image=an_image_info(regions=regions)))
        for regions in ((), (Region(box=(0, 0, 9, 9), spacing_mm=None),))
    )
    assert whole.structures[0].notes == (edge,)
    assert parted.structures[0].notes == (f"{note} {edge}",)


def test_what_limits_one_of_several_numbers_begins_with_its_name() -> None:
    long_axis = a_measurement(reason="Its end is faint. No interval is given: it is not known.")
    short_axis = a_measurement(id="m2", name="short axis", reason=None)
    laid = lay_out(a_report(measurements=(long_axis, short_axis)))
    assert laid.structures[0].notes == ("Long axis: its end is faint.",)


def test_why_several_numbers_of_a_structure_are_unreliable_is_said_once() -> None:
    shape, edge, own = "the outline is implausible (a bay; a hole)", "it is cut off", "it is wide"
    doubts = [
        ("long axis", "lesion", f"{shape}; {edge}"),
        ("long axis", "lesion", f"{shape}; {edge}; {own}"),
        ("short axis", "lesion", shape),
        ("long axis", "nodule", edge),
    ]
    numbers = tuple(
        a_measurement(id=f"m{n}", name=name, structure=of, unreliable=why, reason=None)
        for n, (name, of, why) in enumerate(doubts)
    )
    laid = lay_out(word(a_report(measurements=numbers, findings=())))
    first, second = laid.structures
    assert first.notes == (f"Unreliable: {shape}.", f"Long axis is unreliable: {edge}.")
    assert [item.statement.partition(". ")[2] for item in first.measurements] == [
        "Unreliable.",
        f"Unreliable: {own}.",
        "Unreliable.",
    ]
    assert second.notes == ()
    assert second.measurements[0].statement.endswith(f"Unreliable: {edge}.")


def test_only_checks_that_flag_are_flags_and_the_others_are_how_it_was_made() -> None:
    check = a_report().checks[0]
    flagged = check.model_copy(update={"outcome": CheckOutcome.FLAG})
    laid = lay_out(a_worded_report(checks=(check, flagged)))
    assert [flag.text for flag in laid.flags] == ["Box against mask: IoU 0.97 of 0.50."]
    assert laid.made.checks == (check, flagged)


def test_the_first_four_limitations_are_shown_and_the_rest_are_more() -> None:
    report = a_worded_report()
    laid = lay_out(report)
    assert len(laid.limitations) == 4
    assert (*laid.limitations, *laid.more_limitations) == report.limitations
