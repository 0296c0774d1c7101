"""What the sentences of a report rest on: its findings with their evidence, its numbers by name."""

from dataclasses import dataclass
from functools import cached_property

from reports.errors import EvidenceMissing
from reports.measure.geometry import size_px2
from reports.measure.numbers import LONG_AXIS, OF_A_COMPONENT, SHORT_AXIS
from reports.model import (
    BoxEvidence,
    Evidence,
    Finding,
    FindingState,
    MaskEvidence,
    Measurement,
    PointsEvidence,
    Report,
    Scope,
    ScoresEvidence,
)
from reports.wording.numbers import Figure, figure

CROSS_CHECK = "(cross-check)"
"""How the label ends of a classification that only checks another one."""

BOXED_AND_OUTLINED = frozenset({"lesion", "nodule", "fetal head"})
"""Structures that a detector and a segmentation both look for."""


@dataclass(frozen=True, kw_only=True)
class Basis:
    """A finding with the evidence that it rests on, by kind."""

    finding: Finding
    boxes: tuple[BoxEvidence, ...]
    masks: tuple[MaskEvidence, ...]
    points: tuple[PointsEvidence, ...]
    classifications: tuple[ScoresEvidence, ...]
    outline_asked: bool = True
    """False where a question narrowed the report to less than outlines and their numbers."""

    @property
    def found(self) -> bool:
        """Whether the structure was found."""
        return self.finding.state is FindingState.FOUND

    @property
    def seen(self) -> str:
        """How the structure was found, to follow its name."""
        if len(self.masks) > 1:
            return f"found, outlined in {len(self.masks)} parts"
        if self.masks:
            return "found" if self.finding.label.endswith(" outline") else "found, outlined"
        if self.boxes and self.outline_asked and self.finding.label in BOXED_AND_OUTLINED:
            return "found, not outlined"
        return "located" if self.points else "found"

    @property
    def largest(self) -> MaskEvidence | None:
        """The outlined part with the greatest area in pixels."""
        return max(self.masks, key=lambda mask: size_px2(mask.polygons), default=None)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A report's findings and numbers, as its sentences look them up."""

    report: Report

    @cached_property
    def bases(self) -> tuple[Basis, ...]:
        """All findings with their evidence, in the order of the report.

        Raises:
            EvidenceMissing: a finding rests on evidence that the report does not hold.
        """
        return tuple(self._basis(finding) for finding in self.report.findings)

    @property
    def classifications(self) -> tuple[Basis, ...]:
        """The findings that rest on a classifier's scores, those that only check others last."""
        found = [basis for basis in self.bases if basis.classifications and basis.found]
        return tuple(sorted(found, key=lambda basis: CROSS_CHECK in basis.finding.label))

    @property
    def classification(self) -> Basis | None:
        """The classification that the exam is for; None: there is none beside a cross-check."""
        first = next(iter(self.classifications), None)
        return None if first is None or CROSS_CHECK in first.finding.label else first

    def finding(self, label: str) -> Basis | None:
        """Return the finding of that label."""
        return next((basis for basis in self.bases if basis.finding.label == label), None)

    def number(self, name: str) -> Figure | None:
        """Return the first number of that name, which is of the largest region."""
        named = (item for item in self.report.measurements if item.name == name)
        first = next(named, None)
        return None if first is None else figure(first)

    @property
    def names(self) -> list[str]:
        """What was measured, beside the axes that a structure's size names and what follows."""
        names = dict.fromkeys(item.name for item in self.report.measurements)
        sized = any(self.size(basis) is not None for basis in self.bases)
        return [name for name in names if not (sized and name in OF_A_COMPONENT)]

    def count(self, name: str) -> int:
        """Return how many measurements have that name."""
        return sum(item.name == name for item in self.report.measurements)

    def size(self, basis: Basis) -> Figure | None:
        """Return long by short axis of a structure's largest part as one figure."""
        largest = basis.largest
        axes = [
            figure(item)
            for name in (LONG_AXIS, SHORT_AXIS)
            for item in self.report.measurements
            if largest is not None and item.name == name and largest.id in item.evidence
        ]
        if len(axes) != 2 or not all(axis.measured for axis in axes):
            return None
        one, other = axes
        return Figure(
            name="size",
            text=f"{one.bare} × {other.text}",
            bare=None,
            unit=one.unit,
            interval=None,
            why=None,
            unavailable=False,
            unreliable=one.unreliable or other.unreliable,
        )

    def rests_on(self, item: Finding | Measurement) -> tuple[Evidence, ...]:
        """Return the evidence of a finding or measurement, in its order.

        Raises:
            EvidenceMissing: the report does not hold it.
        """
        try:
            return tuple(self._evidence[evidence_id] for evidence_id in item.evidence)
        except KeyError as missing:
            raise EvidenceMissing(f"{item.id} rests on {missing}, which is not there.") from missing

    @cached_property
    def _evidence(self) -> dict[str, Evidence]:
        return {item.id: item for item in self.report.evidence}

    def _basis(self, finding: Finding) -> Basis:
        items = self.rests_on(finding)
        return Basis(
            finding=finding,
            boxes=tuple(item for item in items if isinstance(item, BoxEvidence)),
            masks=tuple(item for item in items if isinstance(item, MaskEvidence)),
            points=tuple(item for item in items if isinstance(item, PointsEvidence)),
            classifications=tuple(item for item in items if isinstance(item, ScoresEvidence)),
            outline_asked=self.report.request.scope is Scope.PROTOCOL
            or bool(self.report.measurements),
        )
