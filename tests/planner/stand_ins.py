"""A stand-in for the specialists, a journal in memory, and ways to run a case and conclude it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from planner.case import Case, Record, Request
from planner.conclusion.report import Identity, conclude
from planner.protocols import read_protocols
from planner.rules import Rules
from planner.run import run
from reports.measure.formulas import MEASUREMENTS
from reports.measure.head import CEPHALIC_INDEX
from reports.measure.muscle import (
    DEEP_INCLINATION,
    PENNATION_ANGLE,
    SUPERFICIAL_INCLINATION,
    THICKNESS,
)
from reports.measure.numbers import RATIO
from reports.measure.progression import AOP
from reports.model import Box, ExamCode, Finding, Measurement, Report, Scope
from reports.provenance import PlannerRef
from specialists.errors import Declined
from specialists.image import Image
from specialists.manifest import (
    DataSource,
    Manifest,
    MeasuredInterval,
    Threshold,
    read_manifest,
)
from specialists.result import Result
from tests.builders import (
    a_classify_result,
    a_detect_result,
    a_segment_result,
    a_sha256,
    an_exam_result,
    an_image,
)
from tests.one_by_one import OneByOne

BREAST_TOOLS = ("exam_cls", "breast_lesion_det", "breast_lesion", "breast_2cls", "breast_3cls")
ANGLES = frozenset(
    {RATIO, CEPHALIC_INDEX, AOP, SUPERFICIAL_INCLINATION, DEEP_INCLINATION, PENNATION_ANGLE}
)
ENDS = ("low", "high", "coverage", "coverage_low", "coverage_high")
LEARNT_FROM = DataSource(
    name="a set", reference="this test", licence="CC BY 4.0", licence_verified=False
)
"""What stand-ins and their backbone learnt from, whatever the shipped ones did."""
ACCEPT = 0.6
CONTRADICTION = 0.9
Answer = Result | Declined


def an_interval(measurement: str, **changes: Any) -> MeasuredInterval:
    """±4 of an angle or percentage, ±0.2 of a ratio, else ±5 %."""
    plain = measurement in ANGLES
    half = 0.2 if measurement == RATIO else 4.0
    values = {
        "measurement": measurement,
        "form": "absolute" if plain else "relative",
        "low": -half if plain else -0.05,
        "high": half if plain else 0.05,
        "coverage": 0.91,
        "coverage_low": 0.84,
        "coverage_high": 0.95,
        "n": 80,
        "groups": 40,
        "source": "this test",
    }
    return MeasuredInterval.model_validate(values | changes)


def all_intervals() -> dict[str, tuple[MeasuredInterval, ...]]:
    """Return an interval of every measurement, by the specialist that it is requested of.

    As shipped, there is none of the thickness.
    """
    found = {
        entry.id: tuple(
            an_interval(name) for slot in entry.provides for name in MEASUREMENTS.get(slot, ())
        )
        for entry in read_manifest().specialists.values()
    }
    reason = "its validation images come from 1 group of patients; at least 9 are needed"
    none = an_interval(THICKNESS, reason=reason, **dict.fromkeys(ENDS))
    return found | {"muscle_thickness": (none,)}


def a_manifest(
    installed: Iterable[str] = BREAST_TOOLS,
    thresholds: Mapping[str, float] | None = None,
    intervals: Mapping[str, tuple[MeasuredInterval, ...]] | None = None,
    learnt_from: DataSource = LEARNT_FROM,
    routed: Iterable[ExamCode] = ExamCode,
) -> Manifest:
    """Return the shipped manifest with exactly these specialists installed.

    It has the router's thresholds and exams, and these intervals.
    """
    shipped, names = read_manifest(), set(installed)
    chosen = (
        {"accept": ACCEPT, "contradiction": CONTRADICTION} if thresholds is None else thresholds
    )
    specialists = {}
    for name, entry in shipped.specialists.items():
        present = name in names
        specialists[name] = entry.model_copy(
            update={
                "weights": f"{name}.safetensors" if present else None,
                "sha256": a_sha256(name) if present else None,
                "backbone_sha256": a_sha256("backbone") if present else None,
                "not_installed": None if present else "No weights in this test.",
                "thresholds": {
                    key: Threshold(value=value, source="this test") for key, value in chosen.items()
                }
                if name == "exam_cls"
                else {},
                "intervals": (intervals or {}).get(name, ()),
                "training_data": (learnt_from,),
            }
            | ({"labels": tuple(exam.value for exam in routed)} if name == "exam_cls" else {})
        )
    models = {
        name: entry.model_copy(
            update={
                "weights": "b.safetensors",
                "sha256": a_sha256("backbone"),
                "training_data": (learnt_from,),
            }
        )
        for name, entry in shipped.models.items()
    }
    return Manifest(models=models, specialists=specialists)


def breast_answers(**changes: Answer) -> dict[str, Answer]:
    """One lesion, rather benign; change any by its specialist's id."""
    answers: dict[str, Answer] = {
        "exam_cls": an_exam_result(),
        "breast_lesion_det": a_detect_result(),
        "breast_lesion": a_segment_result(),
        "breast_2cls": a_classify_result(),
        "breast_3cls": a_classify_result(
            specialist="breast_3cls",
            sha256=a_sha256("breast_3cls"),
            scores={"normal": 0.05, "benign": 0.75, "malignant": 0.2},
        ),
    }
    return answers | changes


def no_lesion_answers(**changes: Answer) -> dict[str, Answer]:
    """Return the answers for a breast image without a lesion, on which all agree."""
    normal = a_classify_result(
        specialist="breast_3cls",
        sha256=a_sha256("breast_3cls"),
        scores={"normal": 0.9, "benign": 0.08, "malignant": 0.02},
    )
    return breast_answers(
        breast_lesion_det=a_detect_result(score=0.08, box=None),
        breast_lesion=a_segment_result(components=()),
        breast_3cls=normal,
    ) | dict(changes)


def routed_to(exam: ExamCode, score: float = 0.96) -> Result:
    """The router's answer for that exam; the others share the rest."""
    rest = round((1 - score) / (len(ExamCode) - 1), 6)
    return an_exam_result(scores={code.value: score if code is exam else rest for code in ExamCode})


@dataclass(kw_only=True)
class StandInTools(OneByOne):
    """Specialists that answer from a table and remember their calls."""

    answers: Mapping[str, Answer] = field(default_factory=breast_answers)
    manifest: Manifest = field(default_factory=a_manifest)
    runtime: str = "stand-in"
    calls: list[tuple[str, Box | None]] = field(default_factory=list)

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        self.calls.append((specialist_id, roi))
        answer = self.answers[specialist_id]
        if isinstance(answer, Declined):
            raise answer
        return answer

    @property
    def called(self) -> list[str]:
        return [name for name, _ in self.calls]


@dataclass(kw_only=True)
class MemoryJournal:
    """Keeps records as the store does: as JSON."""

    rows: list[str] = field(default_factory=list)

    def append(self, record: Record) -> None:
        self.rows.append(record.model_dump_json())

    @property
    def records(self) -> tuple[Record, ...]:
        return tuple(Record.model_validate_json(row) for row in self.rows)


def run_case(
    tools: StandInTools,
    request: Request | None = None,
    image: Image | None = None,
    records: Sequence[Record] = (),
) -> Case:
    """The finished case, planned by the rules."""
    return run(
        image or an_image(),
        request or Request(),
        tools,
        Rules(read_protocols()),
        MemoryJournal(),
        records,
    )


def a_case(tools: StandInTools, *records: Record, request: Request | None = None) -> Case:
    """A case that stands at these records."""
    return Case(
        image=an_image().info,
        request=request or Request(),
        manifest=tools.manifest,
        protocols=read_protocols(),
        planner=PlannerRef(id="rules", sha256=read_protocols().sha256),
        records=records,
    )


def an_identity(name: str = "one") -> Identity:
    return Identity(
        report_id=f"report-{name}",
        analysis_id=f"analysis-{name}",
        version=1,
        supersedes=None,
        external_id=None,
        created_at="2026-11-20T12:00:00Z",
        code_version="0.1.0",
        runtime="stand-in",
    )


def report_of(
    answers: Mapping[str, Answer] | None = None,
    *,
    question: str | None = None,
    scope: Scope = Scope.PROTOCOL,
    exam: ExamCode | None = None,
    image: Image | None = None,
    installed: Iterable[str] = BREAST_TOOLS,
) -> Report:
    """The report of a case that was run to its end."""
    tools = StandInTools(answers=answers or breast_answers(), manifest=a_manifest(installed))
    case = run_case(tools, Request(exam=exam, question=question, scope=scope), image)
    return conclude(case, an_identity())


def statements(report: Report) -> list[Finding | Measurement]:
    """Everything that the report says of the exam's questions."""
    return [*report.findings, *report.measurements]
