"""The real data that may be beside the checkout, whole or as far as shipped specialists know it."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from specialists.manifest import PACKAGE_WEIGHTS, SpecialistEntry

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not SHARED.exists(), reason="the training data is not beside this checkout"
)
Rows = list[dict[str, str]]


def sources_of(entry: SpecialistEntry) -> set[str]:
    """The data sets that the record beside the shipped weights names."""
    card = json.loads((PACKAGE_WEIGHTS / f"{entry.id}.json").read_text(encoding="utf-8"))
    return {str(source["name"]) for source in card["training_data"]}


def known_rows(entry: SpecialistEntry) -> Rows:
    """Return the rows of a shipped entry's CSV from the data sets it was trained on.

    The data grows: it may hold sources that the weights have never seen. Without one that their
    record names the test is skipped.
    """
    named = sources_of(entry)
    rows = rows_of(entry.task_id)
    if missing := named - {row["dataset"] for row in rows}:
        pytest.skip(f"{entry.task_id}.csv holds no row of {', '.join(sorted(missing))}")
    return [row for row in rows if row["dataset"] in named]


def rows_of(task_id: str) -> Rows:
    """All rows of that task's CSV; without it the test is skipped."""
    path = SHARED / "csv_files" / f"{task_id}.csv"
    if not path.exists():
        pytest.skip(f"there is no {task_id}.csv beside this checkout")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def data_of(folder: Path, task_id: str, rows: Iterable[dict[str, str]]) -> Path:
    """A data folder with those rows as its only table, and the images of the real one."""
    (folder / "csv_files").mkdir(parents=True)
    for name in ("Images", "Segmentation"):
        (folder / name).symlink_to(SHARED / name)
    kept = list(rows)
    path = folder / "csv_files" / f"{task_id}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(kept[0]))
        writer.writeheader()
        writer.writerows(kept)
    return folder
