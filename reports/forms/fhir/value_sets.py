"""The code systems of FHIR, and the value sets that R4 binds the bundle's elements to.

The bindings are those of strength `required`. Validators differ in what they check
(fhir.resources accepts any code), so that the bundle is checked here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from reports.errors import CodeNotAllowed
from reports.forms import codes
from reports.forms.codes import Coded
from reports.model import Laterality

SYSTEMS = {
    "LN": "http://loinc.org",
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org",
    codes.PRIVATE_SCHEME: "urn:ustri:codes",
}
ABSENT_REASON = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
ABSENT_REASONS = {
    codes.FAILURE: "error",
    codes.NOT_ATTEMPTED: "not-performed",
    codes.OUT_OF_RANGE: "not-performed",
    codes.INDETERMINATE: "unknown",
}
"""The nearest of FHIR's reasons; the DICOM qualifier stands beside it."""

ABSENT_DISPLAYS = {"error": "Error", "not-performed": "Not Performed", "unknown": "Unknown"}
"""The displays of the reasons in their code system."""

_SNOMED_NAMES = {
    codes.ABSENT: "Absence findings (qualifier value)",
    codes.BRAIN: "Brain structure (body structure)",
    codes.BREAST: "Breast structure (body structure)",
    codes.CSP: "Structure of cavum septi pellucidi (body structure)",
    codes.FOREARM: "Forearm structure (body structure)",
    codes.HEAD: "Head structure (body structure)",
    codes.LEFT_ATRIUM: "Left atrial structure (body structure)",
    codes.LEFT_VENTRICLE: "Left ventricular structure (body structure)",
    codes.HEART: "Heart structure (body structure)",
    codes.LATERALITIES[Laterality.BILATERAL]: "Right and left (qualifier value)",
    codes.LATERAL_VENTRICLE: "Lateral ventricle structure (body structure)",
    codes.LUNG: "Lung structure (body structure)",
    codes.MUSCLE: "Skeletal muscle structure (body structure)",
    codes.OVARY: "Ovarian structure (body structure)",
    codes.SYMPHYSIS: "Symphysis pubis structure (body structure)",
    codes.THYROID: "Thyroid structure (body structure)",
    codes.VESSEL: "Blood vessel structure (body structure)",
}
"""Fully specified names in SNOMED CT, where DICOM's code meaning is a shorter one."""

_LOINC_NAMES = {
    codes.US_REPORT: "US Unspecified body region",
    codes.US_BREAST_REPORT: "US Breast",
    codes.HEAD_CIRCUMFERENCE: "Fetal Head Circumference US",
    codes.BIPARIETAL_DIAMETER: "Fetal Head Diameter.biparietal US",
    codes.GESTATIONAL_AGE: "Gestational age",
}
"""Long common names in LOINC; DICOM's code meanings are names of its own."""


def display_of(code: Coded) -> str | None:
    """Return the name that a code has in its own code system; None where we do not know it."""
    if code.scheme == "LN":
        return _LOINC_NAMES.get(code)
    return _SNOMED_NAMES.get(code, code.meaning)


_OBSERVATION_STATUS = frozenset(
    [
        "registered",
        "preliminary",
        "final",
        "amended",
        "corrected",
        "cancelled",
        "entered-in-error",
        "unknown",
    ]
)
_EVENT_STATUS = frozenset(
    [
        "preparation",
        "in-progress",
        "not-done",
        "on-hold",
        "stopped",
        "completed",
        "entered-in-error",
        "unknown",
    ]
)
REQUIRED: Mapping[tuple[str, str], frozenset[str]] = {
    ("Bundle", "type"): frozenset(
        [
            "document",
            "message",
            "transaction",
            "transaction-response",
            "batch",
            "batch-response",
            "history",
            "searchset",
            "collection",
        ]
    ),
    ("DiagnosticReport", "status"): frozenset(
        [
            "registered",
            "partial",
            "preliminary",
            "final",
            "amended",
            "corrected",
            "appended",
            "cancelled",
            "entered-in-error",
            "unknown",
        ]
    ),
    ("DiagnosticReport", "text.status"): frozenset(
        ["generated", "extensions", "additional", "empty"]
    ),
    ("Observation", "status"): _OBSERVATION_STATUS,
    ("Media", "status"): _EVENT_STATUS,
    ("ImagingStudy", "status"): frozenset(
        ["registered", "available", "cancelled", "entered-in-error", "unknown"]
    ),
    ("Device", "status"): frozenset(["active", "inactive", "entered-in-error", "unknown"]),
    ("Device", "deviceName.type"): frozenset(
        [
            "udi-label-name",
            "user-friendly-name",
            "patient-reported-name",
            "manufacturer-name",
            "model-name",
            "other",
        ]
    ),
}
"""The codes that R4 allows, by resource and path."""

_NEEDED = frozenset(
    {
        ("Bundle", "type"),
        ("DiagnosticReport", "status"),
        ("Observation", "status"),
        ("Media", "status"),
        ("ImagingStudy", "status"),
    }
)
"""Where the code itself is mandatory; `Media.status` and the others are 1..1."""


def check(bundle: Mapping[str, Any]) -> None:
    """Check every required binding of the bundle and of its resources.

    Raises:
        CodeNotAllowed: a code is missing or not allowed; the message names resource, path and code.
    """
    resources = [bundle, *(entry["resource"] for entry in bundle.get("entry", []))]
    for resource in resources:
        kind = resource["resourceType"]
        for (bound, path), allowed in REQUIRED.items():
            if bound != kind:
                continue
            found = list(_at(resource, path.split(".")))
            if not found and (bound, path) in _NEEDED:
                raise CodeNotAllowed(f"{kind}.{path} is missing.")
            for code in found:
                if code not in allowed:
                    raise CodeNotAllowed(f"{kind}.{path} is {code!r}, which FHIR R4 does not know.")


def _at(node: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(node, list):
        for item in node:
            yield from _at(item, path)
    elif not path:
        yield node
    elif isinstance(node, Mapping) and path[0] in node:
        yield from _at(node[path[0]], path[1:])
