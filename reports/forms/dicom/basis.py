"""What a number of a report rests on in its image: drawn points, or an outline."""

import math
from collections.abc import Sequence

from reports.model import MaskEvidence, Measurement, NamedPoint, Point, PointsEvidence, Report

_RING_POINTS = 8000
"""Most points that Graphic Data holds in explicit VR (65534 bytes of FL pairs).

A longer outline is thinned, and its group says so.
"""


def points_of(report: Report, number: Measurement) -> tuple[NamedPoint, ...]:
    """Return the points that a measurement is drawn through; none if it is of a whole outline."""
    for item in report.evidence:
        if isinstance(item, PointsEvidence) and item.id in number.evidence:
            return item.points
    return ()


def outline_of(report: Report, number: Measurement) -> MaskEvidence | None:
    """Return the outline that a measurement is made of."""
    for item in report.evidence:
        if isinstance(item, MaskEvidence) and item.id in number.evidence:
            return item
    return None


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Return every n-th point, so that no more are left than Graphic Data holds."""
    return points[:: math.ceil(len(points) / _RING_POINTS)]
