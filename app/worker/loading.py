"""Loading of the specialists, and of the planner that the settings name.

The planner's licence must be accepted, and a test must have shown that the planner looks at the
image, unless the settings allow a blind one.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import SettingsError
from app.settings import Settings
from planner.errors import BackboneMisfit, ExamsMisfit, PlannerFailed, StepsMisfit
from planner.exam import routed_exams, served_exams
from planner.policy import Policy
from planner.protocols import read_protocols
from planner.rules import Rules
from planner.run import Tools
from reports.wording.phrases import clause
from specialists.errors import Declined
from specialists.manifest import read_manifest

if TYPE_CHECKING:
    from planner.vlm.policy import LlavaPolicy
    from planner.vlm.vision_check import Verdict

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parents[2] / "planner" / "weights"
"""The folder of the planner that ships with the package."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Planning:
    """The policy that plans.

    `verdict` states whether a vision-language planner looks at the image, `why_rules` why the rules
    plan instead of one.
    """

    policy: Policy
    verdict: "Verdict | None" = None
    why_rules: str | None = None


def load_planning(settings: Settings, tools: Tools, shipped: Path = SHIPPED) -> Planning:
    """Load the planner of these settings.

    Raises:
        SettingsError: the planner's licence is not accepted, or the planner does not look at the
            image and the settings do not allow that.
        WeightsError: a file of the planner is missing, altered or does not fit, or the planner that
            the settings name was trained on other exams, steps or backbone weights.
    """
    if settings.planner == "rules":
        return _rules("the settings ask for the rules")
    if settings.planner != "auto":
        folder = Path(settings.planner).expanduser()
        _check_accepted(settings, folder)
        return _judge(settings, _load(settings, tools, folder), tools)
    from planner.vlm.card import read_card

    card = read_card(shipped)
    if card is None:
        return _rules("no planner that sees is installed")
    if not card.not_worse_than_rules:
        return _rules(f"{card.id} was worse than the rules when it was evaluated")
    from planner.vlm.features import Backbones

    if not isinstance(tools, Backbones):
        return _rules(f"there is no backbone through which {card.id} could see")
    try:
        policy = _load(settings, tools, shipped)
    except (BackboneMisfit, ExamsMisfit, StepsMisfit) as error:
        why = f"{card.id}, which ships, is not used until it is trained again: {clause(str(error))}"
        log.warning("The rules plan: %s.", why)
        return _rules(why)
    found = _verdict(settings, policy, tools)
    if not found.passed and not settings.planner_blind:
        log.warning("The rules plan. %s", found.sentence)
        return _rules(found.sentence)
    return _with(policy, found)


def _rules(why: str) -> Planning:
    return Planning(policy=Rules(read_protocols()), why_rules=why)


def _judge(settings: Settings, policy: "LlavaPolicy", tools: Tools) -> Planning:
    """Return that planner if it looks at the image or the settings allow a blind one.

    Raises:
        SettingsError: the planner does not look at the image and must.
    """
    found = _verdict(settings, policy, tools)
    if not found.passed and not settings.planner_blind:
        raise SettingsError(
            f"USTRI_PLANNER: {found.sentence} Set USTRI_PLANNER_BLIND=true to use it all the same; "
            "every report then says so."
        )
    return _with(policy, found)


def _with(policy: "LlavaPolicy", verdict: "Verdict") -> Planning:
    policy.ref = policy.ref.model_copy(update={"blind": not verdict.passed})
    return Planning(policy=policy, verdict=verdict)


def _check_accepted(settings: Settings, folder: Path) -> None:
    """Check that the settings accept the licence of the planner in `folder`, and log that licence.

    A planner made by `ustri train planner` needs no acceptance.

    Raises:
        SettingsError: the settings do not accept that the planner is for research only.
        WeightsError: the planner's card is not readable.
    """
    from planner.vlm.card import LLAVA_MED_LICENCE, read_card

    if read_card(folder) is not None:
        return
    log.warning("Licence of the planner in %s: %s", folder, LLAVA_MED_LICENCE)
    if settings.accept_research_licence == "no":
        raise SettingsError(
            f"USTRI_PLANNER names a planner under this licence: {LLAVA_MED_LICENCE} Set "
            "USTRI_ACCEPT_RESEARCH_LICENCE=plan to accept it: reports then stay preliminary and do "
            "not leave; with =release they may."
        )


def _load(settings: Settings, tools: Tools, folder: Path) -> "LlavaPolicy":
    # Imported here so that torch is loaded only where a planner needs it.
    from planner.vlm.card import check_exams, check_steps, read_card
    from planner.vlm.deadline import Budget
    from planner.vlm.features import Backbones
    from planner.vlm.load import Placement, load_planner

    placement = Placement(
        device=settings.device,
        precision=settings.planner_precision,
        threads=settings.threads,
        runtime=settings.runtime,
    )
    backbones = tools if isinstance(tools, Backbones) else None
    protocols = read_protocols()
    if (card := read_card(folder)) is not None:
        check_exams(card, served_exams(tools.manifest, protocols))
        check_steps(card, protocols)
    policy = load_planner(folder, placement, backbones)
    if settings.planner_margin is not None:
        policy.least_margin = settings.planner_margin
    policy.budget = Budget(step_s=settings.planner_step_s)
    policy.kept_cases = max(policy.kept_cases, settings.worker_threads)
    return policy


def _verdict(settings: Settings, policy: "LlavaPolicy", tools: Tools) -> "Verdict":
    """Return whether the planner looks at the image.

    The verdict of an earlier start is used if test edition, weights, margin, orders, precision and
    exams are the same; otherwise the planner is tested now.
    """
    from planner.vlm.vision_check import EDITION, Verdict, looks

    path = settings.data_dir / "planner" / f"{policy.ref.sha256[:16]}.json"
    exams = routed_exams(tools.manifest, read_protocols().router.specialist)
    made_by = [
        EDITION,
        policy.ref.sha256,
        policy.least_margin,
        policy.orders,
        settings.planner_precision,
        list(exams),
    ]
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["made_by"] == made_by:
            return Verdict(**kept["verdict"])
    except (OSError, ValueError, KeyError, TypeError):
        log.info("Whether the planner looks at the image is tested now.")
    try:
        found = looks(policy, exams)
    except (PlannerFailed, Declined, RuntimeError, ValueError) as error:
        log.warning("The planner failed its test: %s.", type(error).__name__)
        return Verdict(changed=0.0, kept=0.0, unsure=1.0, comparisons=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"made_by": made_by, "verdict": asdict(found)}), "utf-8")
    except OSError as error:
        log.warning("The verdict on the planner is not kept: %s", error.strerror)
    return found


def load_tools(settings: Settings) -> Tools:
    """Load the specialists with their networks and check the weights; this imports torch.

    Raises:
        WeightsError: a manifest or a weights file is missing, truncated or altered.
    """
    from specialists.load import load_engine  # Here so that the web process never loads torch.
    from specialists.runtime.runner import RuntimeOptions

    options = RuntimeOptions(
        runtime=settings.runtime,
        precision=settings.precision,
        threads=settings.threads,
        cache_dir=settings.cache_dir,
    )
    return load_engine(read_manifest(settings.specialists_dir), settings.device, options)
