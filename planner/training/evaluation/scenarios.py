"""Whole runs to evaluate a planner on: an unseen image, a request, and the recorded results."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from planner.case import STOP, Case, Record, Request
from planner.exam import unserved
from planner.plan import plan_for
from planner.policy import Policy
from planner.protocols import Protocols
from planner.run import run
from planner.training.data.examples import a_request
from planner.training.data.images import Kind
from planner.training.data.survey import Survey, Surveyed, pixels_of
from planner.training.data.teacher import Lesson, Teacher, owing, teach
from planner.training.requests.grammar import Phrasing, RequestSampler, Want, Wish, pick_want
from planner.training.requests.handwritten import PACKAGE_KEPT_ASIDE, Written, read_written
from reports.model import Box, ChosenBy, ExamCode
from specialists.deadline import Deadline
from specialists.errors import Declined
from specialists.image import Image, image_of
from specialists.manifest import Manifest
from specialists.result import ClassifyResult, Result

REQUESTED = "with a request"
BARE = "without a request"
NEW_INTENT = "unseen intents"
DISAGREE = "request and image disagree"
OTHER_HAND = "with a request by another hand"
KEPT_ASIDE = "with a request kept aside"
KEPT_OTHER = "with a request kept aside, for another exam"
"""Groups with the wordings that calibrate the margin; no planner is judged on them."""

WANTS = {
    Want.WHOLE: 0.2,
    Want.ITEMS: 0.55,
    Want.EXCEPT: 0.05,
    Want.UNSERVED: 0.12,
    Want.IRRELEVANT: 0.08,
}
"""How often each kind of request is evaluated."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """One run: the survey's row of the image, what it shows, and what is asked of it."""

    row: Surveyed
    shown: ExamCode | None
    request: Request
    wish: Wish
    group: str


class Unusable(Exception):
    """A planner's answer names no action, or one that is not legal; the run ends there."""

    def __init__(self, why: str, *, illegal: bool) -> None:
        super().__init__(why)
        self.illegal = illegal


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One step that was not forced: who took it, its margin, and whether it is right.

    It is right if it is as good as the teacher's. Rules that run the router without an expected
    exam are right in that; a planner with image input has to state what it sees.
    """

    label: str
    by_model: bool
    margin: float | None
    score: float | None
    right: bool
    routing: bool
    duration_ms: float


@dataclass(frozen=True, kw_only=True)
class Done:
    """The outcome of a run: the slots that ran, the decisions, and the planner's expected exam.

    `missing` are required slots that could still have run. `unusable` is why the run ended early,
    where the planner's answer could not be used.
    """

    slots: frozenset[str]
    decisions: tuple[Decision, ...]
    steps: int
    expected: str | None
    missing: frozenset[str]
    unusable: Unusable | None = None


@dataclass(frozen=True, kw_only=True)
class Owed:
    """The slots that had to run, and all that might run."""

    needed: frozenset[str]
    allowed: frozenset[str]


class Replayed:
    """The specialists' surveyed results for one image, whatever image is shown."""

    runtime = "survey"

    def __init__(self, manifest: Manifest, row: Surveyed) -> None:
        self.manifest = manifest
        self._row = row

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """Return the surveyed result.

        Raises:
            Declined: the specialist declined in the survey, or was not run on this image.
        """
        found = self._row.results.get(specialist_id)
        if found is None:
            raise Declined(self._row.declined.get(specialist_id, "It was not asked then."))
        return found

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        """Return the surveyed result for each image; None where the specialist declined."""
        found = self._row.results.get(specialist_id)
        return (found,) * len(images)

    def with_deadline(self, deadline: Deadline) -> "Replayed":
        """Return these tools, which take no time."""
        return self


class _Sure(Replayed):
    """Surveyed results with a router that is right and sure.

    The teacher's plan then does not depend on the router.
    """

    def __init__(self, manifest: Manifest, row: Surveyed, router: str) -> None:
        super().__init__(manifest, row)
        self._router = router

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """Return the surveyed result; the router names the exam that the image shows."""
        if specialist_id != self._router or self._row.wanted.exam is None:
            return super().run(specialist_id, image, roi)
        entry = self.manifest.specialists[specialist_id]
        shown = self._row.wanted.exam.value
        return ClassifyResult(
            specialist=specialist_id,
            sha256=str(entry.sha256),
            scores={label: float(label == shown) for label in entry.labels},
        )


class _Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record) -> None:
        """Keep the record."""
        self.records.append(record)


@dataclass(kw_only=True)
class Stage:
    """Draws scenes of a split and runs planners on them."""

    survey: Survey
    manifest: Manifest
    protocols: Protocols
    sampler: RequestSampler
    split: str = "val"
    _images: dict[str, Image] = field(default_factory=dict)

    def served(self) -> list[int]:
        """Return the rows of the split's real images whose exam is served.

        An exam that is refused by name is left out, because there every planner is refused; so is
        one that the grammar has no words for.
        """
        served = {
            exam
            for exam in self.sampler.grammar.exams
            if unserved(exam, self.protocols, self.manifest) is None
        }
        rows = self.survey.rows
        return [i for i in self.survey.of(self.split, Kind.REAL) if rows[i].wanted.exam in served]

    def draw(self, group: str, count: int, rng: np.random.Generator) -> list[Scene]:
        """Draw `count` scenes of that group, with every image in turn.

        Exams come as often as they do in the split; the other hand's requests only with images of
        exams that it wrote about.
        """
        served = self.served()
        if group == OTHER_HAND:
            written = {text.about for text in read_written()}
            served = [i for i in served if self.survey.rows[i].wanted.exam in written]
        order = [served[i] for i in rng.permutation(len(served))]
        return [self.scene(group, order[n % len(order)], rng) for n in range(count)]

    def scene(self, group: str, index: int, rng: np.random.Generator) -> Scene:
        """Draw a scene of that group with the image in that row of the survey."""
        row = self.survey.rows[index]
        shown = row.wanted.exam
        if shown is None:
            raise ValueError("a real picture shows an exam")
        if group in (OTHER_HAND, KEPT_ASIDE, KEPT_OTHER):
            return self._written_scene(group, row, shown, rng)
        others = [exam for exam in self.sampler.grammar.exams if exam is not shown]
        phrasing = Phrasing.HELD_INTENT if group == NEW_INTENT else Phrasing.HELD
        want, about, named = Want.NONE, shown, None
        if group == NEW_INTENT:
            want = Want.ITEMS
        elif group == REQUESTED:
            want = pick_want(rng, WANTS)
            named = shown if rng.random() < 0.3 else None
        elif group == DISAGREE:
            about = others[int(rng.integers(len(others)))]
            want = Want.ITEMS if rng.random() < 0.5 else Want.WHOLE
            named = about if rng.random() < 0.5 else None
        wish = self.sampler.wish(rng, want, about, phrasing)
        if group == DISAGREE and want is Want.WHOLE:
            wish = replace(wish, exam=about)
        request = a_request(rng, named, self.sampler.word(rng, wish))
        return Scene(row=row, shown=shown, request=request, wish=wish, group=group)

    def _written_scene(
        self, group: str, row: Surveyed, shown: ExamCode, rng: np.random.Generator
    ) -> Scene:
        """Draw a written request.

        It is about what the image shows or about nothing that is served, or with `KEPT_OTHER` about
        another exam.
        """
        written = read_written() if group == OTHER_HAND else read_written(PACKAGE_KEPT_ASIDE)
        about = (
            {exam for exam in self.sampler.grammar.exams if exam is not shown}
            if group == KEPT_OTHER
            else {None, shown}
        )
        fitting = [text for text in written if text.about in about]
        held = {text.want for text in fitting}
        shares = {want: share for want, share in WANTS.items() if want in held}
        whole = sum(shares.values())
        want = pick_want(rng, {want: share / whole for want, share in shares.items()})
        fitting = [text for text in fitting if text.want is want]
        text: Written = fitting[int(rng.integers(len(fitting)))]
        return Scene(
            row=row,
            shown=shown,
            request=a_request(rng, None, text.text),
            wish=text.wish(shown),
            group=group,
        )

    def image(self, row: Surveyed) -> Image:
        """Return the row's image, which is read only once."""
        if row.info.sha256 not in self._images:
            self._images[row.info.sha256] = image_of(pixels_of(row.wanted))
        return self._images[row.info.sha256]

    def owed(self, scene: Scene) -> Owed:
        """Return what the teacher does in the scene, and what may run besides."""
        tools = _Sure(self.manifest, scene.row, self.protocols.router.specialist)
        case = self._run(scene, Teacher(scene.wish, scene.shown), tools, self.image(scene.row))
        taught = self._slots(case)
        wanted = owing(plan_for(case), scene.wish, scene.shown)
        return Owed(needed=taught & wanted.needed, allowed=taught | wanted.allowed)

    def play(
        self,
        scene: Scene,
        policy: Policy,
        *,
        picture: Image | None = None,
        tools: Replayed | None = None,
    ) -> Done:
        """Run the scene with that planner; `picture` replaces the scene's own image."""
        image = picture or self.image(scene.row)
        kept, unusable = _Kept(), None
        given = tools or Replayed(self.manifest, scene.row)
        try:
            run(image, scene.request, given, policy, kept)
        except Unusable as error:
            unusable = error
        case = Case(
            image=image.info,
            request=scene.request,
            manifest=given.manifest,
            protocols=self.protocols,
            planner=policy.ref,
            records=tuple(kept.records),
            sees=policy.sees,
        )
        first = case.records[0].step.parameters if case.records else {}
        return Done(
            slots=self._slots(case),
            decisions=tuple(self._decisions(scene, case)),
            steps=len(case.records),
            expected=first.get("expect"),
            missing=_missing(case),
            unusable=unusable,
        )

    def _run(self, scene: Scene, policy: Policy, tools: Replayed, image: Image) -> Case:
        return run(image, scene.request, tools, policy, _Kept())

    def _slots(self, case: Case) -> frozenset[str]:
        return frozenset(case.state.slots) - {self.protocols.router.slot}

    def _decisions(self, scene: Scene, case: Case) -> Sequence[Decision]:
        found: list[Decision] = []
        for place, record in enumerate(case.records):
            step = record.step
            if step.chosen_by is ChosenBy.FORCED:
                continue
            before = replace(case, records=case.records[:place])
            legal = plan_for(before).legal_actions()
            lesson: Lesson = teach(before, legal, scene.wish, scene.shown)
            chosen = next(
                i for i, a in enumerate(legal) if self._same(record, a.parameters, a.name)
            )
            label = legal[chosen].label
            routing = legal[0].slot == self.protocols.router.slot
            by_model = step.chosen_by is ChosenBy.MODEL
            found.append(
                Decision(
                    label=label,
                    by_model=by_model,
                    margin=step.margin,
                    score=step.scores.get(label),
                    right=chosen in lesson.acceptable or (routing and not by_model),
                    routing=routing,
                    duration_ms=step.duration_ms,
                )
            )
        return found

    def _same(self, record: Record, parameters: dict[str, str], name: str) -> bool:
        return record.step.action == name and (name == STOP or record.step.parameters == parameters)


def _missing(case: Case) -> frozenset[str]:
    """Return the required slots that could still run when the run ended."""
    before_stop = [record for record in case.records if record.step.action != STOP]
    plan = plan_for(replace(case, records=tuple(before_stop)))
    left = {action.slot for action in plan.legal_actions() if action.slot is not None}
    return frozenset(left & plan.required)
