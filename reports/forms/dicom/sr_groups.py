"""The measurement groups of TID 1500, from evidence, findings and measurements.

Each has a tracking UID. A box or an outline is a planar region (TID 1410, SCOORD in the report's
coordinates, which are those of DICOM: the centre of the first pixel is (0.5, 0.5)); holes are
regions of their own. Scores and findings are groups without a region (TID 1501). A missing number
keeps its place, with the qualifier that says why it is missing; an unreliable one keeps its value,
qualified as indeterminate, with the reason as a comment.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes as standard

from reports.forms import codes
from reports.forms.codes import Coded
from reports.forms.dicom.basis import points_of, thinned
from reports.forms.dicom.image import MANUFACTURER, coded, version_of
from reports.forms.dicom.source import Source, uid_of
from reports.model import (
    BoxEvidence,
    Evidence,
    Finding,
    FindingState,
    MaskEvidence,
    Measurement,
    MeasurementState,
    NamedPoint,
    Outcome,
    Point,
    PointsEvidence,
    Report,
    ScoresEvidence,
)

Group = sr.PlanarROIMeasurementsAndQualitativeEvaluations | sr.MeasurementsAndQualitativeEvaluations
_NO_VALUE = -999999999
"""What a missing number has for a value until `blank_gaps` removes it: no measurement has it."""

_CONTAINS = sr.RelationshipTypeValues.CONTAINS
_HAS_PROPERTIES = sr.RelationshipTypeValues.HAS_PROPERTIES
_INFERRED_FROM = sr.RelationshipTypeValues.INFERRED_FROM


def groups_of(report: Report, source: Source) -> list[Group]:
    """Return a group for every finding, piece of evidence and measurement, in that order."""
    return _Groups(report, source).all()


def number_group(
    report: Report, source: Source, number: Measurement, notes: list[sr.QualitativeEvaluation]
) -> Group:
    """Return one measurement as a group of its own, with what is noted of it."""
    groups = _Groups(report, source)
    return groups._plain(
        number.id,
        codes.structure(number.structure or number.name),
        numbers=[groups._number(number)],
        evaluations=notes or None,
        by=groups._by(number.evidence),
    )


def blank_gaps(item: Dataset) -> None:
    """Remove the value of each missing number below `item`; its qualifier stays (PS3.3 C.18.1).

    It is done last, since highdicom can neither make nor parse a number without a value.
    """
    for child in item.get("ContentSequence", []):
        values = child.get("MeasuredValueSequence", [])
        if any(value.NumericValue == _NO_VALUE for value in values):
            child.MeasuredValueSequence = []
        blank_gaps(child)


def tracking_uid(report: Report, item_id: str) -> str:
    """Return the UID that follows one item of an analysis through the versions of its report."""
    return uid_of("track", report.analysis_id, item_id)


def text(name: Coded, value: str, relationship: sr.RelationshipTypeValues) -> Dataset:
    """Return a TEXT content item."""
    return sr.TextContentItem(name=coded(name), value=value, relationship_type=relationship)


@dataclass(frozen=True)
class _Groups:
    report: Report
    source: Source

    def all(self) -> list[Group]:
        groups: list[Group] = [self._finding(finding) for finding in self.report.findings]
        drawn = {item for number in self.report.measurements for item in number.evidence}
        for item in self.report.evidence:
            match item:
                case BoxEvidence():
                    groups.append(self._box(item))
                case MaskEvidence():
                    groups.extend(self._mask(item))
                case PointsEvidence() if item.id not in drawn:
                    groups.extend(self._landmark(item, point) for point in item.points)
                case PointsEvidence():
                    pass  # Drawn by the measurement that rests on it.
                case ScoresEvidence():
                    groups.append(self._scores(item))
        return [*groups, *self._unattached(), *self._refused()]

    def _finding(self, finding: Finding) -> Group:
        group = self._plain(
            finding.id,
            codes.structure(finding.label),
            evaluations=[_state(self._state_of(finding)), *_quality(finding)],
            by=self._by(finding.evidence),
        )
        lines = [finding.statement or finding.label, _because(finding.reason)]
        if finding.label_set is not None:
            lines.append(f"Label set: {', '.join(finding.label_set) or 'no class'}.")
        lines.append(_rests_on(finding.evidence))
        return _add_comment(group, lines)

    def _box(self, item: BoxEvidence) -> Group:
        x_min, y_min, x_max, y_max = item.box
        ring = ((x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max))
        label = self._label_of(item)
        return self._planar(
            item, item.id, codes.structure(label), ring, self._score(item, codes.PRESENCE_SCORE)
        )

    def _mask(self, item: MaskEvidence) -> list[Group]:
        """Return the outline with the measurements of the whole, its holes, and its drawn lines."""
        measured = [number for number in self.report.measurements if item.id in number.evidence]
        drawn = [self._number(number) for number in measured if points_of(self.report, number)]
        whole = [self._number(number) for number in measured if not points_of(self.report, number)]
        outer, *holes = item.polygons
        found = codes.structure(item.label)
        groups = [
            self._planar(
                item, item.id, found, outer, [*self._score(item, codes.SEGMENT_SCORE), *whole]
            )
        ]
        groups += [
            self._planar(item, f"{item.id} hole {index}", codes.HOLE, ring, [])
            for index, ring in enumerate(holes, start=1)
        ]
        if drawn:
            groups.append(self._plain(item.id, found, numbers=drawn, by=item.specialist))
        return groups

    def _landmark(self, item: PointsEvidence, point: NamedPoint) -> Group:
        score = [] if point.score is None else [_plain_score(codes.LANDMARK_SCORE, point.score)]
        group = self._planar(
            item, f"{item.id} {point.name}", codes.LANDMARK, ((point.x, point.y),), score
        )
        return _add_comment(group, [point.name])

    def _scores(self, item: ScoresEvidence) -> Group:
        numbers = [
            _plain_score(codes.class_score(label), score) for label, score in item.scores.items()
        ]
        return self._plain(
            item.id, codes.structure(self._label_of(item)), numbers=numbers, by=item.specialist
        )

    def _unattached(self) -> list[Group]:
        """Return a group for each measurement that rests on no outline."""
        masks = {item.id for item in self.report.evidence if isinstance(item, MaskEvidence)}
        return [
            self._plain(
                number.id,
                codes.measured(number.name),
                numbers=[self._number(number)],
                by=self._by(number.evidence),
            )
            for number in self.report.measurements
            if not masks.intersection(number.evidence)
        ]

    def _refused(self) -> list[Group]:
        """Return the group that states a refusal, with the exam's measurements as not attempted."""
        if self.report.outcome is not Outcome.REFUSED:
            return []
        exam = self.report.exam.code
        expected = () if exam is None or self.report.measurements else codes.EXAM_MEASUREMENTS[exam]
        numbers = [
            self._gap(
                Measurement(id="refused", name=code.meaning, state=MeasurementState.NOT_ASSESSED),
                code,
                codes.NOT_ATTEMPTED,
            )
            for code in expected
        ]
        group = self._plain(
            "refused",
            codes.OUTCOME if exam is None else codes.SITES[exam],
            numbers=numbers,
            evaluations=[_state(codes.NOT_ASSESSED)],
        )
        return [_add_comment(group, ["Refused:", _because(self.report.reason)])]

    def _number(self, number: Measurement) -> sr.Measurement:
        code = codes.measured(number.name)
        qualifier = codes.qualifier(number)
        if number.value is None:
            return self._gap(number, code, qualifier or codes.FAILURE)
        points = points_of(self.report, number)
        made = sr.Measurement(
            name=coded(code),
            value=number.value,
            unit=coded(codes.unit(number.unit)),
            qualifier=None if qualifier is None else coded(qualifier),
            tracking_identifier=self._tracking(number.id),
            method=coded(codes.HC_HADLOCK_1984) if code == codes.GESTATIONAL_AGE else None,
            properties=_uncertainty(number),
            referenced_coordinates=[self._coordinates(points)] if points else None,
        )
        return _add_explanation(made, number)

    def _gap(self, number: Measurement, code: Coded, qualifier: Coded) -> sr.Measurement:
        """Return the measurement with its qualifier; `blank_gaps` removes its value in the end."""
        made = sr.Measurement(
            name=coded(code),
            value=_NO_VALUE,
            unit=coded(codes.unit(number.unit)),
            qualifier=coded(qualifier),
            tracking_identifier=self._tracking(f"{number.id} {code.value}"),
        )
        return _add_explanation(made, number)

    def _score(self, item: Evidence, code: Coded) -> list[sr.Measurement]:
        return [] if item.score is None else [_plain_score(code, item.score)]

    def _planar(
        self,
        item: Evidence,
        track: str,
        finding: Coded,
        points: Sequence[Point],
        numbers: list[sr.Measurement],
    ) -> Group:
        kept = thinned(points)
        closed = [*kept, kept[0]] if len(kept) > 1 else list(kept)
        shape = sr.GraphicTypeValues.POLYLINE if len(kept) > 1 else sr.GraphicTypeValues.POINT
        group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(track),
            referenced_region=sr.ImageRegion(shape, np.array(closed), self._image()),
            finding_type=coded(finding),
            finding_sites=self._sites(),
            algorithm_id=self._algorithm(item.specialist),
            measurements=numbers or None,
        )
        if len(kept) == len(points):
            return group
        return _add_comment(group, [f"Of {len(points)} points {len(kept)} are kept."])

    def _plain(
        self,
        track: str,
        finding: Coded,
        *,
        numbers: list[sr.Measurement] | None = None,
        evaluations: list[sr.QualitativeEvaluation] | None = None,
        by: str | None = None,
    ) -> Group:
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(track),
            finding_type=coded(finding),
            finding_sites=self._sites(),
            algorithm_id=self._algorithm(by) if by else None,
            measurements=numbers,
            qualitative_evaluations=evaluations,
            source_images=[
                sr.SourceImageForMeasurementGroup(
                    self.source.sop_class_uid, self.source.instance_uid, self._frames()
                )
            ],
        )

    def _coordinates(self, points: Sequence[NamedPoint]) -> sr.CoordinatesForMeasurement:
        shape = sr.GraphicTypeValues.POLYLINE if len(points) > 1 else sr.GraphicTypeValues.POINT
        places = np.array([(point.x, point.y) for point in points])
        return sr.CoordinatesForMeasurement(shape, places, self._image())

    def _image(self) -> sr.SourceImageForRegion:
        return sr.SourceImageForRegion(
            self.source.sop_class_uid, self.source.instance_uid, self._frames()
        )

    def _frames(self) -> list[int] | None:
        return None if self.source.frame is None else [self.source.frame]

    def _tracking(self, item_id: str) -> sr.TrackingIdentifier:
        return sr.TrackingIdentifier(uid=tracking_uid(self.report, item_id), identifier=item_id)

    def _algorithm(self, specialist: str) -> sr.AlgorithmIdentification:
        return sr.AlgorithmIdentification(
            name=specialist,
            version=version_of(specialist, self.report),
            manufacturer=MANUFACTURER,
            family=standard.DCM.ArtificialIntelligence,
        )

    def _sites(self) -> list[sr.FindingSite] | None:
        exam, side = self.report.exam.code, self.report.request.laterality
        if exam is None:
            return None
        return [
            sr.FindingSite(
                coded(codes.SITES[exam]),
                laterality=None if side is None else coded(codes.LATERALITIES[side]),
            )
        ]

    def _by(self, evidence: Sequence[str]) -> str | None:
        """Return the specialist that a statement rests on; None where it is none or several."""
        found = {item.specialist for item in self.report.evidence if item.id in evidence}
        return found.pop() if len(found) == 1 else None

    def _label_of(self, item: Evidence) -> str:
        """Return what the first finding that rests on the evidence is about."""
        for finding in self.report.findings:
            if item.id in finding.evidence:
                return finding.label
        return item.specialist

    def _state_of(self, finding: Finding) -> Coded:
        """Return the state of a finding; a classification is "assessed", not "present"."""
        scored = {item.id for item in self.report.evidence if isinstance(item, ScoresEvidence)}
        if finding.state is FindingState.FOUND and scored.intersection(finding.evidence):
            return codes.ASSESSED
        return codes.STATES[finding.state]


def _state(value: Coded) -> sr.QualitativeEvaluation:
    return sr.QualitativeEvaluation(name=coded(codes.STATE), value=coded(value))


def _quality(finding: Finding) -> list[sr.QualitativeEvaluation]:
    """Return what was found of a quality, such as the shape "oval"."""
    if finding.value is None:
        return []
    name, value = codes.structure(finding.label), codes.quality(finding.value)
    return [sr.QualitativeEvaluation(name=coded(name), value=coded(value))]


def _plain_score(code: Coded, score: float) -> sr.Measurement:
    return sr.Measurement(name=coded(code), value=score, unit=coded(codes.NO_UNITS))


def _uncertainty(number: Measurement) -> sr.MeasurementProperties | None:
    """Return the interval as uncertainty above and below the value (TID 310)."""
    if number.interval is None or number.value is None:
        return None
    low, high = number.interval
    properties = sr.MeasurementProperties(
        upper_measurement_uncertainty=high - number.value,
        lower_measurement_uncertainty=number.value - low,
    )
    unit = sr.CodedConcept(*codes.unit(number.unit))
    for item in properties:  # highdicom states none: it is that of the number.
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence = [unit]
    return properties


def _add_explanation(made: sr.Measurement, number: Measurement) -> sr.Measurement:
    """Add a measurement's sentence and formula to its content item, and return it."""
    item = made[0]
    lines = [number.statement, _because(number.reason)]
    if number.unreliable is not None:
        lines.append(f"{codes.UNRELIABLE.meaning}: {_because(number.unreliable)}")
    if number.coverage is not None and number.interval is not None:
        lines.append(f"The uncertainty is a {100 * number.coverage:.0f} % interval.")
    words = " ".join(line for line in lines if line)
    extra = [text(codes.COMMENT, words, _HAS_PROPERTIES)] if words else []
    if number.formula:
        extra.append(text(codes.EQUATION_CITATION, number.formula, _INFERRED_FROM))
    item.ContentSequence = [*item.get("ContentSequence", []), *extra]
    return made


def _add_comment(group: Group, lines: Sequence[str]) -> Group:
    words = " ".join(line for line in lines if line)
    group[0].ContentSequence = [*group[0].ContentSequence, text(codes.COMMENT, words, _CONTAINS)]
    return group


def _because(reason: str | None) -> str:
    return "" if not reason else reason.rstrip(".") + "."


def _rests_on(evidence: Sequence[str]) -> str:
    return f"Rests on {', '.join(evidence)}." if evidence else ""
