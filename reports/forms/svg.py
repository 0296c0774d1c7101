"""SVG overlays of the evidence, in image pixels, for the report page and the viewer.

Each overlay is a `<g>` with `class="overlay overlay-{kind}"`, `id="overlay-{evidence id}"` and
`data-evidence="{evidence id}"`; an element that should highlight it has `data-lights="e1 e2"`.
Colours are in the style sheets (`reports.forms.html.STYLE`, app/web/pages/static/app.css).
"""

from collections.abc import Sequence
from itertools import pairwise

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.model import (
    BoxEvidence,
    Evidence,
    MaskEvidence,
    NamedPoint,
    PointsEvidence,
    Report,
    Ring,
)

_ARM_SHARE = 1 / 80
"""Half the size of a point's cross, as a share of the image's longer side."""


def view_box(report: Report) -> str:
    """Return the `viewBox` in which one SVG unit is one image pixel."""
    return f"0 0 {report.image.width_px} {report.image.height_px}"


def to_svg_layers(report: Report) -> Markup:
    """Render one `<g>` with all boxes, outlines and points, for an `<svg>` with `view_box`."""
    arm = max(report.image.width_px, report.image.height_px) * _ARM_SHARE
    return Markup(
        _ENVIRONMENT.get_template("layers.svg.j2").render(
            masks=[item for item in report.evidence if isinstance(item, MaskEvidence)],
            boxes=[item for item in report.evidence if isinstance(item, BoxEvidence)],
            points=[item for item in report.evidence if isinstance(item, PointsEvidence)],
            arm=arm,
        )
    )


def _px(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _path(polygons: Sequence[Ring]) -> str:
    """Return closed subpaths, one per ring."""
    return " ".join(
        "M" + " L".join(f"{_px(x)} {_px(y)}" for x, y in ring) + " Z" for ring in polygons
    )


def _mark(point: NamedPoint, arm: float) -> str:
    """Return the path of a cross over the point."""
    left, right = _px(point.x - arm), _px(point.x + arm)
    top, bottom = _px(point.y - arm), _px(point.y + arm)
    return (
        f"M{left} {_px(point.y)} L{right} {_px(point.y)} "
        f"M{_px(point.x)} {top} L{_px(point.x)} {bottom}"
    )


def _lines(item: PointsEvidence) -> list[tuple[NamedPoint, NamedPoint]]:
    """Return lines between points: those of a pair, or those that a measurement is drawn through.

    Landmarks have scores; the points of a measurement have none.
    """
    drawn = all(point.score is None for point in item.points)
    joined = drawn or len(item.points) == 2
    return list(pairwise(item.points)) if joined else []


def _scored(item: Evidence) -> str:
    return "" if item.score is None else f", score {item.score:.2f}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {"px": _px, "path": _path, "mark": _mark, "lines": _lines, "scored": _scored}
    )
    return environment


_ENVIRONMENT = _environment()
