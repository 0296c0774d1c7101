"""Which numbers must not be relied on: implausible structures, and weak specialists.

A doubt flags: it never changes a number or takes it away. It goes to every number that rests on
the evidence, so that an age from a doubtful circumference is as doubtful as that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planner.case import Case
from planner.plan import Plan
from planner.protocols import CheckKind
from reports.measure.numbers import Doubts, Seen
from reports.measure.outlines.plausibility import (
    ON_BORDER,
    Reason,
    box_reason,
    implausible_in,
    landmark_reason,
)
from reports.measure.outlines.ranges import EXPECTED
from reports.model import (
    BoxEvidence,
    Check,
    CheckOutcome,
    Evidence,
    MaskEvidence,
    NamedPoint,
    PointsEvidence,
)
from specialists.cards.floors import below_floor

PLAUSIBLE = "Its number, size, shape and place are those of such a structure."


@dataclass(frozen=True, kw_only=True)
class Structure:
    """One outlined structure, and why it is implausible.

    `shape` holds the reasons by itself, `landmarks` that of the `marks` which belong on its border,
    and `box` that of the detector's box, which a check of its own compares.
    """

    label: str
    masks: tuple[MaskEvidence, ...]
    marks: PointsEvidence | None
    shape: tuple[Reason, ...]
    landmarks: Reason | None
    box: Reason | None

    @property
    def check(self) -> Check:
        """The check of its plausibility."""
        clauses = "; ".join(reason.clause for reason in _known(*self.shape, self.landmarks))
        outcome = CheckOutcome.FLAG if clauses else CheckOutcome.AGREE
        detail = f"{clauses[:1].upper()}{clauses[1:]}." if clauses else PLAUSIBLE
        name = f"outline of the {self.label}: plausible shape"
        return Check(name=name, outcome=outcome, detail=detail)

    def doubts(self) -> Iterator[tuple[str, str]]:
        """Yield the id of each piece of evidence in doubt, with the clause that says why."""
        reasons = _known(*self.shape, self.landmarks, self.box)
        if reasons:
            yield from ((mask.id, self._implausible(*reasons)) for mask in self.masks)
        if self.marks is not None and self.landmarks is not None:
            yield self.marks.id, self._implausible(self.landmarks)

    def _implausible(self, *reasons: Reason) -> str:
        # What would be expected stands in the check, not beside a number.
        clauses = "; ".join(reason.clause.partition(" (")[0] for reason in reasons)
        return f"the outline of the {self.label} is implausible ({clauses})"


def structures_of(plan: Plan, seen: Seen) -> tuple[Structure, ...]:
    """Return every structure that was outlined and of which something is expected."""
    return tuple(
        Structure(
            label=label,
            masks=seen.masks(slot, label),
            marks=_marks(seen, label),
            shape=shape,
            landmarks=_landmarks(seen, slot, label),
            box=_box(plan, seen, slot, label),
        )
        for slot in seen.evidence
        for label, shape in implausible_in(seen, slot).items()
        if label in EXPECTED
    )


def doubts_of(structures: Sequence[Structure], evidence: Sequence[Evidence], case: Case) -> Doubts:
    """Return why numbers that rest on a piece of evidence are unreliable, by its id."""
    found: dict[str, list[str]] = {}
    for structure in structures:
        for name, clause in structure.doubts():
            found.setdefault(name, []).append(clause)
    for item in evidence:
        if (weak := _weak(item, case)) is not None:
            found.setdefault(item.id, []).append(weak)
    return found


def _known(*reasons: Reason | None) -> tuple[Reason, ...]:
    return tuple(reason for reason in reasons if reason is not None)


def _weak(item: Evidence, case: Case) -> str | None:
    """Return that the specialist's own figures are below their floor."""
    entry = case.manifest.specialists.get(item.specialist)
    if entry is None or not isinstance(item, MaskEvidence | PointsEvidence):
        return None
    return below_floor(entry, item.label if isinstance(item, MaskEvidence) else None)


def _marks(seen: Seen, label: str) -> PointsEvidence | None:
    return seen.points(ON_BORDER[label][0]) if label in ON_BORDER else None


def _landmarks(seen: Seen, slot: str, label: str) -> Reason | None:
    """Return that landmarks which belong on the structure's border lie off it."""
    marks, part = _marks(seen, label), seen.largest(slot, label)
    if marks is None or part is None:
        return None
    named = ON_BORDER[label][1]
    points: list[NamedPoint] = [point for point in marks.points if point.name in named]
    return landmark_reason(part.polygons, points, seen.image)


def _box(plan: Plan, seen: Seen, slot: str, label: str) -> Reason | None:
    """Return that the box which the protocol compares with the structure shows something else."""
    rows = () if plan.protocol is None else plan.protocol.checks
    for row in rows:
        if row.kind is not CheckKind.OVERLAP or row.slots[1] != slot:
            continue
        if row.structure in {None, label}:
            boxes = [e for e in seen.evidence.get(row.slots[0], ()) if isinstance(e, BoxEvidence)]
            parts = [mask.polygons for mask in seen.masks(slot, label)]
            return box_reason(parts, boxes[0].box) if boxes else None
    return None
