"""A report's numbers do not depend on the shape of the pixels that its source stores."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from app import standalone
from app.settings import Settings
from app.worker.loading import load_tools
from planner.case import Request
from planner.run import Tools
from reports.model import ExamCode, Report
from specialists.manifest import read_manifest
from specialists.phantom.draw import Options, draw
from specialists.phantom.tissue import Lesion
from tests.app.dicom_files import a_dicom, a_region
from tests.shared_data import SHARED, needs_data, rows_of

SQUARE_MM = 0.1
FEW = (0.8, 1.2)
ALL = (0.8, 0.9, 1.1, 1.2)
"""A pixel's height over its width; all of them are tried by `make soak`."""

EXAMS = {
    ExamCode.BREAST: "breast_lesion",
    ExamCode.FETAL_HEAD: "fetal_head",
    ExamCode.INTRAPARTUM: "aop_landmarks",
    ExamCode.MUSCLE: "muscle_thickness",
    ExamCode.NERVE: "nerve_vessel_multi",
    ExamCode.THYROID: "thyroid_nodule",
    ExamCode.OVARY: "ovary_tumor",
}
"""Exams whose reports hold numbers, each with the table whose images show it."""

RELATIVE = {"mm": 0.04, "mm²": 0.06, "%": 0.03, "1": 0.04}
ANGLE_DEG = 1.5
LEAST = {"mm": 0.5, "%": 0.1}
"""Differences that do not count: half a millimetre, a tenth of a percent (of irregularity)."""

OWN = {
    "head station": (0.0, 0.16),  # 0.106 cm a degree: what ANGLE_DEG allows
    "fascicle length": (0.08, 0.0),  # thickness over the sine of an angle of about 15°
    "posterior echo ratio": (0.0, 0.08),  # of grey values, which resampling changes
    "margin irregularity": (0.0, 0.5),  # a tenth of the half-width of its interval
}
"""Relative and absolute difference of numbers that are computed from others."""

aspects = pytest.mark.parametrize(
    "aspects", [FEW, pytest.param(ALL, marks=pytest.mark.soak)], ids=["few", "all"]
)
shipped = pytest.mark.skipif(
    not read_manifest().installed(), reason="this version ships no weights"
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("data"), runtime="torch")


@pytest.fixture(scope="module")
def tools(settings: Settings) -> Tools:
    return load_tools(settings)


def stored(pixels: npt.NDArray[np.uint8], aspect: float, *, spaced: bool = True) -> bytes:
    """A DICOM file of that tissue, stored in pixels of that height over width."""
    height, width = pixels.shape
    rows = round(height / aspect)
    picture = PIL.Image.fromarray(pixels).resize((width, rows), PIL.Image.Resampling.BICUBIC)
    squeezed = np.asarray(picture)
    if not spaced:
        return a_dicom(squeezed, PixelAspectRatio=[height, rows])
    region = a_region(
        RegionLocationMaxX1=width - 1,
        RegionLocationMaxY1=rows - 1,
        PhysicalDeltaX=SQUARE_MM / 10,
        PhysicalDeltaY=SQUARE_MM / 10 * height / rows,
    )
    return a_dicom(squeezed, SequenceOfUltrasoundRegions=[region])


def numbers_of(report: Report) -> dict[str, tuple[float | None, str | None]]:
    """Each measurement's value and unit; of those that share a name the first counts."""
    return {m.name: (m.value, m.unit) for m in reversed(report.measurements)}


def assert_alike(report: Report, square: Report) -> None:
    assert [f.state for f in report.findings] == [f.state for f in square.findings]
    found, expected = numbers_of(report), numbers_of(square)
    assert found.keys() == expected.keys()
    for name, (value, unit) in expected.items():
        other = found[name][0]
        if value is None or other is None:
            assert value == other or name == "pennation angle"  # declined near its own limits
        elif unit == "deg":
            assert other == pytest.approx(value, abs=ANGLE_DEG), name
        else:
            usual = RELATIVE.get(str(unit), 0.04), LEAST.get(str(unit), 0.0)
            relative, absolute = OWN.get(name, usual)
            assert other == pytest.approx(value, rel=relative, abs=absolute), name


@shipped
@aspects
@pytest.mark.parametrize("lesion", [Lesion.BENIGN, Lesion.MALIGNANT])
@pytest.mark.parametrize("spaced", [True, False])
def test_a_phantoms_numbers_stay_whatever_the_pixels(
    settings: Settings, tools: Tools, lesion: Lesion, spaced: bool, aspects: tuple[float, ...]
) -> None:
    drawn = draw("breast", seed=1, height_px=360, width_px=480, options=Options(lesion=lesion))
    request = Request(exam=ExamCode.BREAST)

    def report(aspect: float) -> Report:
        data = stored(drawn.pixels, aspect, spaced=spaced)
        return standalone.analyze(data, request, settings, tools).report

    square = report(1.0)
    long_axis, unit = numbers_of(square)["long axis"]
    assert long_axis is not None
    assert unit == ("mm" if spaced else "px")
    further = (0.5, 10 / 9) if aspects is ALL else ()
    for aspect in (*aspects, 2.0, *further):
        assert_alike(report(aspect), square)


@shipped
@needs_data
@aspects
@pytest.mark.parametrize("exam", EXAMS)
def test_the_numbers_of_real_images_stay_when_they_are_restretched(
    settings: Settings, tools: Tools, exam: ExamCode, aspects: tuple[float, ...]
) -> None:
    rows = [row for row in rows_of(EXAMS[exam]) if row["split"] == "val"]
    path: Path = SHARED / "csv_files" / rows[len(rows) // 2]["image_path"]
    pixels = np.asarray(PIL.Image.open(os.path.realpath(path)).convert("L"))
    reports = [
        standalone.analyze(stored(pixels, aspect), Request(exam=exam), settings, tools).report
        for aspect in (1.0, *aspects)
    ]
    for report in reports[1:]:
        assert_alike(report, reports[0])
