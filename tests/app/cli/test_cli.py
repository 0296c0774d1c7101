import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from app.cli.demo import as_table, compare
from app.cli.main import app
from app.cli.terminal import Exit, errors_as_exits
from app.settings import Settings
from app.standalone import Reported, analyze, write_all
from planner.case import Request
from reports.forms.render import forms_of
from reports.model import ExamCode
from specialists.manifest import read_manifest
from specialists.phantom.draw import png_bytes
from specialists.phantom.tissue import Lesion
from specialists.phantom.truth import read_truth
from tests.builders import a_report
from tests.planner.stand_ins import StandInTools, no_lesion_answers
from tests.reports.report_forms import a_biometry_report, frame_png
from tests.serving import a_phantom, truthful_tools

COMMANDS = (
    *("serve", "analyze", "specialists", "train", "evaluate", "predict"),
    *("push", "phantom", "demo"),
)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("USTRI_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture(autouse=True)
def same_end() -> Iterator[None]:
    """Restore this process's SIGTERM handler, which a command that serves changes."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def ustri(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def words_of(text: str) -> str:
    """The text without the borders and line breaks that depend on the terminal."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", re.sub(r"\x1b\[[0-9;]*m", "", text))


def test_the_help_names_every_command_and_exit_code() -> None:
    text = words_of(ustri("--help").output)
    for command in COMMANDS:
        assert f" {command} " in text
    for code in Exit:
        assert re.search(rf" {code.value} \w", text)


@pytest.mark.parametrize(
    "words",
    [
        *((name,) for name in COMMANDS if name != "train"),
        *(("train", name) for name in ("generalist", "specialist", "ship")),
    ],
)
def test_every_command_has_help_with_an_example(words: tuple[str, ...]) -> None:
    answer = ustri(*words, "--help")
    assert answer.exit_code == Exit.OK
    assert f"ustri {' '.join(words)}" in words_of(answer.output)


def test_a_phantom_has_the_size_and_field_that_were_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    size = ("--width", "320", "--height", "200")
    answer = ustri(
        "phantom", "breast", *size, "--geometry", "linear", "--seed", "5", "--out", str(path)
    )
    assert answer.exit_code == Exit.OK, answer.output
    truth = read_truth(path)
    assert truth is not None
    assert (truth.width_px, truth.height_px, truth.field, truth.seed) == (320, 200, "linear", 5)


def test_a_phantom_that_cannot_be_drawn_is_bad_input(tmp_path: Path) -> None:
    path = str(tmp_path / "a.png")
    answer = ustri("phantom", "intrapartum", "--geometry", "linear", "--out", path)
    assert answer.exit_code == Exit.INPUT
    assert "sector or convex" in words_of(answer.stderr)


@pytest.mark.parametrize(
    "words", [("phantom", "knee"), ("analyze",), ("analyze", "a", "--exam", "x")]
)
def test_a_wrong_word_is_a_usage_error(words: tuple[str, ...]) -> None:
    assert ustri(*words).exit_code == Exit.USAGE


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    answer = ustri("analyze", str(tmp_path / "none.png"))
    assert answer.exit_code == Exit.INPUT
    assert "none.png: No such file or directory." in answer.stderr


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n cut short"])
def test_bytes_that_are_no_image_end_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    answer = ustri("analyze", str(path))
    assert answer.exit_code == Exit.INPUT
    assert answer.stderr.startswith("ustri: ")
    assert answer.stderr.count("\n") == 1


def test_an_open_address_without_a_key_is_a_setup_problem() -> None:
    answer = ustri("serve", "--host", "0.0.0.0")
    assert answer.exit_code == Exit.SETUP
    assert "USTRI_API_KEY" in answer.stderr


def test_a_broken_manifest_of_the_user_is_a_setup_problem_that_names_the_file(
    tmp_path: Path,
) -> None:
    manifest = tmp_path / "data" / "specialists" / "manifest.toml"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("[[specialist]]\nid = 1\n", encoding="utf-8")
    answer = ustri("specialists")
    assert answer.exit_code == Exit.SETUP
    assert str(manifest) in answer.stderr


def test_the_specialists_are_listed_for_people_and_for_programs() -> None:
    known = read_manifest().specialists
    table = words_of(ustri("specialists").output)
    listed = json.loads(ustri("specialists", "--json").output)
    assert [entry["id"] for entry in listed] == list(known)
    assert all(f" {name} " in f" {table}" for name in known)
    assert all(entry["installed"] == known[entry["id"]].installed for entry in listed)


def test_an_analysis_in_this_process_is_written_in_all_forms(tmp_path: Path) -> None:
    phantom = a_phantom()
    request = Request(exam=ExamCode.BREAST)
    reported = analyze(
        png_bytes(phantom), request, Settings(data_dir=tmp_path), truthful_tools(phantom)
    )
    assert write_all(reported, tmp_path / "out") == ()
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    pictures = {f"evidence/{item.id}.png" for item in reported.report.evidence}
    assert written == {f"report.{form}" for form in forms_of(reported.report)} | pictures
    assert "report.biometry.dcm" not in written
    assert "data:image/png;base64," in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert not (tmp_path / "ustri.db").exists()


def test_a_head_in_pixels_is_written_without_its_biometry_which_says_why(tmp_path: Path) -> None:
    reported = Reported(report=a_biometry_report(spacing_mm=None), png=frame_png())
    [sentence] = write_all(reported, tmp_path)
    assert sentence.startswith("Not written, report.biometry.dcm: No size of the head is in mill")
    in_mm = Reported(report=a_biometry_report(), png=frame_png())
    assert write_all(in_mm, tmp_path) == ()
    assert (tmp_path / "report.biometry.dcm").read_bytes()[128:132] == b"DICM"


def test_measured_values_of_a_perfect_outline_are_the_drawn_ones(tmp_path: Path) -> None:
    phantom = a_phantom(Lesion.MALIGNANT, seed=4)
    tools = truthful_tools(phantom)
    reported = analyze(png_bytes(phantom), Request(), Settings(data_dir=tmp_path), tools)
    rows = {row.name: row for row in compare(phantom.truth, reported.report)}
    for name in ("long axis", "short axis", "area", "taller-than-wide ratio"):
        row = rows[f"lesion, {name}"]
        assert row.measured == pytest.approx(row.drawn, rel=1e-3)


def test_what_was_drawn_and_not_measured_is_said(tmp_path: Path) -> None:
    phantom = a_phantom()
    tools = StandInTools(answers=no_lesion_answers())
    reported = analyze(png_bytes(phantom), Request(), Settings(data_dir=tmp_path), tools)
    rows = compare(phantom.truth, reported.report)
    assert rows
    assert all(row.measured is None and row.difference_pct is None for row in rows)
    assert as_table(rows).row_count == len(rows)


def test_an_outline_elsewhere_is_not_taken_for_the_drawn_lesion() -> None:
    truth = a_phantom().truth
    elsewhere = truth.structures[0].model_copy(update={"box": (0.0, 0.0, 9.0, 9.0)})
    rows = compare(truth.model_copy(update={"structures": (elsewhere,)}), a_report())
    assert all(row.measured is None for row in rows)


@pytest.mark.parametrize(("module", "extra"), [("matplotlib", "train"), ("torch", "ml")])
def test_a_module_that_is_not_installed_is_named_with_its_extra(
    module: str, extra: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, errors_as_exits():
        raise ModuleNotFoundError(name=module)
    assert ended.value.exit_code == Exit.SETUP
    assert f"{module} is not installed: pip install 'ustri[{extra}]'." in capsys.readouterr().err
