"""The compiled planner: one row for all orders, with the scores that torch gives."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from planner.case import Request
from planner.run import run
from planner.vlm.load import Placement, load_planner
from planner.vlm.network import Network, Template
from planner.vlm.one_pass import OnePassNetwork, fits, flat
from planner.vlm.policy import LlavaPolicy
from planner.vlm.prompt import Turn, render_prefix, render_state, rotations
from specialists.errors import Unavailable
from tests.builders import an_image
from tests.planner.stand_ins import MemoryJournal, StandInTools, breast_answers
from tests.planner.tiny_llava import (
    Backbone,
    a_med_config,
    a_network,
    a_tower_config,
    words,
    write_ours,
)

TURN = Turn(
    request_exam=None,
    question="is there a lesion?",
    state="scores:exam breast 0.96; box:lesion found 0.93",
    legal=("breast_lesion@box:lesion", "breast_lesion", "breast_2cls", "breast_3cls", "stop"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ours(tmp_path_factory.mktemp("planner"))


def loaded(folder: Path, runtime: str) -> LlavaPolicy:
    return load_planner(folder, Placement(device="cpu", runtime=runtime), Backbone())


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    return a_network(a_tower_config(len(words())), seed=3)


def test_a_row_holds_what_the_orders_share_once_and_each_sees_only_its_own_rest() -> None:
    row = flat([[7, 8, 1, 2], [7, 8, 3], [7, 8, 1, 4]])
    assert row.ids.tolist() == [7, 8, 1, 2, 3, 1, 4]
    assert row.places.tolist() == [0, 1, 2, 3, 2, 2, 3]
    assert row.last.tolist() == [3, 4, 6]
    seen = [np.flatnonzero(line).tolist() for line in row.sees]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [0, 1, 5], [0, 1, 5, 6]]


def test_rows_that_begin_differently_or_are_the_same_keep_a_token_each() -> None:
    assert flat([[1, 2], [3, 2]]).ids.tolist() == [1, 2, 3, 2]
    assert flat([[5, 6], [5, 6]]).last.tolist() == [1, 2]
    assert flat([[5, 6]]).ids.tolist() == [5, 6]


@pytest.mark.parametrize("actions", [2, 5])
def test_the_compiled_planner_gives_the_scores_of_torch(
    model: LlavaForConditionalGeneration, actions: int
) -> None:
    torch_, compiled = (
        Network(model, words(), Template()),
        OnePassNetwork(model, words(), Template()),
    )
    cells = Backbone().cells(an_image())
    states = [render_state(TURN, order) for order in rotations(actions)]
    expected = torch_.look(cells, render_prefix(TURN))
    found = compiled.look(cells, render_prefix(TURN))
    for one, other in zip(expected.kept, found.kept, strict=True):
        for part, own in zip(one, other, strict=True):
            torch.testing.assert_close(part, own, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        torch_.score(expected, states, actions),
        compiled.score(found, states, actions),
        atol=1e-4,
        rtol=0,
    )


def test_a_case_is_planned_the_same_in_torch_and_compiled(folder: Path) -> None:
    policies = loaded(folder, "torch"), loaded(folder, "openvino")
    assert [policy.network.runtime for policy in policies] == ["torch", "openvino"]
    for seed, question in enumerate((None, "lesion?", "state of the breast, request none")):
        steps = [
            [
                record.step.model_copy(update={"duration_ms": 0.0})
                for record in run(
                    an_image(seed=seed),
                    Request(question=question),
                    StandInTools(answers=breast_answers()),
                    policy,
                    MemoryJournal(),
                ).records
            ]
            for policy in policies
        ]
        assert [step.action for step in steps[0]] == [step.action for step in steps[1]]
        for one, other in zip(*steps, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=2e-4)


def test_fewer_orders_are_evenly_spaced_and_cost_fewer_tokens(folder: Path) -> None:
    assert rotations(6, 2) == ((0, 1, 2, 3, 4, 5), (3, 4, 5, 0, 1, 2))
    assert rotations(2, 4) == rotations(2)
    policy = loaded(folder, "auto")
    every = policy.scores(an_image(), TURN)
    policy.orders = 1
    alone = policy.scores(an_image(), TURN)
    assert set(alone.by_label) == set(every.by_label)
    assert alone != every


def test_threads_that_plan_together_get_what_one_alone_gets(folder: Path) -> None:
    policy = loaded(folder, "openvino")
    images = [an_image(seed=seed) for seed in range(3)]
    alone = [policy.scores(image, TURN) for image in images]
    ready = threading.Barrier(3)

    def work(place: int) -> bool:
        ready.wait(30)
        return all(policy.scores(images[place], TURN) == alone[place] for _ in range(3))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(work, range(3)))


def test_a_planner_of_another_architecture_runs_in_torch(tmp_path: Path) -> None:
    assert not fits(a_network(a_med_config(40)))
    assert load_planner(write_ours(tmp_path), Placement(runtime="torch"), Backbone()).orders is None


def test_a_card_may_state_fewer_orders(tmp_path: Path) -> None:
    assert load_planner(write_ours(tmp_path, orders=2), backbones=Backbone()).orders == 2


def test_a_graph_that_differs_from_torch_is_refused(model: LlavaForConditionalGeneration) -> None:
    class Wrong(OnePassNetwork):
        def logits(self, looked: object, rows: object) -> Tensor:
            return torch.zeros(3, 26)

    with pytest.raises(Unavailable, match="differs from torch"):
        Wrong(model, words(), Template())
