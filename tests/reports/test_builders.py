from reports.model import Report
from tests.builders import a_refused_report, a_report, an_image


def test_a_built_report_survives_its_own_json() -> None:
    for report in (a_report(), a_refused_report()):
        assert Report.model_validate_json(report.model_dump_json()) == report


def test_a_built_image_has_the_size_that_was_asked_for() -> None:
    image = an_image(32, 48)
    assert image.pixels.shape == (32, 48)
    assert (image.info.height_px, image.info.width_px) == (32, 48)
