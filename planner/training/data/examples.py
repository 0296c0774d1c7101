"""Decisions for the small planner to learn: an image, a turn, and the teacher's choice."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from planner.case import Case, Record, Request, best_class
from planner.plan import plan_for
from planner.policy import Action
from planner.protocols import Protocols
from planner.training.data.images import Kind
from planner.training.data.states import all_installed, imagined, outcome_of
from planner.training.data.survey import Survey, Surveyed
from planner.training.data.teacher import Lesson, Teacher, teach
from planner.training.requests.grammar import Phrasing, RequestSampler, Want, Wish, pick, pick_want
from planner.vlm.prompt import Turn, turn_of
from reports.model import ChosenBy, ExamCode, Scope, Step
from specialists.manifest import Manifest
from specialists.result import ClassifyResult

WANTS = {
    Want.NONE: 0.10,
    Want.WHOLE: 0.15,
    Want.ITEMS: 0.40,
    Want.EXCEPT: 0.12,
    Want.UNSERVED: 0.15,
    Want.IRRELEVANT: 0.08,
}
"""How often each kind of request is drawn."""

OTHER_EXAM_ASKED = 0.18
"""Share of requests whose text is about another exam than the image shows."""
EXAM_NAMED = 0.35
"""Share of requests whose form names an exam; of these, `OTHER_EXAM_NAMED` name another one."""
OTHER_EXAM_NAMED = 0.2
NARROWED = 0.5
"""Share of requests with a text whose form narrows the report to it."""
OTHER_IMAGE = 0.15
"""Share of episodes that show the planner another image than the one that the state comes from."""
ROUTER_BY_RULES = 0.25
"""Share of episodes in which the rules ran the router, so that the state holds no expected exam."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One decision.

    `target` and `acceptable` are indices into `turn.legal`, `picture` is a row of the survey.
    """

    picture: int
    turn: Turn
    target: int
    acceptable: tuple[int, ...]
    wish: Wish
    routing: bool
    """Whether this is the first decision: which exam the image shows."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One run: the image that is seen, the one that the results come from, and the request."""

    picture: int
    row: Surveyed
    shown: ExamCode | None
    request: Request
    wish: Wish
    by_rules: bool
    """Whether the rules run the router."""


def a_request(rng: np.random.Generator, exam: ExamCode | None, question: str | None) -> Request:
    """Return a request with that text, which narrows the report to it as often as `NARROWED`."""
    narrows = question is not None and rng.random() < NARROWED
    scope = Scope.QUESTION if narrows else Scope.PROTOCOL
    return Request(exam=exam, question=question, scope=scope)


@dataclass(kw_only=True)
class School:
    """Makes examples from a survey; the generator determines them."""

    survey: Survey
    manifest: Manifest
    protocols: Protocols
    sampler: RequestSampler
    rng: np.random.Generator
    split: str = "train"
    phrasing: Phrasing = Phrasing.SEEN
    _by_exam: dict[ExamCode, list[int]] = field(init=False)
    _views: dict[ExamCode, list[int]] = field(init=False)
    _foreign: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.manifest = all_installed(self.manifest)
        self._by_exam = self._grouped(Kind.REAL)
        self._views = self._grouped(Kind.VIEW, Kind.DRAWN)
        self._foreign = self.survey.of(self.split, Kind.FOREIGN)

    def examples(self, episodes: int) -> Iterator[Example]:
        """Yield the decisions of so many episodes, in order."""
        for _ in range(episodes):
            yield from self.decisions(self.draw())

    def draw(self) -> Episode:
        """Draw an episode, with exams and kinds of request in equal or stated shares."""
        rng = self.rng
        exam = pick(rng, list(self._by_exam))
        state = pick(rng, self._by_exam[exam])
        shown: ExamCode | None = exam
        if rng.random() < OTHER_IMAGE:
            shown, picture = self._other_picture(exam)
        else:
            same = self._by_exam if rng.random() < 0.5 else self._views
            picture = state if same is self._by_exam else pick(rng, same[exam])
        want = pick_want(rng, WANTS)
        about = self._about(exam)
        wish = self.sampler.wish(rng, want, about, self.phrasing)
        named = None
        if rng.random() < EXAM_NAMED:
            named = self._other_exam(exam) if rng.random() < OTHER_EXAM_NAMED else exam
        return Episode(
            picture=picture,
            row=self.survey.rows[state],
            shown=shown,
            request=a_request(rng, named, self.sampler.word(rng, wish)),
            wish=wish,
            by_rules=bool(rng.random() < ROUTER_BY_RULES),
        )

    def decisions(self, episode: Episode) -> Iterator[Example]:
        """Yield the episode's decisions while the teacher acts.

        The episode ends at `stop`, or where no legal action is right.
        """
        case = self._case(episode)
        while not case.state.stopped:
            legal = plan_for(case).legal_actions()
            lesson = teach(case, legal, episode.wish, episode.shown)
            if lesson.target is None:
                return
            routing = legal[0].slot == self.protocols.router.slot
            if len(legal) > 1 and not (routing and episode.by_rules):
                yield self._example(episode, case, legal, lesson)
            action, by = legal[lesson.target], ChosenBy.MODEL
            if routing and episode.by_rules:
                action, by = legal[0], ChosenBy.RULES
            case = case.then(self._act(episode, case, action, by))

    def _example(
        self, episode: Episode, case: Case, legal: tuple[Action, ...], lesson: Lesson
    ) -> Example:
        return Example(
            picture=episode.picture,
            turn=turn_of(case, legal),
            target=lesson.target or 0,
            acceptable=lesson.acceptable,
            wish=episode.wish,
            routing=legal[0].slot == self.protocols.router.slot,
        )

    def _case(self, episode: Episode) -> Case:
        return Case(
            image=episode.row.info,
            request=episode.request,
            manifest=self.manifest,
            protocols=self.protocols,
            planner=Teacher.ref,
            sees=True,
        )

    def _act(self, episode: Episode, case: Case, action: Action, by: ChosenBy) -> Record:
        """Return the action's record, with its result from the survey of the state's image."""
        step = Step(
            index=case.state.steps,
            action=action.name,
            parameters=action.parameters,
            legal=(action.label,),
            chosen_by=by,
            scores={},
            margin=None,
            duration_ms=0.0,
            reason="Taught.",
        )
        if action.slot is None:
            return Record(step=step)
        if action.slot == self.protocols.router.slot:
            return Record(step=step, result=self._routed(episode.row))
        entry = self.manifest.specialists[action.name]
        row = episode.row
        found = outcome_of(entry, row.results, row.declined, row.info, self.rng)
        if isinstance(found, str):
            return Record(step=step, declined=found)
        return Record(step=step, result=found)

    def _routed(self, row: Surveyed) -> ClassifyResult:
        """Return the router's answer for the state's image.

        Where the router was wrong, and in some other cases, a confident answer for the right exam
        replaces it, so that there is a plan.
        """
        entry = self.manifest.specialists[self.protocols.router.specialist]
        result = row.results.get(entry.id)
        right = isinstance(result, ClassifyResult) and best_class(result) == row.wanted.exam
        if isinstance(result, ClassifyResult) and right and self.rng.random() < 0.7:
            return result
        made = imagined(entry, row.info, self.rng)
        sure = round(float(self.rng.uniform(0.75, 0.999)), 4)
        rest = (1 - sure) / (len(entry.labels) - 1)
        scores = {label: sure if label == row.wanted.exam else rest for label in entry.labels}
        return ClassifyResult(specialist=made.specialist, sha256=made.sha256, scores=scores)

    def _other_picture(self, exam: ExamCode) -> tuple[ExamCode | None, int]:
        """Draw an image of another exam or a foreign one; return what it shows, and its row."""
        if self._foreign and self.rng.random() < 0.5:
            return None, pick(self.rng, self._foreign)
        other = self._other_exam(exam)
        return other, pick(self.rng, self._by_exam[other] + self._views[other])

    def _about(self, exam: ExamCode) -> ExamCode:
        """Draw the exam that a request is about, which the grammar must have words for."""
        worded = [code for code in self._by_exam if code in self.sampler.grammar.exams]
        if exam in worded and self.rng.random() >= OTHER_EXAM_ASKED:
            return exam
        return pick(self.rng, [code for code in worded if code is not exam])

    def _other_exam(self, exam: ExamCode) -> ExamCode:
        return pick(self.rng, [code for code in self._by_exam if code is not exam])

    def _grouped(self, *kinds: Kind) -> dict[ExamCode, list[int]]:
        found: dict[ExamCode, list[int]] = {}
        for index in self.survey.of(self.split, *kinds):
            exam = self.survey.rows[index].wanted.exam
            if exam is not None:
                found.setdefault(exam, []).append(index)
        return dict(sorted(found.items()))
