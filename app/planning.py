"""The planner that the settings name: loaded, its licence accepted, and known to look at the image."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import SettingsError
from app.settings import Settings
from planner.choose import Chooser
from planner.errors import BackboneMisfit, ExamsMisfit, PlannerFailed
from planner.exam import routed_exams
from planner.protocols import read_protocols
from planner.rules import Rules
from planner.run import Tools
from reports.wording import clause
from specialists.errors import Declined

if TYPE_CHECKING:
    from planner.llava import LlavaChooser
    from planner.looking import Verdict

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parents[1] / "planner" / "weights"
"""The folder of the planner that comes with the package."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Planning:
    """Who plans; `verdict` says whether a planner that sees looks, `why_rules` why there is none."""

    chooser: Chooser
    verdict: "Verdict | None" = None
    why_rules: str | None = None


def load_planning(settings: Settings, tools: Tools, shipped: Path = SHIPPED) -> Planning:
    """Who plans with these settings.

    Raises:
        SettingsError: the planner's licence is not accepted, or it does not look at the image and is not allowed to.
        WeightsError: a file of the planner is missing, altered or does not fit.
    """
    if settings.planner == "rules":
        return _rules("the settings ask for the rules")
    if settings.planner != "auto":
        folder = Path(settings.planner).expanduser()
        _check_accepted(settings, folder)
        return _judged(settings, _load(settings, tools, folder), tools)
    from planner.card import read_card

    card = read_card(shipped)
    if card is None:
        return _rules("no planner that sees is installed")
    if not card.not_worse_than_rules:
        return _rules(f"{card.id} was worse than the rules when it was evaluated")
    from planner.backbones import Backbones

    if not isinstance(tools, Backbones):
        return _rules(f"there is no backbone through which {card.id} could see")
    try:
        chooser = _load(settings, tools, shipped)
    except (BackboneMisfit, ExamsMisfit) as error:
        why = f"{card.id}, which ships, is not used until it is trained again: {clause(str(error))}"
        log.warning("The rules plan: %s.", why)
        return _rules(why)
    found = _verdict(settings, chooser, tools)
    if not found.passed and not settings.planner_blind:
        log.warning("The rules plan. %s", found.sentence)
        return _rules(found.sentence)
    return _with(chooser, found)


def _rules(why: str) -> Planning:
    return Planning(chooser=Rules(read_protocols()), why_rules=why)


def _judged(settings: Settings, chooser: "LlavaChooser", tools: Tools) -> Planning:
    """That planner, where it looks at the image or may do without."""
    found = _verdict(settings, chooser, tools)
    if not found.passed and not settings.planner_blind:
        raise SettingsError(
            f"USTRI_PLANNER: {found.sentence} Set USTRI_PLANNER_BLIND=true to use it all the same; every report then "
            "says so."
        )
    return _with(chooser, found)


def _with(chooser: "LlavaChooser", verdict: "Verdict") -> Planning:
    chooser.ref = chooser.ref.model_copy(update={"blind": not verdict.passed})
    return Planning(chooser=chooser, verdict=verdict)


def _check_accepted(settings: Settings, folder: Path) -> None:
    """Return if a planner that `ustri train planner` did not make may plan by its licence, which is logged.

    Raises:
        SettingsError: the settings do not accept that it is for research only.
        WeightsError: its card is not readable.
    """
    from planner.card import LLAVA_MED_LICENCE, read_card

    if read_card(folder) is not None:
        return
    log.warning("Licence of the planner in %s: %s", folder, LLAVA_MED_LICENCE)
    if settings.accept_research_licence == "no":
        raise SettingsError(
            f"USTRI_PLANNER names a planner under this licence: {LLAVA_MED_LICENCE} Set "
            "USTRI_ACCEPT_RESEARCH_LICENCE=plan to accept it: reports then stay preliminary and do not leave; with "
            "=release they may."
        )


def _load(settings: Settings, tools: Tools, folder: Path) -> "LlavaChooser":
    # Here, so that torch is loaded only where a planner needs it.
    from planner.backbones import Backbones
    from planner.card import check_exams, read_card
    from planner.llava import Budget
    from planner.load import Placement, load_planner

    placement = Placement(
        device=settings.device, precision=settings.planner_precision, threads=settings.threads
    )
    backbones = tools if isinstance(tools, Backbones) else None
    routed = routed_exams(tools.manifest, read_protocols().router.specialist)
    if (card := read_card(folder)) is not None:
        check_exams(card, routed)
    chooser = load_planner(folder, placement, backbones)
    if settings.planner_margin is not None:
        chooser.least_margin = settings.planner_margin
    chooser.budget = Budget(step_s=settings.planner_step_s)
    chooser.kept_cases = max(chooser.kept_cases, settings.worker_threads)
    return chooser


def _verdict(settings: Settings, chooser: "LlavaChooser", tools: Tools) -> "Verdict":
    """Whether it looks at the image, from an earlier start with the same weights and margin, or tested now."""
    from planner.looking import EDITION, Verdict, looks

    path = settings.data_dir / "planner" / f"{chooser.ref.sha256[:16]}.json"
    exams = routed_exams(tools.manifest, read_protocols().router.specialist)
    made_by = [
        EDITION,
        chooser.ref.sha256,
        chooser.least_margin,
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
        found = looks(chooser, exams)
    except (PlannerFailed, Declined, RuntimeError, ValueError) as error:
        log.warning("The planner failed its test: %s.", type(error).__name__)
        return Verdict(changed=0.0, kept=0.0, unsure=1.0, comparisons=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"made_by": made_by, "verdict": asdict(found)}), "utf-8")
    except OSError as error:
        log.warning("The verdict on the planner is not kept: %s", error.strerror)
    return found
