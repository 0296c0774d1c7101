"""Which planner the settings load, on what terms, and what its reports say."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.cli.doctor import examine
from app.errors import SettingsError
from app.settings import Settings
from app.worker.loading import SHIPPED, load_planning
from planner.case import Request
from planner.conclusion.report import conclude
from planner.errors import ExamsMisfit, StepsMisfit
from planner.run import run
from planner.vlm.card import read_card
from planner.vlm.policy import LlavaPolicy
from reports.layout import lay_out
from reports.model import Box, ExamCode, Report
from reports.release import ACCEPTED_BY, may_leave
from specialists.backbones.transunet import Features
from specialists.image import Image
from specialists.result import Result
from tests.builders import an_image
from tests.one_by_one import OneByOne
from tests.planner.schooling import ALL_TOOLS
from tests.planner.stand_ins import MemoryJournal, StandInTools, a_manifest, an_identity
from tests.planner.tiny_llava import Backbone, write_original, write_ours


class Tools(OneByOne, Backbone):
    """Specialists that answer from a table, and a backbone for the planner."""

    def __init__(self) -> None:
        super().__init__()
        self.stand_in = StandInTools()
        self.manifest = self.stand_in.manifest
        self.runtime = "stand-in"

    runner: "TorchInstead"

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        return self.stand_in.run(specialist_id, image, roi)

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        return self.stand_in.screen(specialist_id, images)


class OtherBackbone(Tools):
    def backbone_sha256(self, model_id: str) -> str | None:
        return "c" * 64

    def features(self, image: Image, model_id: str) -> Features:
        raise AssertionError("another backbone must not be asked")


def settings_of(folder: Path, **changes: object) -> Settings:
    return Settings(data_dir=folder / "data", **changes)  # type: ignore[arg-type]


def report_by(settings: Settings, tools: Tools) -> Report:
    planning = load_planning(settings, tools)
    case = run(an_image(), Request(), tools, planning.policy, MemoryJournal())
    return conclude(case, an_identity())


def test_the_rules_plan_when_asked_or_when_nothing_else_is_installed(tmp_path: Path) -> None:
    for planner in ("rules", "auto"):
        planning = load_planning(settings_of(tmp_path, planner=planner), Tools(), tmp_path)
        assert planning.policy.ref.id == "rules"
        assert planning.why_rules


def test_the_shipped_planner_plans_only_when_it_is_not_worse_than_the_rules_and_fits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(tmp_path, planner_blind=True)
    worse = write_ours(tmp_path / "worse")
    assert "worse than the rules" in str(load_planning(settings, Tools(), worse).why_rules)
    good = write_ours(tmp_path / "good", not_worse_than_rules=True)
    assert load_planning(settings, Tools(), good).policy.ref.id == "tiny"
    blind_tools = load_planning(settings, StandInTools(), good)
    assert "no backbone" in str(blind_tools.why_rules)
    other = load_planning(settings, OtherBackbone(), good)
    assert other.policy.ref.id == "rules"
    assert "train the planner again" in caplog.text


def test_a_planner_that_was_not_taught_an_exam_of_the_router_does_not_plan(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(tmp_path, planner_blind=True)
    five = [exam.value for exam in tuple(ExamCode)[:5]]
    folder = write_ours(tmp_path / "five", not_worse_than_rules=True, exams=five)
    tools = Tools()
    tools.manifest = a_manifest(ALL_TOOLS)
    planning = load_planning(settings, tools, folder)
    assert planning.policy.ref.id == "rules"
    assert "thyroid, heart, ovary, lung apart too: train the planner again" in caplog.text
    older = Tools()
    older.manifest = a_manifest(ALL_TOOLS, routed=tuple(ExamCode)[:5])
    assert load_planning(settings, older, folder).policy.ref.id == "tiny"
    assert load_planning(settings, Tools(), folder).policy.ref.id == "tiny", "refused by name"
    with pytest.raises(ExamsMisfit, match="thyroid, heart, ovary, lung"):
        load_planning(settings.model_copy(update={"planner": str(folder)}), tools)


def test_a_planner_that_was_taught_other_steps_or_does_not_say_which_does_not_plan(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(tmp_path, planner_blind=True)
    for name, card in (("other", {"steps_sha256": "a" * 64}), ("older", {"steps_sha256": None})):
        folder = write_ours(tmp_path / name, not_worse_than_rules=True, **card)
        planning = load_planning(settings, Tools(), folder)
        assert planning.policy.ref.id == "rules"
        assert "was taught other protocol steps" in str(planning.why_rules)
        with pytest.raises(StepsMisfit, match="train the planner again"):
            load_planning(settings.model_copy(update={"planner": str(folder)}), Tools())
    assert "The rules plan: tiny, which ships, is not used" in caplog.text


def test_the_doctor_says_that_the_shipped_planner_waits_for_its_training(tmp_path: Path) -> None:
    lines = {line.name: line for line in examine(settings_of(tmp_path), OtherBackbone())}
    assert lines["planner"].says.startswith(
        "rules: ustri-planner-small, which ships, is not used until it is trained again:"
    )
    assert "does it see" not in lines


def test_a_planner_that_does_not_look_is_used_only_if_told_so_and_the_report_says_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_ours(tmp_path / "mine", margin=0.5)  # Random weights are never that sure.
    with pytest.raises(SettingsError, match="USTRI_PLANNER_BLIND=true"):
        load_planning(settings_of(tmp_path, planner=str(folder)), Tools())
    report = report_by(settings_of(tmp_path, planner=str(folder), planner_blind=True), Tools())
    assert report.provenance.planner.blind
    assert any("planned without regard to what the image" in line for line in report.limitations)


def test_the_verdict_is_kept_for_the_next_start_and_not_for_another_margin(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_ours(tmp_path / "mine")
    settings = settings_of(tmp_path, planner=str(folder), planner_blind=True)
    first, second, third = Tools(), Tools(), Tools()
    one, two = load_planning(settings, first), load_planning(settings, second)
    assert one.verdict == two.verdict
    assert first.passes > 0
    assert second.passes == 0
    load_planning(settings.model_copy(update={"planner_margin": 0.4}), third)
    assert third.passes > 0


def test_a_research_licence_is_shown_and_must_be_accepted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_original(tmp_path / "llava-med-v1.5-mistral-7b")
    settings = settings_of(tmp_path, planner=str(folder), planner_blind=True)
    with pytest.raises(SettingsError, match="USTRI_ACCEPT_RESEARCH_LICENCE"):
        load_planning(settings, Tools())
    assert "research only" in caplog.text


@pytest.mark.parametrize(("accepted", "held"), [("plan", True), ("release", False)])
def test_reports_under_a_research_licence_say_so_and_stay_unless_that_is_accepted(
    tmp_path: Path, accepted: str, held: bool
) -> None:
    logging.getLogger("app.worker.loading").setLevel(logging.ERROR)
    folder = write_original(tmp_path / "llava-med-v1.5-mistral-7b")
    settings = settings_of(
        tmp_path, planner=str(folder), planner_blind=True, accept_research_licence=accepted
    )
    report = report_by(settings, Tools())
    made_by = report.provenance
    assert made_by.planner.id == "llava-med-v1.5-mistral-7b"
    assert made_by.planner.research_only
    assert "of the planner llava-med-v1.5-mistral-7b may be used for research only" in str(
        made_by.research_only
    )
    reason = may_leave(report, research_accepted=settings.research_accepted)
    assert (reason is not None) == held
    assert "by its model card the weights may be used" in lay_out(report).made.planner


def test_a_planner_that_we_trained_plans_unasked_and_its_reports_stay_all_the_same(
    tmp_path: Path,
) -> None:
    taught = [exam.value for exam in ExamCode]
    folder = write_ours(
        tmp_path / "good", not_worse_than_rules=True, research_only=True, exams=taught
    )
    for planner in ("auto", str(folder)):
        settings = settings_of(tmp_path, planner=planner, planner_blind=True)
        assert load_planning(settings, Tools(), folder).policy.ref.research_only
    said = str(report_by(settings, Tools()).provenance.research_only)
    assert said.endswith("of the planner tiny may be used for research only, by their own licence")


def test_the_planner_that_ships_says_that_it_is_for_research_only() -> None:
    card = read_card(SHIPPED)
    assert card is not None
    assert card.research_only
    assert "Research use" in card.licence


def test_the_doctor_says_what_becomes_of_reports_by_weights_for_research_only(
    tmp_path: Path,
) -> None:
    for accepted, says in (
        ("no", f"are not sent and stay preliminary; {ACCEPTED_BY}"),
        ("release", "may"),
    ):
        settings = settings_of(tmp_path, planner="rules", accept_research_licence=accepted)
        [line] = [line for line in examine(settings, Tools()) if line.name == "weights"]
        assert line.says.startswith("for research only: 5 of 5 specialists")
        assert f"their reports {says}" in line.says


def test_time_and_margin_of_the_planner_are_set(tmp_path: Path) -> None:
    folder = write_ours(tmp_path / "mine")
    settings = settings_of(
        tmp_path, planner=str(folder), planner_blind=True, planner_margin=0.3, planner_step_s=7.0
    )
    policy = load_planning(settings, Tools()).policy
    assert isinstance(policy, LlavaPolicy)
    assert (policy.least_margin, policy.budget.step_s) == (0.3, 7.0)


def test_the_doctor_says_who_plans_and_why(tmp_path: Path) -> None:
    lines = {line.name: line for line in examine(settings_of(tmp_path, planner="rules"), Tools())}
    assert lines["planner"].says == "rules: the settings ask for the rules"
    assert lines["specialists"].right
    assert lines["training"].says.startswith(("fp32 on ", "bf16 on "))


@pytest.mark.parametrize(
    ("wanted", "says"), [(True, "found and blackened"), (False, "stays in the pictures")]
)
def test_the_doctor_says_what_becomes_of_burned_in_text(
    tmp_path: Path, wanted: bool, says: str
) -> None:
    settings = settings_of(tmp_path, planner="rules", blacken_text=wanted)
    lines = {line.name: line for line in examine(settings, Tools())}
    assert lines["burned-in text"].says.startswith(says)


def test_the_doctor_says_that_the_finder_of_burned_in_text_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    lines = {line.name: line for line in examine(settings_of(tmp_path, planner="rules"), Tools())}
    assert not lines["burned-in text"].right
    assert "pip install 'ustri[ocr]'" in lines["burned-in text"].says


@pytest.mark.parametrize(
    ("blind", "then"), [(True, "every report says so"), (False, "does not start with it")]
)
def test_the_doctor_tests_the_planner_that_is_configured(
    tmp_path: Path, blind: bool, then: str
) -> None:
    folder = write_ours(tmp_path / "mine", margin=0.5)
    settings = settings_of(tmp_path, planner=str(folder), planner_blind=blind)
    line = next(line for line in examine(settings, Tools()) if line.name == "does it see")
    assert not line.right
    assert "does not follow the image" in line.says
    assert then in line.says


def test_the_doctor_says_why_torch_runs_although_openvino_was_asked_for(tmp_path: Path) -> None:
    tools = Tools()
    whole = examine(settings_of(tmp_path, planner="rules"), tools)
    assert all(line.right for line in whole)
    tools.runner = TorchInstead()
    lines = {line.name: line for line in examine(settings_of(tmp_path, planner="rules"), tools)}
    assert not lines["runtime"].right
    assert "RuntimeError: no such CPU" in lines["runtime"].says


class TorchInstead:
    fallback: str | None = "RuntimeError: no such CPU"
