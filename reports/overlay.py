"""Evidence → SVG overlays in image pixels, for the report page and the viewer.

Each overlay is `<g class="overlay overlay-{kind}" id="overlay-{evidence id}" data-evidence="{evidence id}">`;
whatever should light it carries `data-lights="e1 e2"`. Colours live in the style sheets (reports.html.STYLE, app.css).
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
    """The `viewBox` that makes SVG units image pixels."""
    return f"0 0 {report.image.width_px} {report.image.height_px}"


def to_svg_layers(report: Report) -> Markup:
    """One `<g>` with every box, outline and set of points, to lie in an `<svg>` with `view_box`."""
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
    """Closed subpaths, one per ring."""
    return " ".join(
        "M" + " L".join(f"{_px(x)} {_px(y)}" for x, y in ring) + " Z" for ring in polygons
    )


def _mark(point: NamedPoint, arm: float) -> str:
    """A cross over the point."""
    left, right = _px(point.x - arm), _px(point.x + arm)
    top, bottom = _px(point.y - arm), _px(point.y + arm)
    return f"M{left} {_px(point.y)} L{right} {_px(point.y)} M{_px(point.x)} {top} L{_px(point.x)} {bottom}"


def _lines(item: PointsEvidence) -> list[tuple[NamedPoint, NamedPoint]]:
    """From point to point where they are a pair, or what a measurement was drawn through; landmarks have scores."""
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
