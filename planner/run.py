"""The planning loop: list the legal actions, choose one, run it and record it, until `stop`."""

import time
from collections.abc import Sequence
from functools import cache, partial
from typing import Protocol

from planner.case import STOP, Case, Record, Request
from planner.errors import ActionIllegal, ResultMisfit
from planner.exam import check_thresholds
from planner.plan import Plan, plan_for
from planner.policy import Action, Choice, Policy
from planner.protocols import SLOT_KINDS, read_protocols
from reports.measure.scan_area import scanned_outline
from reports.model import Box, ChosenBy, Step
from reports.wording.phrases import sentence
from specialists.deadline import Deadline
from specialists.errors import Declined
from specialists.image import Image
from specialists.manifest import Manifest
from specialists.result import ClassifyResult, Result


class Tools(Protocol):
    """The closed set of specialists; `specialists.engine.Engine` is one implementation."""

    @property
    def manifest(self) -> Manifest:
        """The registry from which the legal actions follow."""

    @property
    def runtime(self) -> str:
        """The runtime that executes the networks."""

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """Return the specialist's result; `roi` is in image pixels.

        Raises:
            Declined: the specialist cannot answer for this image.
        """

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        """Return the specialist's result for each image, in their order; None where it declines.

        Raises:
            Unavailable: the specialist is not installed.
        """

    def with_deadline(self, deadline: Deadline) -> "Tools":
        """Return the same tools, which begin no work once `deadline` has passed.

        Tools that take no time may return themselves.
        """


class Journal(Protocol):
    """Where records are stored before the next step is planned."""

    def append(self, record: Record) -> None:
        """Store the record; an error, such as a lost lease, ends the run."""


def run(
    image: Image,
    request: Request,
    tools: Tools,
    policy: Policy,
    journal: Journal,
    records: Sequence[Record] = (),
) -> Case:
    """Run the planning loop and return the finished case.

    With `records` of an earlier run, only the missing steps are run. The loop ends, because a
    specialist is legal at most once, and `stop` is legal when no specialist is.

    Raises:
        ThresholdMissing: the router's manifest entry lacks a threshold.
        ActionIllegal: the policy chose an action that is not legal.
        ResultMisfit: a specialist returned a result whose kind or labels do not fit its slot.
        Unavailable: a specialist that is listed as installed cannot run.
    """
    case = Case(
        image=image.info,
        request=request,
        manifest=tools.manifest,
        protocols=read_protocols(),
        planner=policy.ref,
        records=tuple(records),
        scanned=cache(partial(scanned_outline, image.pixels)),
        grey=lambda: image.pixels,
        sees=policy.sees,
    )
    check_thresholds(case.manifest, case.protocols.router.specialist)
    while not case.state.stopped:
        record = _step(image, case, tools, policy)
        journal.append(record)
        case = case.then(record)
    return case


def _step(image: Image, case: Case, tools: Tools, policy: Policy) -> Record:
    started = time.perf_counter()
    plan = plan_for(case)
    legal = plan.legal_actions()
    choice = _choose(image, plan, legal, policy)
    result, declined = _act(image, case, tools, choice.action)
    step = Step(
        index=case.state.steps,
        action=choice.action.name,
        parameters=choice.action.parameters,
        legal=tuple(action.label for action in legal),
        chosen_by=choice.chosen_by,
        scores=dict(choice.scores),
        margin=choice.margin,
        duration_ms=(time.perf_counter() - started) * 1000,
        reason=choice.reason,
    )
    return Record(step=step, result=result, declined=declined)


def _choose(image: Image, plan: Plan, legal: tuple[Action, ...], policy: Policy) -> Choice:
    if len(legal) == 1:
        return Choice(
            action=legal[0], chosen_by=ChosenBy.FORCED, reason=_why_forced(plan, legal[0])
        )
    choice = policy.choose(image, plan.case, legal)
    if choice.action not in legal:
        names = ", ".join(action.label for action in legal)
        raise ActionIllegal(f"{policy.ref.id} chose {choice.action.label!r}; legal were {names}.")
    return choice


def _why_forced(plan: Plan, action: Action) -> str:
    if action.name != STOP:
        return "It was the only legal action."
    if plan.decision.refusal is None:
        return "Nothing that the request wants is left to run."
    because = plan.decision.because
    return plan.decision.refusal + ("" if because is None else f" {sentence(because)}")


def _act(
    image: Image, case: Case, tools: Tools, action: Action
) -> tuple[Result | None, str | None]:
    """Return the result, or the reason why the specialist declined; neither for `stop`."""
    if action.slot is None:
        return None, None
    roi = None if action.roi is None else case.state.box(action.roi)
    try:
        result = tools.run(action.name, image, roi)
    except Declined as error:
        return None, str(error) or f"{action.name} declined without a reason."
    if result.kind != SLOT_KINDS[action.slot.partition(":")[0]]:
        raise ResultMisfit(
            f"{action.name} answered {result.kind!r}, which cannot fill {action.slot}."
        )
    labels = case.manifest.specialists[action.name].labels
    if isinstance(result, ClassifyResult) and set(result.scores) != set(labels):
        raise ResultMisfit(
            f"{action.name} scored {', '.join(result.scores)}; its labels are {', '.join(labels)}."
        )
    return result, None
