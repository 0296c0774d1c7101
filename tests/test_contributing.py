"""CONTRIBUTING's steps for a new exam are all of them: followed literally, they give its report."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.processes import finished

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
REPORT = """
from reports.forms.fhir.bundle import to_fhir
from reports.forms.html import to_html
from reports.forms.text import to_text
from reports.model import ExamCode
from tests.builders import a_component, an_ellipse
from tests.planner.exam_answers import outlines
from tests.planner.stand_ins import report_of, routed_to

outline = a_component(label="kidney", polygons=(an_ellipse((300.0, 240.0)),))
answers = {
    "exam_cls": routed_to(ExamCode.KIDNEY),
    "kidney_outline": outlines("kidney_outline", ("kidney",), outline),
}
report = report_of(answers, installed=("exam_cls", "kidney_outline"))
to_html(report, "image.png"), to_fhir(report, None)
print(to_text(report))
print(to_text(report_of(answers, installed=("exam_cls",))))
"""


def section() -> str:
    return TEXT.partition("## A new exam\n")[2].partition("\n## ")[0]


def steps() -> list[tuple[str, str, str]]:
    """File, the class or table to add to (empty: the end of the file), and the lines to add."""
    found, file = [], ""
    for part in re.split(r"(?<=```)\n", section()):
        if "```" not in part:
            continue
        words, _, fenced = part.partition("```")
        if named := re.search(r"In `([^`]+)`", words):
            file = named[1]
        target = re.search(r"(?:member|entry) of `([^`]+)`", words)
        block = "\n".join(line.removeprefix("   ") for line in fenced.split("\n")[1:-1])
        found.append((file, target[1] if target else "", block))
    return found


def added(text: str, to: str, lines: str) -> str:
    """The text with those lines at the end of that class or table, or of itself."""
    if not to:
        return f"{text.rstrip()}\n\n{lines}\n"
    if to.startswith("["):
        head, _, rest = text.partition(f"{to}\n")
        return f"{head}{to}\n{lines}\n{rest}"
    start = re.search(rf"^(?:class {to}\(.*|{to}(?::[^=]+)? = {{)$", text, flags=re.MULTILINE)
    assert start, to
    end = re.compile(r"^(?=}|\n\n\S|\n\nclass )", flags=re.MULTILINE).search(text, start.end())
    assert end, to
    return f"{text[: end.start()].rstrip()}\n{lines}\n{text[end.start() :]}"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with_a_new_exam")
    for name in ("app", "planner", "specialists", "reports", "tests"):
        skipped = shutil.ignore_patterns("*.safetensors", "__pycache__", "golden")
        shutil.copytree(ROOT / name, folder / name, ignore=skipped)
    for file, to, lines in steps():
        path = folder / file
        path.write_text(added(path.read_text(encoding="utf-8"), to, lines), encoding="utf-8")
    return folder


def test_every_step_names_a_file_that_is_there() -> None:
    files = [file for file, _, _ in steps()]
    assert len(files) == 9
    assert all((ROOT / file).is_file() for file in files)


def test_a_made_up_exam_that_follows_the_steps_is_reported_and_refused_by_name(copy: Path) -> None:
    done = finished(
        [sys.executable, "-c", REPORT], cwd=copy, env=os.environ | {"PYTHONPATH": str(copy)}
    )
    assert done.returncode == 0, done.stderr
    reported, _, refused = done.stdout.partition("Kidney ultrasound is not served here")
    assert reported.startswith("Kidney ultrasound")
    assert re.search(r"long axis", reported, flags=re.IGNORECASE)
    assert "kidney_outline" in refused
    assert "has not been trained" in refused or "not installed" in refused
