"""What the report page says of its image to the tools around it, and the switches of overlays."""

import json
from dataclasses import dataclass

from reports.forms.overlay.naming import drawn, structures
from reports.forms.overlay.palette import inks
from reports.forms.overlay.scene import scene_of
from reports.forms.rows import evidence_names
from reports.measure.marked_scale import states_spacing
from reports.model import Evidence, MaskEvidence, Outcome, Report, Scope, Spacing

ONE_LAYER_FROM = 4
"""From this number on, overlays of one name (fascicles of a muscle) share a switch."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one switch shows and hides: an overlay, or the many outlines of one structure."""

    ids: tuple[str, ...]
    ink: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Structure:
    """A structure, and the ids of all that is drawn of it."""

    name: str
    ids: tuple[str, ...]


def layers_of(report: Report) -> tuple[Layer, ...]:
    """Return the layers of a report's overlays, in the order of its evidence.

    Many outlines of one name share a layer. Scores are not drawn, nor are landmarks that lie at the
    ends of a measured line.
    """
    names, kinds = evidence_names(report), structures(report)
    colours = inks(kinds.values())
    layers: dict[tuple[str, ...], Layer] = {}
    shown = {shape.evidence.id for shape in scene_of(report).shapes if shape.shows}
    for item in drawn(report):
        if item.id not in shown:
            continue
        alike = [other.id for other in drawn(report) if _same_outline(item, other)]
        many = len(alike) >= ONE_LAYER_FROM
        ids = tuple(alike) if many else (item.id,)
        name = f"outline of {kinds[item.id]} 1 to {len(alike)}" if many else names[item.id]
        ink = colours[kinds[item.id]]
        layers.setdefault(ids, Layer(ids=ids, ink=ink, name=name[:1].upper() + name[1:]))
    return tuple(layers.values())


def drawn_structures(report: Report) -> tuple[Structure, ...]:
    """Return the drawn structures, in the order of the report's evidence."""
    found: dict[str, list[str]] = {}
    for evidence_id, name in structures(report).items():
        found.setdefault(name, []).append(evidence_id)
    return tuple(Structure(name=name, ids=tuple(ids)) for name, ids in found.items())


def image_facts(report: Report) -> str:
    """Return as JSON what the page measures with: size, and mm per pixel where they are known."""
    image = report.image
    facts = {
        "width": image.width_px,
        "height": image.height_px,
        "aspect": 1.0 if image.aspect_ratio is None else image.aspect_ratio,
        "spacing": _pair(image.spacing_mm),
        "regions": [
            {"box": region.box, "spacing": _pair(region.spacing_mm)} for region in image.regions
        ],
    }
    return json.dumps(facts)


def calibration_of(report: Report) -> str:
    """Return whether a reader can calibrate the image: "possible", "by reader" (again) or "no"."""
    refused = report.outcome is Outcome.REFUSED or report.request.scope is Scope.QUESTION
    if refused or states_spacing(report.image):
        return "no"
    return "possible" if report.image.reader_calibration is None else "by reader"


def windows_of(report: Report) -> list[str]:
    """Return what was done with the window that a DICOM file states."""
    return [note for note in report.image.conversions if "window" in note]


def _pair(spacing: Spacing | None) -> tuple[float, float] | None:
    return None if spacing is None else (spacing.x, spacing.y)


def _same_outline(one: Evidence, other: Evidence) -> bool:
    outlines = isinstance(one, MaskEvidence) and isinstance(other, MaskEvidence)
    return outlines and one.label == other.label  # type: ignore[union-attr]
