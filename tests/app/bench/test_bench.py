"""The bench measures an analysis beside one pass and a plain service, and its pages say so."""

import json
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from app.bench.baseline import create_peer
from app.bench.latency import Only, Rounds, TimedRunner
from app.bench.replay import Replay
from app.bench.results import Document, Ratio, ratio_of, read_document
from app.cli.main import app
from planner.case import Record
from reports.model import Box
from specialists.backbones.transunet import Features
from specialists.errors import Declined, Unavailable
from specialists.image import image_of
from specialists.load import load_engine
from specialists.manifest import read_manifest
from specialists.model import Output
from specialists.phantom.draw import png_bytes
from tests.builders import a_detect_result, a_step
from tests.serving import a_phantom

THREE = ("breast_lesion_det", "breast_lesion", "breast_2cls")
SPREADS = (
    *("analysis_over_backbone", "repeat_over_backbone", "shared_over_unshared"),
    *("runtime_over_torch", "http_over_inprocess", "queue_over_inprocess", "tta_cost"),
    *("overhead_ms", "start_to_ready_s", "text_search_over_backbone"),
)
BY_CLIENTS = ("batched_over_single", "peer_over_ours", "analyses_per_s", "peer_analyses_per_s")


def shipped(*ids: str) -> tuple[str, ...]:
    """Those specialists; the test is skipped where they are not shipped."""
    if not set(ids) <= {entry.id for entry in read_manifest().installed()}:
        pytest.skip("the breast specialists are not shipped")
    return ids


def test_a_spread_is_the_median_and_the_middle_of_the_rounds() -> None:
    found = ratio_of([float(value) for value in range(11)])
    assert (found.median, found.low, found.high) == (5.0, 1.0, 9.0)


class Counting:
    """A runner whose networks answer nothing of use."""

    name = "counting"

    def backbone(self, model_id: str, pixels: torch.Tensor) -> Features:
        return {"vit": pixels}

    def distance(
        self, model_id: str, features: Features, field: torch.Tensor
    ) -> torch.Tensor | None:
        return None

    def head(
        self,
        specialist_id: str,
        features: Features,
        field: torch.Tensor,
        roi: torch.Tensor | None,
    ) -> Output:
        return field


def test_time_in_networks_is_added_up_until_it_is_taken() -> None:
    timed = TimedRunner(Counting())
    ones = torch.ones(1)
    assert timed.take_s() == 0.0
    assert timed.backbone("m", ones)["vit"] is ones
    first = timed.take_s()
    timed.backbone("m", ones)
    timed.head("s", {}, ones, None)
    assert first > 0.0
    assert timed.take_s() > 0.0
    assert timed.take_s() == 0.0
    assert timed.name == "counting"


def test_every_round_begins_with_another_case() -> None:
    order: list[str] = []
    rounds, timed = Rounds(), TimedRunner(Counting())
    cases = {name: lambda name=name: order.append(name) for name in "abc"}
    for _ in range(3):
        rounds.take(cases, timed)
    assert "".join(order) == "abcbcacab"
    assert {name: len(seconds) for name, seconds in rounds.seconds.items()} == dict.fromkeys(
        "abc", 3
    )


def test_specialists_that_are_left_out_are_not_legal() -> None:
    engine = load_engine(read_manifest(), "cpu")
    ids = shipped(*THREE)
    assert {entry.id for entry in Only(engine, ids).manifest.installed()} == set(ids)


def test_the_peer_answers_as_the_engine_does() -> None:
    ids = shipped(*THREE)
    engine = load_engine(read_manifest(), "cpu")
    phantom = a_phantom()
    image = image_of(phantom.pixels)
    sent = {"image": ("a.png", png_bytes(phantom))}
    with TestClient(create_peer(ids)) as client:
        answers = client.post("/analyze", files=sent).raise_for_status().json()
    roi: Box | None = None
    for name, answer in zip(ids, answers, strict=True):
        expected = json.loads(engine.run(name, image, roi).model_dump_json())
        for key in ("specialist", "sha256", "kind"):
            assert answer[key] == expected[key]
        for key in {"box", "score"} & set(expected):
            assert answer[key] == pytest.approx(expected[key], abs=0.05)
        if "box" in answer:
            roi = answer["box"] and tuple(answer["box"])
    assert answers[2]["scores"] == pytest.approx(expected["scores"], abs=0.02)


def test_a_replay_answers_what_was_recorded_and_nothing_else() -> None:
    found = a_detect_result()
    records = (
        Record(step=a_step(action="breast_lesion_det"), result=found, declined=None),
        Record(step=a_step(action="breast_lesion"), result=None, declined="too small"),
    )
    replay = Replay(read_manifest(), records)
    image = image_of(a_phantom().pixels)
    assert replay.run("breast_lesion_det", image) == found
    with pytest.raises(Declined, match="too small"):
        replay.run("breast_lesion", image)
    with pytest.raises(Unavailable, match="breast_2cls"):
        replay.run("breast_2cls", image)


def a_ratio(found: Document, name: str) -> Ratio:
    """That figure of the document."""
    ratio = getattr(found, name)
    assert isinstance(ratio, Ratio)
    return ratio


@pytest.mark.timeout(600)
@pytest.mark.soak
def test_a_short_run_writes_every_figure_with_its_spread_and_both_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = shipped(*THREE)
    monkeypatch.setenv("USTRI_RUNTIME", "torch")
    target, docs = tmp_path / "bench.json", tmp_path / "docs"
    docs.mkdir()
    text = (Path(__file__).parents[3] / "docs" / "deployment.md").read_text(encoding="utf-8")
    (docs / "deployment.md").write_text(text, encoding="utf-8")
    command = ["bench", "--short", "--json", str(target), "--pages", str(docs)]
    done = CliRunner().invoke(app, [*command, "--data-dir", str(tmp_path / "d")])
    assert done.exit_code == 0, done.output
    found = read_document(target)
    assert found.run.runtime == "torch-cpu-fp32"
    assert set(ids) <= set(found.run.specialists)
    ratios = [a_ratio(found, name) for name in SPREADS]
    for name in BY_CLIENTS:
        by_clients: dict[str, Ratio] = getattr(found, name)
        assert list(by_clients) == ["1", "4"]
        ratios += by_clients.values()
    ratios += [*found.heads_over_backbone.values(), found.sizing.per_core, found.sizing.web_per_s]
    for ratio in ratios:
        assert 0 < ratio.low <= ratio.median <= ratio.high
    assert set(found.memory_mb) == {"service", "web", "worker", "peer", "bench"}
    assert found.memory_mb["web"].peak < found.memory_mb["worker"].peak
    assert found.sizing.picture_bytes > 100_000
    assert found.sizing.row_bytes > 1000
    assert "A short run" in (docs / "performance.md").read_text(encoding="utf-8")
    assert not list(tmp_path.glob("d/*.db"))
