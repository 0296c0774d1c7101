"""A report as FHIR R4 (also valid in R4B): a bundle of report, observations, image and devices.

The resources are plain JSON, so that this form needs no library. Codes bound to a required value
set are checked by `reports.forms.fhir.value_sets.check` before the bundle is returned.
"""

import json
from html import escape
from typing import Any

from reports.forms import codes
from reports.forms.codes import Coded
from reports.forms.dicom.source import Source, own_source, uuid_of
from reports.forms.fhir.value_sets import (
    ABSENT_DISPLAYS,
    ABSENT_REASON,
    ABSENT_REASONS,
    SYSTEMS,
    check,
    display_of,
)
from reports.measure.gestation import weeks_of
from reports.measure.head import WEEKS
from reports.model import Evidence, Finding, FindingState, Measurement, Report, ScoresEvidence
from reports.provenance import ModelRef
from reports.wording.phrases import NOT_FOR_CLINICAL_USE

Json = dict[str, Any]
"""One resource or a part of one."""

_IDENTIFIERS = "urn:ustri:id"
_SYNTHETIC = "SYNTHETIC TEST IMAGE: drawn by a program, it shows no patient."
_REPLACES = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces"


def to_fhir(report: Report, image_href: str | None = None, source: Source | None = None) -> bytes:
    """Return the bundle as UTF-8 JSON.

    Args:
        report: the report.
        image_href: the address of the image.
        source: the DICOM instance; `own_source` unless given.

    Raises:
        CodeNotAllowed: an element holds a code outside the value set that binds it.
    """
    return written(bundle_of(report, image_href, source))


def bundle_of(report: Report, image_href: str | None = None, source: Source | None = None) -> Json:
    """Return the bundle as plain data, for a form that holds several."""
    return _Bundle(report, source or own_source(report), image_href).made()


def written(bundle: Json) -> bytes:
    """Return a bundle as UTF-8 JSON, its codes checked.

    Raises:
        CodeNotAllowed: an element holds a code outside the value set that binds it.
    """
    check(bundle)
    return json.dumps(bundle, ensure_ascii=False, indent=2, allow_nan=False).encode() + b"\n"


class _Bundle:
    """The resources of one report, which refer to each other by URNs."""

    def __init__(self, report: Report, source: Source, image_href: str | None) -> None:
        self._report = report
        self._source = source
        self._image_href = image_href
        self._evidence = {item.id: item for item in report.evidence}

    def made(self) -> Json:
        report = self._report
        observations = [
            *((finding.id, self._finding(finding)) for finding in report.findings),
            *((number.id, self._measurement(number)) for number in report.measurements),
        ]
        if (age := report.request.gestational_age) is not None:
            observations.append(("sent-age", self._sent_age(age)))
        resources = [
            ("report", self._diagnostic_report([name for name, _ in observations])),
            *observations,
            ("patient", self._patient()),
            ("study", self._study()),
            ("image", self._image()),
            ("device", self._device()),
            *((f"model {model.id}", self._model(model)) for model in report.provenance.models),
        ]
        return {
            "resourceType": "Bundle",
            "id": str(uuid_of("fhir", report.report_id, "bundle")),
            "identifier": _identifier(report.report_id),
            "type": "collection",
            "timestamp": report.created_at,
            "entry": [
                {"fullUrl": self._urn(name), "resource": resource} for name, resource in resources
            ],
        }

    def _diagnostic_report(self, observations: list[str]) -> Json:
        report = self._report
        identifiers = [_identifier(report.report_id)]
        if report.external_id:
            identifiers.append({"system": "urn:ustri:external", "value": report.external_id})
        resource: Json = {
            "resourceType": "DiagnosticReport",
            **self._common("report"),
            "text": {"status": "generated", "div": _narrative(report)},
            "identifier": identifiers,
            "status": str(report.status),
            "category": [
                _concept_of(
                    "http://terminology.hl7.org/CodeSystem/v2-0074", "RUS", "Radiology Ultrasound"
                )
            ],
            "code": _concept(codes.title_of(report.exam.code), report.exam.title),
            "subject": self._reference("patient"),
            "issued": report.created_at,
            "imagingStudy": [self._reference("study")],
            "media": [
                {"comment": "The analysed frame, de-identified", "link": self._reference("image")}
            ],
            "conclusion": "\n".join([*_asked(report), *report.impression, NOT_FOR_CLINICAL_USE]),
        }
        if observations:
            resource["result"] = [self._reference(name) for name in observations]
        if report.supersedes:
            earlier = {"type": "DiagnosticReport", "identifier": _identifier(report.supersedes)}
            resource["extension"] = [{"url": _REPLACES, "valueReference": earlier}]
        return resource

    def _finding(self, finding: Finding) -> Json:
        rests_on = [self._evidence[item] for item in finding.evidence]
        resource = self._observation(
            finding.id, codes.structure(finding.label), finding.label, rests_on
        )
        scores = [item for item in rests_on if isinstance(item, ScoresEvidence)]
        if finding.state is FindingState.NOT_ASSESSED:
            resource["dataAbsentReason"] = _absent("not-performed", finding.reason)
        elif scores:
            resource["component"] = [
                _component(codes.class_score(label), score, "1")
                for label, score in scores[0].scores.items()
            ]
        elif finding.value is not None:
            found = codes.quality(finding.value)
            resource["valueCodeableConcept"] = _concept(found, found.meaning)
        else:
            state = codes.STATES[finding.state]
            resource["valueCodeableConcept"] = _concept(state, state.meaning)
            if finding.score is not None:
                resource["component"] = [_component(codes.PRESENCE_SCORE, finding.score, "1")]
        resource["note"] = _notes(finding.statement, finding.reason, rests_on=finding.evidence)
        return resource

    def _measurement(self, number: Measurement) -> Json:
        rests_on = [self._evidence[item] for item in number.evidence]
        resource = self._observation(number.id, codes.measured(number.name), number.name, rests_on)
        qualifier = codes.qualifier(number)
        if number.value is None:
            absent = ABSENT_REASONS[qualifier or codes.FAILURE]
            resource["dataAbsentReason"] = _absent(absent, number.reason, qualifier)
        else:
            resource["valueQuantity"] = _quantity(number.value, number.unit)
        if number.unreliable is not None:
            resource["interpretation"] = [_concept(codes.UNRELIABLE, number.unreliable)]
        if number.formula:
            resource["method"] = {"text": number.formula}
        if number.interval is not None:
            share = "" if number.coverage is None else f"{100 * number.coverage:.0f} % "
            resource["component"] = [
                _component(
                    codes.private(code, f"Interval, {end}"),
                    value,
                    number.unit,
                    f"{share}interval, {end}",
                )
                for code, end, value in zip(
                    ("interval-low", "interval-high"),
                    ("lower end", "upper end"),
                    number.interval,
                    strict=True,
                )
            ]
        doubt = number.unreliable and f"{codes.UNRELIABLE.meaning}: {number.unreliable}."
        resource["note"] = _notes(number.statement, doubt, number.reason, rests_on=number.evidence)
        return resource

    def _sent_age(self, age: str) -> Json:
        """Return the gestational age that the sender states."""
        resource = self._observation("sent-age", codes.GESTATIONAL_AGE, codes.SENT_AGE.meaning, [])
        resource["valueQuantity"] = _quantity(round(weeks_of(age), 4), WEEKS)
        resource["note"] = [{"text": f"{codes.SENT_AGE.meaning}: {age}."}]
        return resource

    def _observation(self, name: str, code: Coded, label: str, rests_on: list[Evidence]) -> Json:
        exam = self._report.exam.code
        models = {model.id for model in self._report.provenance.models}
        by = next((item.specialist for item in rests_on if item.specialist in models), None)
        resource: Json = {
            "resourceType": "Observation",
            **self._common(name),
            "status": str(self._report.status),
            "category": [
                _concept_of(
                    "http://terminology.hl7.org/CodeSystem/observation-category",
                    "imaging",
                    "Imaging",
                )
            ],
            "code": _concept(code, label),
            "subject": self._reference("patient"),
            "issued": self._report.created_at,
            "device": self._reference(f"model {by}" if by else "device"),
            "derivedFrom": [self._reference("image")],
        }
        if exam is not None:
            site, side = codes.SITES[exam], self._report.request.laterality
            where = site.meaning if side is None else f"{site.meaning}, {side}"
            resource["bodySite"] = _concept(site, where)
        if exam in codes.FETAL_EXAMS:
            resource["focus"] = [{"display": "Fetus"}]
        return resource

    def _patient(self) -> Json:
        """Return a pseudonymous patient, which keeps together what belongs together."""
        value = self._source.patient_id or self._source.study_uid
        return {
            "resourceType": "Patient",
            **self._common("patient"),
            "identifier": [{"system": "urn:ustri:patient", "value": value}],
        }

    def _study(self) -> Json:
        source = self._source
        ours = not source.original
        sop_class = {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{source.sop_class_uid}"}
        instance = {"uid": source.instance_uid, "sopClass": sop_class}
        modality = {"system": SYSTEMS["DCM"], "code": "US", "display": "Ultrasound"}
        request = self._report.request
        series: Json = {"uid": source.series_uid, "modality": modality, "instance": [instance]}
        if request.laterality is not None:
            side = codes.LATERALITIES[request.laterality]
            series["laterality"] = _concept(side)["coding"][0]
        if request.operator is not None:
            series["performer"] = [{"actor": {"display": request.operator}}]
        study: Json = {
            "resourceType": "ImagingStudy",
            **self._common("study"),
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{source.study_uid}"}],
            "status": "available",
            "subject": self._reference("patient"),
            "description": "The analysed frame, de-identified" if ours else "The source",
            "series": [series],
        }
        if request.indication is not None:
            study["reasonCode"] = [{"text": request.indication}]
        sent = (
            (codes.SENT_LABEL, request.label),
            (codes.SENT_STUDY, request.study),
            (codes.SENT_SITE, request.site),
        )
        notes = [{"text": f"{name.meaning}: {words}"} for name, words in sent if words is not None]
        return study | ({"note": notes} if notes else {})

    def _image(self) -> Json:
        image = self._report.image
        content: Json = {"contentType": "image/png", "title": "The analysed frame"}
        if self._image_href is not None:
            content["url"] = self._image_href
        return {
            "resourceType": "Media",
            **self._common("image"),
            "identifier": [{"system": "urn:ustri:sha256", "value": image.sha256}],
            "status": "completed",
            "type": _concept_of(
                "http://terminology.hl7.org/CodeSystem/media-type", "image", "Image"
            ),
            "subject": self._reference("patient"),
            "width": image.width_px,
            "height": image.height_px,
            "content": content,
        }

    def _device(self) -> Json:
        made_by = self._report.provenance
        versions = [
            made_by.code_version,
            f"runtime {made_by.runtime}",
            f"planner {made_by.planner.id} {made_by.planner.sha256}",
        ]
        return {
            "resourceType": "Device",
            **self._common("device"),
            "status": "active",
            "manufacturer": "USTri",
            "deviceName": [{"name": "USTri", "type": "manufacturer-name"}],
            "version": [{"value": version} for version in versions],
            "note": [{"text": NOT_FOR_CLINICAL_USE}],
        }

    def _model(self, model: ModelRef) -> Json:
        return {
            "resourceType": "Device",
            **self._common(f"model {model.id}"),
            "status": "active",
            "manufacturer": "USTri",
            "deviceName": [{"name": model.id, "type": "model-name"}],
            "version": [{"value": model.sha256}],
            "parent": self._reference("device"),
        }

    def _common(self, name: str) -> Json:
        """Return a resource's id, with the tag of test data where a program drew the image."""
        common: Json = {"id": str(self._uuid(name))}
        if self._report.image.synthetic:
            system = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
            tag = {"system": system, "code": "HTEST", "display": "test health data"}
            common["meta"] = {"security": [tag]}
        return common

    def _reference(self, name: str) -> Json:
        return {"reference": self._urn(name)}

    def _urn(self, name: str) -> str:
        return f"urn:uuid:{self._uuid(name)}"

    def _uuid(self, name: str) -> object:
        return uuid_of("fhir", self._report.report_id, name)


def _identifier(value: str) -> Json:
    return {"system": _IDENTIFIERS, "value": value}


def _concept(code: Coded, text: str | None = None) -> Json:
    return _concept_of(SYSTEMS[code.scheme], code.value, display_of(code), text)


def _concept_of(system: str, code: str, display: str | None, text: str | None = None) -> Json:
    coding = {"system": system, "code": code} | ({"display": display} if display else {})
    concept: Json = {"coding": [coding]}
    return concept | {"text": text} if text else concept


def _quantity(value: float, unit: str | None) -> Json:
    code = codes.unit(unit)
    shown = unit or code.meaning
    return {"value": value, "unit": shown, "system": SYSTEMS["UCUM"], "code": code.value}


def _component(code: Coded, value: float, unit: str | None, text: str | None = None) -> Json:
    return {"code": _concept(code, text or code.meaning), "valueQuantity": _quantity(value, unit)}


def _absent(code: str, reason: str | None, qualifier: Coded | None = None) -> Json:
    concept = _concept_of(ABSENT_REASON, code, ABSENT_DISPLAYS[code], reason)
    if qualifier is not None:
        concept["coding"].append(_concept(qualifier)["coding"][0])
    return concept


def _notes(*texts: str | None, rests_on: tuple[str, ...]) -> list[Json]:
    last = f"Rests on {', '.join(rests_on)}." if rests_on else "Rests on no evidence."
    return [{"text": text} for text in (*texts, last) if text]


def _asked(report: Report) -> list[str]:
    return [] if report.asked is None else [report.asked]


def _narrative(report: Report) -> str:
    """Return the report's sentences as XHTML, for clients that can show nothing else of it."""
    outcome = report.outcome.upper() + (f": {report.reason}" if report.reason else "")
    parts = [f"<p><b>{escape(report.exam.title)}</b></p>", f"<p>{NOT_FOR_CLINICAL_USE}</p>"]
    if report.image.synthetic:
        parts.append(f"<p><b>{_SYNTHETIC}</b></p>")
    parts.append(f"<p>{escape(outcome)}</p>")
    for title, lines in (
        ("Asked", _asked(report)),
        ("Impression", report.impression),
        ("Findings", [finding.statement for finding in report.findings]),
        ("Measurements", [number.statement for number in report.measurements]),
        ("Cross-checks", [f"{c.outcome}: {c.name}. {c.detail}" for c in report.checks]),
        ("Limitations", report.limitations),
    ):
        items = "".join(f"<li>{escape(line)}</li>" for line in lines if line)
        if items:
            parts.append(f"<p>{title}</p><ul>{items}</ul>")
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{"".join(parts)}</div>'
