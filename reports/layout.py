"""A report in the order in which it is read, for the forms that people read: page, text and PDF.

Header, asked, impression, findings by structure, checks that flag, technique, limitations, and how
it was made. `lay_out` groups what the report holds; it changes no statement, and leaves none out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from reports.measure.intervals import caveat
from reports.model import (
    Check,
    Finding,
    ImageInfo,
    Laterality,
    MaskEvidence,
    Measurement,
    Outcome,
    Report,
    ScoresEvidence,
    Step,
)
from reports.wording.doubts import shared_doubts
from reports.wording.facts import Facts
from reports.wording.flags import Flag, flags_of
from reports.wording.making import (
    classifier_sentences,
    detector_sentences,
    planner_sentence,
    technique,
)
from reports.wording.phrases import capital, clause, exam_basis, sentence

SHOWN_LIMITATIONS = 4
"""How many limitations are shown; the report's wording puts those that matter most first."""

SIDES = {
    Laterality.LEFT: "left",
    Laterality.RIGHT: "right",
    Laterality.BILATERAL: "both sides",
}


_OF_THE_IMAGE = re.compile(
    r"(?:Lengths are in px|Square pixels are assumed)\b.*?\.(?=\s+[A-Z]|$)\s*"
)
"""Sentences of a reason that are true of the whole image (`reports.measure.numbers`)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A name and what stands beside it, such as "Side" and "left"."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Structure:
    """The findings and the measurements of one structure, under one heading.

    `notes` are sentences that limit its numbers, such as why they are in px; each stands once.
    """

    name: str
    findings: tuple[Finding, ...]
    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Made:
    """How the report was made: the only place for specialists, scores of choices and hashes."""

    exam: str
    """How the exam was chosen, as a sentence."""
    planner: str
    """Who chose the steps, as a sentence."""
    classifiers: tuple[str, ...]
    """Scores of classifiers, with label set and training, and of detectors, with threshold."""
    steps: tuple[Step, ...]
    checks: tuple[Check, ...]
    """All checks, with what they compare and from where they flag."""
    methods: tuple[Row, ...]
    """How each number is measured."""
    provenance: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The parts of a report, in the order in which they are read; an empty part is left out."""

    title: str
    header: tuple[Row, ...]
    asked: str | None
    impression: tuple[str, ...]
    structures: tuple[Structure, ...]
    flags: tuple[Flag, ...]
    technique: tuple[str, ...]
    limitations: tuple[str, ...]
    more_limitations: tuple[str, ...]
    made: Made

    @property
    def headline(self) -> str | None:
        """The line of the impression that is shown large; None: there is no impression."""
        return self.impression[0] if self.impression else None


def lay_out(report: Report) -> Layout:
    """Group a worded report by the parts that a reader meets one after the other."""
    return Layout(
        title=report.exam.title,
        header=header(report),
        asked=report.asked,
        impression=report.impression,
        structures=structures(report),
        flags=() if report.outcome is Outcome.REFUSED else flags_of(Facts(report=report)),
        technique=technique(report),
        limitations=report.limitations[:SHOWN_LIMITATIONS],
        more_limitations=report.limitations[SHOWN_LIMITATIONS:],
        made=Made(
            exam=exam_basis(report.exam),
            planner=planner_sentence(report),
            classifiers=(*classifier_sentences(report), *detector_sentences(report)),
            steps=report.steps,
            checks=report.checks,
            methods=_methods(report),
            provenance=_provenance(report),
        ),
    )


def header(report: Report) -> tuple[Row, ...]:
    """Return what the report is of and what was sent with the image; what was not sent is left out.

    The exam is the layout's title.
    """
    request = report.request
    rows = (
        ("Date", _utc(report.created_at)),
        ("Status", f"{report.status}, version {report.version}"),
        ("Outcome", None if report.outcome is Outcome.REPORTED else str(report.outcome)),
        ("Signed", _signed(report)),
        ("Side", request.laterality and SIDES[request.laterality]),
        ("Site", request.site),
        ("Indication", request.indication),
        ("Label", request.label),
        ("Study", request.study),
        ("Operator", request.operator),
        ("Gestational age", request.gestational_age and f"{request.gestational_age}, as sent"),
        ("Image", _image(report.image)),
    )
    return tuple(Row(name=name, text=text) for name, text in rows if text)


def structures(report: Report) -> tuple[Structure, ...]:
    """Group findings and measurements by structure, in the order in which the report names them."""
    findings: dict[str, list[Finding]] = {}
    measurements: dict[str, list[Measurement]] = {}
    for finding in report.findings:
        findings.setdefault(structure_of(finding, report), []).append(finding)
    for measurement in report.measurements:
        measurements.setdefault(structure_of(measurement, report), []).append(measurement)
    return tuple(
        Structure(
            name=capital(name),
            findings=tuple(sorted(findings.get(name, ()), key=lambda f: _describes(f, report))),
            measurements=tuple(measurements.get(name, ())),
            notes=_notes(measurements.get(name, ()), report.image),
        )
        for name in dict.fromkeys((*findings, *measurements))
    )


def structure_of(item: Finding | Measurement, report: Report) -> str:
    """Return what a finding or measurement is of.

    Reports of version 1.0 name no structure: there it is the outline that the item rests on, else
    what the item itself is called.
    """
    if item.structure is not None:
        return item.structure
    outlined = {
        evidence.label
        for evidence in report.evidence
        if isinstance(evidence, MaskEvidence) and evidence.id in item.evidence
    }
    if len(outlined) == 1:
        return outlined.pop()
    return item.label if isinstance(item, Finding) else item.name


def _describes(finding: Finding, report: Report) -> bool:
    """Return whether a finding describes a structure, and so follows the one that it is there."""
    scores = {item.id for item in report.evidence if isinstance(item, ScoresEvidence)}
    return finding.value is not None or not scores.isdisjoint(finding.evidence)


def _notes(measurements: Sequence[Measurement], image: ImageInfo) -> tuple[str, ...]:
    """Return why several values are unreliable, and what the reasons say of them, each once.

    What is said of one of several numbers begins with its name. Why an image without regions gives
    px, and what that assumes, is said by the technique and the limitations.
    """
    measured = [item for item in measurements if item.value is not None]
    names: dict[str, list[str]] = {}
    for item in measured:
        note = caveat(item.reason) or ""
        note = note if image.regions else _OF_THE_IMAGE.sub("", note).strip()
        named = names.setdefault(note, []) if note else []
        named += [item.name] if item.name not in named else []
    several = len({item.name for item in measured}) > 1
    return (
        *shared_doubts(measured),
        *(
            f"{capital(named[0])}: {clause(note)}." if several and len(named) == 1 else note
            for note, named in names.items()
        ),
    )


def _methods(report: Report) -> tuple[Row, ...]:
    formulas = {
        item.name: item.formula
        for item in report.measurements
        if item.formula and item.value is not None
    }
    return tuple(
        Row(name=capital(name), text=sentence(formula)) for name, formula in formulas.items()
    )


def _utc(stamp: str) -> str:
    """Return an ISO 8601 time to the minute, in UTC."""
    return f"{datetime.fromisoformat(stamp).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _signed(report: Report) -> str | None:
    if report.signed_by is None:
        return None
    when = f", {_utc(report.signed_at)}" if report.signed_at else ""
    why = f"; amended because {report.amendment_reason}" if report.amendment_reason else ""
    return f"{report.signed_by}{when}{why}"


def _image(image: ImageInfo) -> str:
    """Return what the analysed image is, without the spacing, which technique states."""
    what = "still image" if image.frame is None else f"frame {image.frame + 1}, counted from 1"
    source = "DICOM, " if image.dicom else ""
    drawn = ", drawn by a program; it shows no patient" if image.synthetic else ""
    return f"{source}{what}, {image.width_px} × {image.height_px} px{drawn}"


def _provenance(report: Report) -> tuple[Row, ...]:
    made_by = report.provenance
    rows = [
        ("Report", f"{report.report_id}, version {report.version}"),
        ("Supersedes", report.supersedes),
        ("Analysis", report.analysis_id),
        ("External id", report.external_id),
        ("Study", report.study and report.study.id),
        ("Image SHA-256", report.image.sha256),
        ("Content SHA-256", made_by.content_sha256),
        ("Code", f"USTri {made_by.code_version}, runtime {made_by.runtime}"),
        ("Research only", made_by.research_only and sentence(made_by.research_only)),
        ("Planner", f"{made_by.planner.id} {made_by.planner.sha256}"),
        *(("Model", f"{model.id} {model.sha256}") for model in made_by.models),
    ]
    return tuple(Row(name=name, text=text) for name, text in rows if text)
