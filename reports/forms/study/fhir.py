"""The summary of a study as FHIR R4: one report over the resources of its images' reports.

The bundle holds what the bundles of the images hold, with one patient for all of them, and before
them a report that refers to the observations of every value; the reports of the images stay beside
it. What was compared with earlier studies stands in its conclusion.
"""

from collections.abc import Mapping, Sequence
from html import escape

from reports.errors import NothingReported
from reports.forms.codes import US_REPORT, title_of
from reports.forms.dicom.source import own_source, uuid_of
from reports.forms.fhir.bundle import Json, bundle_of, written
from reports.forms.fhir.value_sets import SYSTEMS, display_of
from reports.forms.study.rows import title_of as study_title
from reports.model import Report
from reports.study.model import StudyReport
from reports.wording.phrases import NOT_FOR_CLINICAL_USE


def to_fhir(report: StudyReport, members: Sequence[Report], analyses: str | None = None) -> bytes:
    """Return the bundle as UTF-8 JSON.

    Args:
        report: the summary.
        members: the reports of its images.
        analyses: the address below which the image of each analysis is.

    Raises:
        NothingReported: no image of the study has a report.
        CodeNotAllowed: an element holds a code outside the value set that binds it.
    """
    if not members:
        raise NothingReported("No image of the study is reported yet, so that there is no bundle.")
    patient: str | None = None
    entries: list[Json] = []
    for member in members:
        href = None if analyses is None else f"{analyses}/{member.analysis_id}/image.png"
        source = own_source(member, started_at=report.received_at)
        own = bundle_of(member, href, source)["entry"]
        urn = _first(own, "Patient")
        patient = patient or urn
        kept = own if patient == urn else [one for one in own if one["fullUrl"] != urn]
        entries += [_renamed(one, {urn: patient}) for one in kept]
    name = str(uuid_of("fhir", "study", report.study.id, *(m.report_id for m in members)))
    summary = _summary(report, members, entries, f"{name}", patient or "")
    bundle: Json = {
        "resourceType": "Bundle",
        "id": str(uuid_of("fhir", name, "bundle")),
        "identifier": {"system": "urn:ustri:study", "value": report.study.id},
        "type": "collection",
        "timestamp": report.changed_at,
        "entry": [{"fullUrl": f"urn:uuid:{name}", "resource": summary}, *entries],
    }
    return written(bundle)


def _summary(
    report: StudyReport, members: Sequence[Report], entries: list[Json], name: str, patient: str
) -> Json:
    titles = {title_of(member.exam.code) for member in members}
    code = titles.pop() if len(titles) == 1 else US_REPORT
    said = [*report.summary, *report.flags, *(made.statement for made in report.comparisons)]
    found = {
        kind: [{"reference": one["fullUrl"]} for one in entries if _kind(one) == kind]
        for kind in ("Observation", "ImagingStudy")
    }
    resource: Json = {
        "resourceType": "DiagnosticReport",
        "id": name,
        "text": {"status": "generated", "div": _narrative(report)},
        "identifier": [{"system": "urn:ustri:study", "value": report.study.id}],
        "status": str(report.status),
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
                        "code": "RUS",
                        "display": "Radiology Ultrasound",
                    }
                ]
            }
        ],
        "code": {
            "coding": [
                {"system": SYSTEMS[code.scheme], "code": code.value, "display": display_of(code)}
            ],
            "text": study_title(report),
        },
        "subject": {"reference": patient},
        "issued": report.changed_at,
        "imagingStudy": found["ImagingStudy"],
        "conclusion": "\n".join([*said, NOT_FOR_CLINICAL_USE]),
    }
    return resource | ({"result": found["Observation"]} if found["Observation"] else {})


def _kind(entry: Json) -> str:
    return str(entry["resource"]["resourceType"])


def _first(entries: Sequence[Json], kind: str) -> str:
    return next(str(one["fullUrl"]) for one in entries if _kind(one) == kind)


def _renamed(node: Json, names: Mapping[str, str]) -> Json:
    """Return a resource with its references to these URNs changed."""
    return {key: _changed(value, names) for key, value in node.items()}


def _changed(value: object, names: Mapping[str, str]) -> object:
    if isinstance(value, dict):
        return _renamed(value, names)
    if isinstance(value, list):
        return [_changed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def _narrative(report: StudyReport) -> str:
    """Return the summary's sentences as XHTML, for clients that can show nothing else of it."""
    parts = [f"<p><b>{escape(study_title(report))}</b></p>", f"<p>{NOT_FOR_CLINICAL_USE}</p>"]
    for title, lines in (
        ("Summary", report.summary),
        ("To review", report.flags),
        ("Measurements", [item.statement for item in report.measurements]),
        ("Then and now", [made.statement for made in report.comparisons]),
        ("Limitations", report.limitations),
    ):
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        if items:
            parts.append(f"<p>{title}</p><ul>{items}</ul>")
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{"".join(parts)}</div>'
