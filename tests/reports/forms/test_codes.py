import pytest

from reports.forms import codes
from reports.forms.codes import Coded
from reports.model import ExamCode, Measurement, MeasurementState
from tests.tools import module


def every_code() -> list[Coded]:
    tables = (codes.STRUCTURES, codes.MEASUREMENTS, codes.UNITS, codes.SITES, codes.STATES)
    listed = [code for table in tables for code in table.values()]
    return listed + [code for code in vars(codes).values() if isinstance(code, Coded)]


def test_codes_fit_the_value_representations_that_carry_them() -> None:
    for code in every_code():
        assert 1 <= len(code.value) <= 16, code
        assert 1 <= len(code.scheme) <= 16, code
        assert 1 <= len(code.meaning) <= 64, code


def test_standard_codes_are_those_of_the_standard_as_pydicom_lists_it() -> None:
    listed = module("pydicom.sr._concepts_dict", "pip install 'ustri[dicom]'").concepts
    known = {
        (scheme, value)
        for scheme in ("SCT", "DCM", "LN")
        for name in listed[scheme].values()
        for value in name
    }
    for code in every_code():
        if code.scheme in {"SCT", "DCM", "LN"}:
            assert (code.scheme, code.value) in known, code


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("head circumference", "11984-2"),
        ("biparietal diameter", "11820-8"),
        ("occipitofrontal diameter", "11851-3"),
        ("cephalic index", "11823-2"),
        ("gestational age", "18185-9"),
    ],
)
def test_fetal_numbers_have_their_loinc_codes(name: str, value: str) -> None:
    assert codes.measured(name)[:2] == (value, "LN")


def test_the_angle_of_progression_is_of_our_scheme_in_degrees() -> None:
    assert codes.measured("angle of progression").scheme == codes.PRIVATE_SCHEME
    assert codes.unit("deg")[:2] == codes.unit("°")[:2] == ("deg", "UCUM")


def test_titles_are_breast_or_ultrasound() -> None:
    titles = {exam: codes.title_of(exam).value for exam in (*ExamCode, None)}
    assert titles.pop(ExamCode.BREAST) == "24601-7"
    assert set(titles.values()) == {"25061-3"}


def test_labels_without_a_code_get_one_of_our_own_and_no_two_the_same() -> None:
    labels = [
        "class 1",
        "class 2",
        "a very long label, first",
        "a very long label, second",
        "肝",
        "肾",
    ]
    made = [codes.structure(label) for label in labels]
    assert len({code.value for code in made}) == len(labels)
    assert {code.scheme for code in made} == {codes.PRIVATE_SCHEME}
    assert all(len(code.value) <= 16 for code in made)
    assert all(code.scheme == codes.PRIVATE_SCHEME for code in map(codes.class_score, labels))


def test_an_unknown_unit_is_an_annotation() -> None:
    assert codes.unit("dB/cm {x}") == Coded("{dB/cm__x_}", "UCUM", "dB/cm {x}")


def test_a_measured_number_has_no_qualifier() -> None:
    number = Measurement(id="m1", name="area", state=MeasurementState.MEASURED, value=1.0)
    assert codes.qualifier(number) is None
