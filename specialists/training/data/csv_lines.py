"""The rows of a CSV file with their line numbers in an editor, and the files that they name."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from specialists.errors import TrainingError
from specialists.training.data.problems import Problems

SHOWN = 100
"""Characters of a cell that a message repeats."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the file."""

    number: int
    """Counted from 1 as in an editor, the header included."""
    cells: dict[str, str]


def read_lines(
    path: Path, needed: Sequence[str], problems: Problems
) -> tuple[list[str], list[Line]]:
    """Return the columns and rows of a CSV file; add faults of the file itself to `problems`.

    Args:
        path: of the file.
        needed: columns that it must have.
        problems: of the file.

    Raises:
        TrainingError: there is no such file.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.add(0, 'it is not UTF-8 text. Save it as "CSV UTF-8".')
        return [], []
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror or error}.") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    lines: list[Line] = []
    try:
        before = 0
        for cells in reader:
            number, before = before + 1, reader.line_num
            if not cells:
                continue
            if not columns:
                columns = cells
                continue
            if len(cells) != len(columns):
                problems.add(number, f"it has {len(cells)} cells, the header has {len(columns)}.")
                continue
            lines.append(Line(number=number, cells=dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        problems.add(reader.line_num, f"it is not CSV ({error}). Close the quotation mark.")
    _check_header(columns, lines, needed, problems)
    return columns, lines


def _check_header(
    columns: list[str], lines: list[Line], needed: Sequence[str], problems: Problems
) -> None:
    if any(mark in name for name in columns[:1] for mark in ";\t"):
        problems.found.clear()
        problems.add(
            1, "the columns are not separated by commas. Save it with commas as separator."
        )
        return
    if missing := [name for name in needed if name not in columns]:
        problems.add(1, f"the header lacks the columns {', '.join(missing)}. Add them.")
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        problems.add(1, f"the header names {', '.join(twice)} twice. Keep one.")
    if not lines and not problems.found:
        problems.add(0, "it holds no row below its header. Add one row per image.")


def file_of(data: Path, relative: str) -> Path:
    """Return the file in the data root that a row's path names, with links followed.

    Raises:
        TrainingError: the path names no file in the data root.
    """
    place = place_of(data, relative)
    if isinstance(place, str):
        raise TrainingError(place)
    return Path(os.path.realpath(place))


def place_of(data: Path, relative: str) -> Path | str:
    """Return the file in the data root that a row's path names, or what is wrong with the path."""
    named = f"{relative[:SHOWN]!r}"
    if not relative:
        return "is empty. Name the file, relative to csv_files/."
    if "\0" in relative:
        return f"{named} holds a zero byte, which no file's name does. Write the name again."
    if "://" in relative:
        return f"{named} is an address. Save the file, and name it relative to csv_files/."
    if Path(relative).is_absolute() or PureWindowsPath(relative).drive:
        return f"{named} is an absolute path. Name the file relative to csv_files/."
    root = Path(os.path.normpath(data.absolute()))
    path = Path(os.path.normpath(root / "csv_files" / relative))
    if "\\" in relative and not path.exists():
        return f"{named} is written with backslashes. Write / between folders."
    if not path.is_relative_to(root):
        return f"{named} leads out of {data}. Put the file into that folder."
    return path
