import pytest

from reports.errors import PointsUnusable, SpacingKnown
from reports.measure.intervals import Form, Interval
from reports.measure.marked_scale import calibrate, click_error, scale_error
from reports.model import ReaderCalibration, Region
from tests.builders import a_calibrated_image_info, an_image_info

MARKED = ReaderCalibration(points=((100, 100), (100, 300)), distance_mm=40, error_px=1)


def test_the_spacing_is_the_distance_over_the_pixels_between_the_points() -> None:
    image = calibrate(an_image_info(), MARKED)
    assert image.spacing_mm is not None
    assert (image.spacing_mm.x, image.spacing_mm.y) == pytest.approx((0.2, 0.2))
    assert image.reader_calibration == MARKED


def test_a_stated_aspect_ratio_is_honoured() -> None:
    image = calibrate(an_image_info(aspect_ratio=2.0), MARKED)
    assert image.spacing_mm is not None
    assert (image.spacing_mm.x, image.spacing_mm.y) == pytest.approx((0.1, 0.2))


def test_the_region_that_holds_both_points_is_calibrated() -> None:
    left, right = (0, 0, 320, 480), (320, 0, 640, 480)
    regions = tuple(Region(box=box, spacing_mm=None) for box in (left, right))
    image = calibrate(an_image_info(regions=regions), MARKED)
    assert [region.spacing_mm is not None for region in image.regions] == [True, False]
    across = MARKED.model_copy(update={"points": ((100, 100), (400, 100))})
    with pytest.raises(PointsUnusable, match="one of the image's analysed regions"):
        calibrate(an_image_info(regions=regions), across)


def test_what_the_source_states_is_not_replaced() -> None:
    with pytest.raises(SpacingKnown):
        calibrate(a_calibrated_image_info(), MARKED)


def test_intervals_are_wider_by_the_error_of_two_clicks() -> None:
    low, high = scale_error(calibrate(an_image_info(), MARKED))
    assert (low, high) == pytest.approx((200 / 202, 200 / 198))
    known = Interval(form=Form.RELATIVE, low=-0.1, high=0.1, scale_error=(low, high))
    assert known.around(100.0, unit="mm") == pytest.approx((90 * low, 110 * high))
    assert known.around(100.0, unit="mm²") == pytest.approx((90 * low**2, 110 * high**2))
    assert known.around(100.0, unit="deg") == pytest.approx((90, 110))


def test_a_click_is_as_exact_as_a_displayed_pixel_but_not_more_than_half_of_one() -> None:
    assert [click_error(scale) for scale in (0.5, 1.0, 8.0)] == [2.0, 1.0, 0.5]
