"""Texts of all DICOM forms fit their attributes in bytes of UTF-8, at any length and script."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.forms.attributes import LIMITS_BYTES, fitted
from reports.model import Report
from tests.builders import a_worded_report
from tests.reports.report_forms import REPORTS, a_biometry_report, frame_png
from tests.tools import KNOWN_WARNINGS, complaints, module

module("pydicom", "pip install 'ustri[dicom]'")
module("highdicom", "pip install 'ustri[dicom]'")

from pydicom import Dataset, dcmread  # noqa: E402

from reports.forms.dicom.biometry import to_biometry  # noqa: E402
from reports.forms.dicom.image import to_image  # noqa: E402
from reports.forms.dicom.seg import to_seg  # noqa: E402
from reports.forms.dicom.source import own_source  # noqa: E402
from reports.forms.dicom.sr import to_sr  # noqa: E402

LONG = {
    "one byte too many": "x" * 62 + "é" + "x",
    "dash": "The outline – of the lesion – reaches the edge – of the frame – here",
    "han": "超声" * 60,
    "emoji": "🫀" * 40,
    "marks": "e\u0301" * 50,
    "backslash": "a\\b " * 30,
    "control": "line\nline\t\x1b[0m" * 9,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
@pytest.mark.parametrize("vr", LIMITS_BYTES)
def test_a_text_is_cut_to_the_bytes_of_its_attribute_at_a_whole_letter(vr: str, text: str) -> None:
    kept = fitted(text * 200, vr)
    assert len(kept.encode()) <= LIMITS_BYTES[vr]
    assert len(kept.encode()) > LIMITS_BYTES[vr] - 8
    assert fitted(kept, vr) == kept
    if vr in ("SH", "LO", "PN"):
        assert "\\" not in kept
        assert kept.isprintable()
    if text == LONG["marks"]:
        assert kept == "e\u0301" * (len(kept) // 2)


def test_each_group_of_a_name_has_its_own_limit() -> None:
    name = "=".join(["Yamada^Tarou", "山田^太郎" * 9, "やまだ^たろう" * 9])
    alphabetic, *others = fitted(name, "PN").split("=")
    assert alphabetic == "Yamada^Tarou"
    assert [len(each.encode()) <= 64 and len(each.encode()) > 58 for each in others] == [True] * 2


def test_a_text_that_fits_is_left_as_it_is() -> None:
    for vr in (*LIMITS_BYTES, "UT", "UC"):
        assert fitted("Größe 12 mm", vr) == "Größe 12 mm"
    assert fitted("x" * 20_000, "UT") == "x" * 20_000
    assert fitted("", "PN") == ""


def elements(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """The VR and each value of every text below a dataset."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)
        elif element.VR in LIMITS_BYTES and element.value:
            for value in element.value if element.VM > 1 else [element.value]:
                yield element.VR, str(value)


def a_wordy_report(text: str) -> Report:
    """Return a report that says a text wherever it says what a person or a manifest wrote."""
    report = REPORTS["breast"]
    renamed = tuple(item.model_copy(update={"label": text}) for item in report.findings)
    masks = tuple(
        item.model_copy(update={"label": text}) if hasattr(item, "label") else item
        for item in report.evidence
    )
    numbers = tuple(item.model_copy(update={"name": text}) for item in report.measurements)
    provenance = report.provenance.model_copy(update={"code_version": text})
    return report.model_copy(
        update={
            "outcome": "partial",
            "reason": text,
            "findings": renamed,
            "evidence": masks,
            "measurements": numbers,
            "provenance": provenance,
        }
    )


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_no_attribute_of_any_form_is_longer_in_bytes_than_it_may_be(
    text: str, tmp_path: Path
) -> None:
    report = a_wordy_report(text)
    name = "=".join([fitted(text, "PN"), "山田^太郎" * 9])
    source = own_source(report).model_copy(update={"original": True, "patient_name": name})
    head = a_biometry_report().model_copy(
        update={"outcome": "partial", "reason": text, "provenance": report.provenance}
    )
    files = [to_sr(report, source), to_seg(report, source), to_image(report, frame_png())]
    for data in (*files, to_biometry(head, source)):
        for vr, value in elements(dcmread(io.BytesIO(data))):
            groups = value.split("=") if vr == "PN" else [value]
            assert max(len(group.encode()) for group in groups) <= LIMITS_BYTES[vr], (vr, value)
    for data in (to_sr(report), to_biometry(head)):
        errors = [line for line in complaints(data, tmp_path) if line.startswith("Error")]
        assert errors == []


def test_dciodvfy_finds_no_error_where_a_reason_has_64_letters_and_more_bytes(
    tmp_path: Path,
) -> None:
    report = a_worded_report(outcome="partial", reason="–" + "x" * 63)
    assert set(complaints(to_sr(report), tmp_path)) <= KNOWN_WARNINGS
