"""The loop: legal actions, choose, act, record, again, until `stop`."""

import time
from collections.abc import Sequence
from functools import cache, partial
from typing import Protocol, runtime_checkable

from planner.case import STOP, Case, Record, Request
from planner.choose import Action, Choice, Chooser
from planner.errors import ActionIllegal, ResultMisfit
from planner.exam import check_thresholds
from planner.legal import Plan, plan_for
from planner.protocols import SLOT_KINDS, read_protocols
from reports.model import Box, ChosenBy, Step
from reports.scanned import scanned_outline
from specialists.batching import Patience
from specialists.errors import Declined
from specialists.image import Image
from specialists.manifest import Manifest
from specialists.result import ClassifyResult, Result


class Tools(Protocol):
    """The closed set of specialists; `specialists.engine.Engine` is one."""

    @property
    def manifest(self) -> Manifest:
        """The registry that the legal actions follow from."""

    @property
    def runtime(self) -> str:
        """What the networks run on."""

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """The specialist's answer; `roi` in image pixels.

        Raises:
            Declined: it cannot answer for this image.
        """

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        """The specialist's answer for each image, in their order; None where it declines.

        Raises:
            Unavailable: it is not installed.
        """


@runtime_checkable
class Patient(Protocol):
    """Tools that can be told how long their answers are wanted; `specialists.engine.Engine` is one."""

    def within(self, patience: Patience) -> Tools:
        """The same tools, which begin nothing once `patience` ended."""


def within(tools: Tools, patience: Patience) -> Tools:
    """The tools with that patience, where they know any."""
    return tools.within(patience) if isinstance(tools, Patient) else tools


class Journal(Protocol):
    """Where records go before the next step is planned."""

    def append(self, record: Record) -> None:
        """Nothing, once the record is kept; an error of it (a lost lease) ends the run."""


def run(
    image: Image,
    request: Request,
    tools: Tools,
    chooser: Chooser,
    journal: Journal,
    records: Sequence[Record] = (),
) -> Case:
    """The finished case; with `records` of an earlier run, only what they lack is run.

    It ends: a specialist is legal at most once, and `stop` when no specialist is.

    Raises:
        ThresholdMissing: the router's manifest entry lacks a threshold.
        ActionIllegal: the chooser left the legal actions.
        ResultMisfit: a specialist answered with another kind or other labels than its slot holds.
        Unavailable: a specialist that is listed as installed cannot run.
    """
    case = Case(
        image=image.info,
        request=request,
        manifest=tools.manifest,
        protocols=read_protocols(),
        planner=chooser.ref,
        records=tuple(records),
        scanned=cache(partial(scanned_outline, image.pixels)),
        sees=chooser.sees,
    )
    check_thresholds(case.manifest, case.protocols.router.specialist)
    while not case.state.stopped:
        record = _step(image, case, tools, chooser)
        journal.append(record)
        case = case.then(record)
    return case


def _step(image: Image, case: Case, tools: Tools, chooser: Chooser) -> Record:
    started = time.perf_counter()
    plan = plan_for(case)
    legal = plan.legal_actions()
    choice = _choose(image, plan, legal, chooser)
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


def _choose(image: Image, plan: Plan, legal: tuple[Action, ...], chooser: Chooser) -> Choice:
    if len(legal) == 1:
        return Choice(
            action=legal[0], chosen_by=ChosenBy.FORCED, reason=_why_forced(plan, legal[0])
        )
    choice = chooser.choose(image, plan.case, legal)
    if choice.action not in legal:
        names = ", ".join(action.label for action in legal)
        raise ActionIllegal(f"{chooser.ref.id} chose {choice.action.label!r}; legal were {names}.")
    return choice


def _why_forced(plan: Plan, action: Action) -> str:
    if action.name != STOP:
        return "It was the only legal action."
    return plan.decision.refusal or "Nothing that the request wants is left to run."


def _act(
    image: Image, case: Case, tools: Tools, action: Action
) -> tuple[Result | None, str | None]:
    """The result, or the reason of a specialist that declined; neither for `stop`."""
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
