"""Check an installation: its specialists, device, reading of burned-in text, training and planner.

A planner that loads is tested for whether it looks at the image.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from app.errors import NotReady, SettingsError
from app.images.burned_in.finder import text_finder
from app.settings import Settings
from app.worker.loading import load_planning, load_tools
from planner.run import Tools
from reports.release import ACCEPTED_BY
from specialists.cards.licence import research_only_of
from specialists.training.specialist import suited


class Runner(Protocol):
    """What runs the networks."""

    fallback: str | None
    """Why torch runs although OpenVINO was asked for; None where what was asked for runs."""


@runtime_checkable
class Running(Protocol):
    """Tools that name their runner, such as `specialists.engine.Engine`."""

    runner: Runner


@dataclass(frozen=True, kw_only=True)
class Line:
    """The result of one check."""

    name: str
    right: bool
    says: str


def examine(settings: Settings, tools: Tools | None = None) -> tuple[Line, ...]:
    """Check every part of the installation and return one line for each.

    A part that stops the service from starting raises what it would raise there. `tools` are loaded
    from the settings unless given.

    Raises:
        WeightsError: a weights file of a specialist or of the planner is missing, altered or does
            not fit.
        SettingsError: the planner may not be used with these settings.
    """
    tools = tools or load_tools(settings)
    installed = len(tools.manifest.installed())
    lines = [
        Line(
            name="specialists",
            right=installed > 0,
            says=f"{installed} installed, their weights whole and unaltered",
        ),
        _runtime(settings, tools),
        *_licence(settings, tools),
        _text(settings),
        Line(name="training", right=True, says=str(suited())),
    ]
    planning = load_planning(settings.model_copy(update={"planner_blind": True}), tools)
    ref = planning.policy.ref
    why = f": {planning.why_rules.rstrip('.')}" if planning.why_rules else ""
    lines.append(Line(name="planner", right=True, says=f"{ref.id}{why}"))
    if ref.licence is not None:
        lines.append(Line(name="its licence", right=True, says=ref.licence))
    if planning.verdict is not None:
        verdict = planning.verdict
        used = "" if verdict.passed else _what_then(settings)
        lines.append(
            Line(name="does it see", right=verdict.passed, says=f"{verdict.sentence}{used}")
        )
    return tuple(lines)


def _runtime(settings: Settings, tools: Tools) -> Line:
    """Report what runs the networks, on how many cores, and why it is not what was asked for."""
    why = tools.runner.fallback if isinstance(tools, Running) else None
    cores = "all cores" if settings.threads is None else f"{settings.threads} cores"
    says = f"{tools.runtime}, {cores} a pass"
    if why is not None:
        says += f". OpenVINO does not run here, which costs time and no accuracy: {why}"
    return Line(name="runtime", right=why is None, says=says)


def _text(settings: Settings) -> Line:
    """Report what happens to burned-in text, after one search of an empty picture.

    Whoever takes pictures in needs what finds it; a worker alone does not.
    """
    name, says = "burned-in text", "stays in the pictures (USTRI_BLACKEN_TEXT=false)"
    try:
        if (find_text := text_finder(settings.blacken_text)) is not None:
            find_text(np.zeros((64, 64), np.uint8))
            says = "found and blackened before pictures are stored; small or faint text may remain"
    except (SettingsError, NotReady) as error:
        return Line(name=name, right=False, says=str(error))
    return Line(name=name, right=True, says=says)


def _licence(settings: Settings, tools: Tools) -> tuple[Line, ...]:
    """Report what happens to reports where weights are for research only."""
    manifest = tools.manifest
    installed = manifest.installed()
    bound = sum(research_only_of(entry, manifest) is not None for entry in installed)
    if not bound:
        return ()
    then = "their reports may become final and leave"
    if not settings.research_accepted:
        then = (
            "their reports are not sent and stay preliminary; "
            f"{ACCEPTED_BY} would let them become final and be sent"
        )
    says = f"for research only: {bound} of {len(installed)} specialists, as their cards say; {then}"
    return (Line(name="weights", right=True, says=says),)


def _what_then(settings: Settings) -> str:
    """Return what happens to a planner that does not look at the image."""
    if settings.planner_blind:
        return " It is used, for USTRI_PLANNER_BLIND allows it, and every report says so."
    if settings.planner == "auto":
        return " The rules plan in its place."
    return " The service does not start with it unless USTRI_PLANNER_BLIND is true."
