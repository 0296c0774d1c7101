"""The two parts of the val images: one to calibrate a planner's margin on, one to judge it on."""

import hashlib
from pathlib import Path

from planner.training.data.survey import Survey
from specialists.training.data.csv_lines import file_of
from specialists.training.data.tables import read_table


def calibration_images(data: Path) -> frozenset[Path]:
    """Return the val images that calibrate the margin: every second patient of each data set.

    The patients are taken in the order of a hash of their ids, so that the parts are the same at
    every call. No patient is in both parts, and the reported evaluation uses the other one.

    Raises:
        TrainingError: `exam_cls.csv` is missing or lacks a column.
    """
    table = read_table(data, "exam_cls", ("image_path", "dataset"))
    chosen: set[Path] = set()
    for _, rows in table[table["split"] == "val"].groupby("dataset"):
        patients = sorted({str(patient) for patient in rows["group_id"]}, key=_hashed)
        kept_aside = set(patients[::2])
        chosen |= {
            file_of(data, str(row["image_path"]))
            for row in rows.to_dict("records")
            if str(row["group_id"]) in kept_aside
        }
    return frozenset(chosen)


def part_of(survey: Survey, images: frozenset[Path], *, inside: bool) -> Survey:
    """Return the rows of the survey whose image is among `images`, or those of all others.

    Views of an image, and foreign images made of its pixels, go with it.
    """
    places = [
        place for place, row in enumerate(survey.rows) if (row.wanted.path in images) is inside
    ]
    return Survey(rows=[survey.rows[place] for place in places], features=survey.features[places])


def _hashed(patient: str) -> str:
    return hashlib.sha256(patient.encode()).hexdigest()
