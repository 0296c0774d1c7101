"""The body of a store response (PS3.18 I.2), as servers send it: DICOM JSON or native DICOM XML.

It is read item by item without pydicom, so that one item that is not valid hides no other.
"""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_RETRIEVE_URL, _FAILED, _STORED, _OTHER = "00081190", "00081198", "00081199", "0008119A"
_UID, _REASON = "00081155", "00081197"
_TAGS = {
    "RETRIEVEURL": _RETRIEVE_URL,
    "FAILEDSOPSEQUENCE": _FAILED,
    "REFERENCEDSOPSEQUENCE": _STORED,
    "OTHERFAILURESSEQUENCE": _OTHER,
    "REFERENCEDSOPINSTANCEUID": _UID,
    "FAILUREREASON": _REASON,
}
_DICOM_KINDS = frozenset(["application/dicom+json", "application/dicom+xml"])

_Attributes = dict[str, Any]
"""The attributes of a data set by tag, each a dict with `Value`, as in DICOM JSON."""


@dataclass(frozen=True, kw_only=True)
class StoreResponse:
    """What a server says: the UIDs that it stored, and the failure reason of those that it did not.

    `others_failed` tells of failures that it attributes to no UID.
    """

    stored: frozenset[str]
    failed: Mapping[str, int]
    others_failed: bool


def store_response(body: bytes, kind: str) -> StoreResponse | None:
    """Parse a body of media type `kind`; None where it is no store response."""
    parsed = _datasets(body)
    if parsed is None:
        return None
    known = [_known(each) for each in parsed]
    about_store = any(tag in dataset for dataset in known for tag in _TAGS.values())
    empty = not any(parsed) and (kind in _DICOM_KINDS or body.lstrip().startswith(b"<"))
    if not (about_store or empty):
        return None
    failed = {
        uid: _reason(item)
        for dataset in known
        for item in _items(dataset, _FAILED)
        if (uid := _text(item, _UID))
    }
    stored = {_text(item, _UID) for dataset in known for item in _items(dataset, _STORED)}
    others_failed = any(True for dataset in known for _ in _items(dataset, _OTHER))
    return StoreResponse(
        stored=frozenset(stored - {""}), failed=failed, others_failed=others_failed
    )


def _datasets(body: bytes) -> list[_Attributes] | None:
    start = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    try:
        if start == b"<":
            return _from_xml(body)
        parsed = json.loads(body)
    except (ValueError, RecursionError, ET.ParseError, LookupError):
        return None
    found = parsed if isinstance(parsed, list) else [parsed]
    if not all(isinstance(each, dict) for each in found):
        return None
    return found


def _known(dataset: Mapping[str, Any]) -> _Attributes:
    """Return the attributes by tag, without what is not written as an attribute."""
    by_tag = {
        _TAGS.get(str(name).upper(), str(name).upper()): each for name, each in dataset.items()
    }
    return {
        tag: {"Value": [each]} if isinstance(each, str) else each
        for tag, each in by_tag.items()
        if isinstance(each, str | dict)
    }


def _from_xml(body: bytes) -> list[_Attributes] | None:
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:  # Entities could grow without limit.
        return None
    root = ET.fromstring(body.strip())
    models = [each for each in root.iter() if _name(each) == "NativeDicomModel"]
    return [_of_xml(model) for model in models] or None


def _of_xml(model: ET.Element) -> _Attributes:
    """Convert a native DICOM model or one of its items (PS3.19 A.1) to DICOM JSON."""
    return {
        each.get("tag", "").upper(): {
            "Value": [
                _of_xml(value) if _name(value) == "Item" else (value.text or "").strip()
                for value in each
            ]
        }
        for each in model
        if _name(each) == "DicomAttribute"
    }


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _values(dataset: _Attributes, tag: str) -> list[Any]:
    attribute = dataset.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values if isinstance(values, list) else []


def _items(dataset: _Attributes, tag: str) -> Iterator[_Attributes]:
    for item in _values(dataset, tag):
        if isinstance(item, dict):
            yield _known(item)


def _text(item: _Attributes, tag: str) -> str:
    values = _values(item, tag)
    return str(values[0]).strip(" \0") if values else ""


def _reason(item: _Attributes) -> int:
    """Return the Failure Reason, which some servers write as text; 0 where there is none."""
    text = _text(item, _REASON)
    return int(text) if text.isascii() and text.isdecimal() else 0
