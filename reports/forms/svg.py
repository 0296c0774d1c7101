"""The picture of a report as SVG, in image pixels, for the report page and the viewer.

Each overlay is a `<g>` with `class="overlay overlay-{kind}"`, `id="overlay-{evidence id}"`,
`data-evidence="{evidence id}"`, its structure as `data-structure`, and its colour as `color`; an
element that should highlight it has `data-lights="e1 e2"`. Lines and text have their widths from
the style sheets (`reports.forms.html.STYLE`, app/web/pages/static/viewer.css).
"""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.forms.overlay.scene import Scene, scene_of
from reports.model import Evidence, Point, Report, Ring

_ARM_LINES = 0.33
"""Half the size of a caliper's cross, in heights of a line of text."""


def view_box(scene: Scene) -> str:
    """Return the `viewBox` in which one SVG unit is one image pixel."""
    return f"0 0 {px(scene.width)} {px(scene.height)}"


def to_svg_layers(report: Report, scene: Scene | None = None) -> Markup:
    """Render one `<g>` with all that is drawn, for an `<svg>` with `view_box`."""
    scene = scene or scene_of(report)
    kinds = ("box", "mask", "points")  # a box hides no outline
    shapes = sorted(scene.shapes, key=lambda shape: kinds.index(shape.evidence.kind))
    return Markup(
        _ENVIRONMENT.get_template("layers.svg.j2").render(
            shapes=shapes, bars=scene.bars, line=scene.line, arm=_ARM_LINES * scene.line
        )
    )


def px(value: float) -> str:
    """Return a length with as many of two decimals as it needs."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _path(polygons: Sequence[Ring]) -> str:
    """Return closed subpaths, one per ring."""
    return " ".join(_open(ring) + " Z" for ring in polygons)


def _open(points: Sequence[Point]) -> str:
    return "M" + " L".join(f"{px(x)} {px(y)}" for x, y in points)


def _mark(point: Point, arm: float) -> str:
    """Return the path of a cross over the point."""
    x, y = point
    return (
        f"M{px(x - arm)} {px(y)} L{px(x + arm)} {px(y)} "
        f"M{px(x)} {px(y - arm)} L{px(x)} {px(y + arm)}"
    )


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
        {"px": px, "path": _path, "open": _open, "mark": _mark, "scored": _scored}
    )
    return environment


_ENVIRONMENT = _environment()
