"""docs/your-own-data.md is true: tables parse, commands exist, and numbers are the code's."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
import typer.main
from PIL import Image as PILImage

from app.cli.main import app as command_line
from specialists.manifest import Kind, read_manifest
from specialists.training.data.problems import SHOWN
from specialists.training.data.strict import read_task
from specialists.training.new_task import FEW, LEAST, STEPS
from tests.test_readme import spoken_commands

TEXT = (Path(__file__).parent.parent / "docs" / "your-own-data.md").read_text(encoding="utf-8")
TABLES = re.findall(r"```csv\n(.*?)```", TEXT, flags=re.DOTALL)
KINDS = (Kind.SEGMENT, Kind.CLASSIFY, Kind.DETECT, Kind.REGRESS)
SIZE = (480, 640)


@pytest.mark.parametrize(("table", "kind"), list(zip(TABLES, KINDS, strict=True)))
def test_every_table_of_the_document_is_read(table: str, kind: Kind, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(table)))
    folder = tmp_path / "csv_files"
    folder.mkdir()
    (folder / f"{rows[0]['task_id']}.csv").write_text(table, encoding="utf-8")
    for row in rows:
        for name in ("image_path", "mask_path"):
            if name in row:
                path = folder / row[name]
                path.parent.mkdir(exist_ok=True)
                PILImage.fromarray(np.ones(SIZE, np.uint8)).save(path)
    task = read_task(tmp_path, rows[0]["task_id"])
    assert (task.kind, task.rows, task.has_groups) == (kind, len(rows), True)


@pytest.mark.parametrize("words", spoken_commands(".venv/bin/ustri ", TEXT), ids=" ".join)
def test_every_command_line_of_the_document_is_understood(words: list[str]) -> None:
    command = typer.main.get_command(command_line)
    while words and hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context("ustri", words)


def test_every_option_of_the_document_is_one_of_training_and_the_other_way_round() -> None:
    command = typer.main.get_command(command_line)
    for name in ("train", "specialist"):
        command = command.commands[name]  # type: ignore[attr-defined]
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o[:2] == "--"}
    table = re.findall(r"^\| (`--.*?) \|", TEXT, flags=re.MULTILINE)
    spoken = set(re.findall(r"--[a-z-]+", " ".join(table)))
    assert spoken <= known
    assert known - spoken == {"--data", "--out", "--resume"}


def test_the_numbers_of_the_document_are_those_of_the_code() -> None:
    text = " ".join(TEXT.split())
    assert f"below {LEAST} the command refuses, below {FEW} it warns" in text
    assert f"({STEPS[0]} to {STEPS[1]})" in text
    assert f"the first {SHOWN} shown" in text


def test_the_names_of_the_example_are_free_and_the_listed_one_is_listed() -> None:
    shipped = read_manifest().specialists
    assert "breast_lesion" in shipped
    for table in TABLES:
        assert table.splitlines()[1].partition(",")[0] not in shipped
