"""Content items of a structured report as plain pydicom datasets (PS3.3 C.17.3).

highdicom has classes for them, which neither know relationships by reference nor templates outside
its own; what is written with them is a template that highdicom has.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.valuerep import DS

from reports.forms.dicom.source import Source
from reports.model import Point


class Relation(StrEnum):
    """Relationship of a content item to the one that holds it (PS3.3 table C.17.3-8)."""

    CONTAINS = "CONTAINS"
    HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
    HAS_OBS_CONTEXT = "HAS OBS CONTEXT"
    HAS_PROPERTIES = "HAS PROPERTIES"
    INFERRED_FROM = "INFERRED FROM"
    SELECTED_FROM = "SELECTED FROM"


def root(name: Code, template: str, items: Sequence[Dataset]) -> Dataset:
    """Return the content of a document that follows a template of PS3.16."""
    content = container(name, items)
    del content.RelationshipType
    mapping = Dataset()
    mapping.MappingResource = "DCMR"
    mapping.TemplateIdentifier = template
    content.ContentTemplateSequence = [mapping]
    return content


def container(name: Code, items: Sequence[Dataset]) -> Dataset:
    """Return a section or a group of a document; its items stand one by one."""
    item = _item("CONTAINER", Relation.CONTAINS, name)
    item.ContinuityOfContent = "SEPARATE"
    item.ContentSequence = list(items)
    return item


def text(relation: Relation, name: Code, value: str) -> Dataset:
    """Return a text."""
    item = _item("TEXT", relation, name)
    item.TextValue = value
    return item


def code(relation: Relation, name: Code, value: Code) -> Dataset:
    """Return a coded value."""
    item = _item("CODE", relation, name)
    item.ConceptCodeSequence = [concept(value)]
    return item


def uid(relation: Relation, name: Code, value: str) -> Dataset:
    """Return a UID."""
    item = _item("UIDREF", relation, name)
    item.UID = value
    return item


def person(relation: Relation, name: Code, value: str) -> Dataset:
    """Return the name of a person."""
    item = _item("PNAME", relation, name)
    item.PersonName = value
    return item


def qualify(item: Dataset, qualifier: Code | None) -> Dataset:
    """Add what qualifies a number's value, if anything does (PS3.3 C.18.1), and return it."""
    if qualifier is not None:
        item.NumericValueQualifierCodeSequence = [concept(qualifier)]
    return item


def number(relation: Relation, name: Code, value: float, unit: Code) -> Dataset:
    """Return a number with its unit."""
    item = _item("NUM", relation, name)
    measured = Dataset()
    measured.NumericValue = DS(value, auto_format=True)
    measured.MeasurementUnitsCodeSequence = [concept(unit)]
    item.MeasuredValueSequence = [measured]
    return item


def image(relation: Relation, name: Code, source: Source) -> Dataset:
    """Return a reference to the instance that a report is about, or to one frame of it."""
    item = _item("IMAGE", relation, name)
    referred = Dataset()
    referred.ReferencedSOPClassUID = source.sop_class_uid
    referred.ReferencedSOPInstanceUID = source.instance_uid
    if source.frame is not None:
        referred.ReferencedFrameNumber = source.frame
    item.ReferencedSOPSequence = [referred]
    return item


def polyline(relation: Relation, name: Code, points: Sequence[Point]) -> Dataset:
    """Return spatial coordinates: points (x, y), whose frame is that of `Point`."""
    item = _item("SCOORD", relation, name)
    item.GraphicType = "POLYLINE"
    item.GraphicData = [coordinate for point in points for coordinate in point]
    return item


def by_reference(relation: Relation) -> Dataset:
    """Return a relationship to an item elsewhere in the document, which `link` fills in."""
    item = Dataset()
    item.RelationshipType = relation.value
    return item


def link(content: Dataset, targets: Mapping[int, Dataset]) -> None:
    """State where in `content` the target of each relationship by reference is.

    `targets` has the target by the `id` of the item that `by_reference` returned.
    """
    places = {id(item): place for item, place in _placed(content, (1,))}
    for item, _ in _placed(content, (1,)):
        if id(item) in targets:
            item.ReferencedContentItemIdentifier = list(places[id(targets[id(item)])])


def concept(value: Code) -> Dataset:
    """Return a code as an item of a code sequence."""
    item = Dataset()
    item.CodeValue = value.value
    item.CodingSchemeDesignator = value.scheme_designator
    item.CodeMeaning = value.meaning
    return item


def _item(value_type: str, relation: Relation, name: Code) -> Dataset:
    item = Dataset()
    item.RelationshipType = relation.value
    item.ValueType = value_type
    item.ConceptNameCodeSequence = [concept(name)]
    return item


def _placed(item: Dataset, place: tuple[int, ...]) -> Iterator[tuple[Dataset, tuple[int, ...]]]:
    """Yield every item below `item`, and the numbers that lead to it (PS3.3 C.17.3.2.5)."""
    for index, child in enumerate(item.get("ContentSequence", []), start=1):
        here = (*place, index)
        yield child, here
        yield from _placed(child, here)
