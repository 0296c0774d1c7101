"""What ships, for tests: whether the shipped planner fits the shipped backbone and router."""

import json
from functools import cache

import pytest

from app.worker.loading import SHIPPED
from planner.errors import ExamsMisfit
from planner.exam import served_exams
from planner.protocols import read_protocols
from planner.vlm.card import check_exams, read_card
from specialists.manifest import read_manifest


@cache
def why_the_rules_plan() -> str | None:
    """Return why the shipped planner is not used with the shipped specialists; None: it is used."""
    card = read_card(SHIPPED)
    if card is None:
        return "no planner ships"
    if not card.not_worse_than_rules:
        return "the planner that ships is worse than the rules"
    tower = json.loads((SHIPPED / "config.json").read_text(encoding="utf-8"))["vision_config"]
    manifest = read_manifest()
    if manifest.models[tower["model"]].sha256 != tower["backbone_sha256"]:
        return "the planner that ships was trained on another backbone; it waits for its training"
    try:
        check_exams(card, served_exams(manifest, read_protocols()))
    except ExamsMisfit as misfit:
        return str(misfit)
    return None


def needs_shipped_planner() -> None:
    """Skip the test, with the reason, where the shipped planner does not plan."""
    if reason := why_the_rules_plan():
        pytest.skip(reason)
