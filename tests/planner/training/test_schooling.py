"""The teacher's examples are legal and right, and the small planner learns them as used."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from planner.case import Request
from planner.plan import plan_for
from planner.protocols import read_protocols
from planner.training.data.examples import Example, School
from planner.training.data.images import FOREIGN, FOREIGN_HELD_OUT, Kind, foreign, moved_view
from planner.training.data.states import all_installed, imagined
from planner.training.data.survey import Survey
from planner.training.data.teacher import NOTHING, due, owing
from planner.training.learning.decisions import (
    Batch,
    Composer,
    LearnConfig,
    fold_statistics,
    score,
    standardised,
    train,
)
from planner.training.learning.intents import Meanings
from planner.training.learning.network import Size, action_names, build_network, learn_tokenizer
from planner.training.requests.grammar import Phrasing, Want, Wish, read_grammar
from planner.vlm.network import Network, Template
from planner.vlm.prompt import render_prefix, render_state
from reports.model import ExamCode, Scope
from specialists.errors import TrainingError
from specialists.image import image_of
from specialists.manifest import read_manifest
from specialists.result import ClassifyResult, SegmentResult
from tests.builders import an_image
from tests.planner.schooling import ALL_TOOLS, TOWER, a_generator, a_sampler, a_survey
from tests.planner.stand_ins import StandInTools, a_manifest, run_case
from tests.specialists.nets import IN_FP32

PROTOCOLS = read_protocols()


def a_wish(want: Want, *items: str, exam: ExamCode | None = None) -> Wish:
    return Wish(want=want, about=ExamCode.BREAST, items=items, exam=exam)


@pytest.fixture
def surveyed(tmp_path: Path) -> Survey:
    return a_survey(tmp_path, "train", read_grammar().exams)


@pytest.fixture
def school(surveyed: Survey) -> School:
    return School(
        survey=surveyed,
        manifest=a_manifest(ALL_TOOLS),
        protocols=PROTOCOLS,
        sampler=a_sampler(),
        rng=a_generator(),
    )


def test_every_target_is_legal_and_acceptable(school: School) -> None:
    examples = list(school.examples(60))
    assert len(examples) > 60
    for example in examples:
        assert example.target in example.acceptable
        assert all(0 <= index < len(example.turn.legal) for index in example.acceptable)
        assert len(example.turn.legal) > 1
        assert example.wish.phrasing is Phrasing.SEEN


def test_the_first_lesson_is_what_the_picture_shows(school: School, surveyed: Survey) -> None:
    seen = set()
    for example in school.examples(80):
        if example.routing:
            exam = surveyed.rows[example.picture].wanted.exam
            name = "exam_cls" if exam is None else f"exam_cls@{exam.value}"
            assert example.turn.legal[example.target] == name
            seen.add(exam)
    assert None in seen
    assert len(seen) > 3


def test_an_exam_without_words_is_shown_and_no_request_is_about_it(tmp_path: Path) -> None:
    school = School(
        survey=a_survey(tmp_path, "train", tuple(ExamCode)),
        manifest=a_manifest(ALL_TOOLS),
        protocols=PROTOCOLS,
        sampler=a_sampler(),
        rng=a_generator(),
    )
    drawn = [school.draw() for _ in range(200)]
    assert {episode.row.wanted.exam for episode in drawn} == set(ExamCode)
    assert {episode.wish.about for episode in drawn} == set(read_grammar().exams)
    taught = [example for episode in drawn[:80] for example in school.decisions(episode)]
    assert "exam_cls@lung" in {e.turn.legal[e.target] for e in taught if e.routing}


@pytest.mark.parametrize("name", ALL_TOOLS)
def test_a_specialist_without_weights_has_made_up_results(name: str) -> None:
    entry = all_installed(read_manifest()).specialists[name]
    made = imagined(entry, image_of(an_image(60, 80).pixels).info, a_generator())
    if isinstance(made, ClassifyResult):
        assert tuple(made.scores) == entry.labels
        assert sum(made.scores.values()) == pytest.approx(1, abs=1e-3)
    if isinstance(made, SegmentResult):
        assert {component.label for component in made.components} <= set(entry.labels[1:])


def test_the_suspicion_of_a_nodule_needs_a_specialist_that_may_not_be_installed() -> None:
    needed = due(a_wish(Want.ITEMS, "nodule_suspicion"), ExamCode.THYROID, PROTOCOLS).needed
    assert needed == {"box:nodule", "scores:tirads"}


def test_one_item_needs_its_slot_and_what_that_follows_from() -> None:
    shown = ExamCode.FETAL_HEAD
    assert due(a_wish(Want.ITEMS, "hc"), shown, PROTOCOLS).needed == {"mask:head"}
    assert not due(a_wish(Want.ITEMS, "hc"), shown, PROTOCOLS).allowed
    area = due(a_wish(Want.ITEMS, "lesion_area"), ExamCode.BREAST, PROTOCOLS)
    assert area.needed == {"box:lesion", "mask:lesion"}


@pytest.mark.parametrize(
    "wish",
    [
        a_wish(Want.UNSERVED),
        a_wish(Want.ITEMS, "aop"),
        a_wish(Want.WHOLE, exam=ExamCode.NERVE),
        a_wish(Want.EXCEPT, "aop"),
    ],
)
def test_what_the_picture_does_not_serve_is_not_done(wish: Wish) -> None:
    assert due(wish, ExamCode.BREAST, PROTOCOLS) == NOTHING
    assert due(wish, None, PROTOCOLS) == NOTHING


@pytest.mark.parametrize(
    ("wish", "question"),
    [
        (a_wish(Want.UNSERVED), "elastography"),
        (a_wish(Want.ITEMS, "lesion_area"), "area"),
        (a_wish(Want.ITEMS, "hc"), "head circumference"),
        (a_wish(Want.EXCEPT, "classification"), "all without the classification"),
    ],
)
def test_the_teacher_runs_what_the_protocol_requires_whatever_is_asked(
    wish: Wish, question: str
) -> None:
    case = run_case(StandInTools(), Request(question=question))
    owed = owing(plan_for(case), wish, ExamCode.BREAST)
    assert owed.needed == {"box:lesion", "mask:lesion", "scores:malignancy"}
    assert owed.allowed == {"scores:breast"}


def test_the_teacher_does_what_a_narrowed_request_asks_and_what_its_words_mean_besides() -> None:
    area = a_wish(Want.ITEMS, "lesion_area")
    case = run_case(StandInTools(), Request(question="area", scope=Scope.QUESTION))
    plan = plan_for(case)
    assert owing(plan, area, ExamCode.BREAST).needed == {"box:lesion", "mask:lesion"}
    both = a_wish(Want.ITEMS, "lesion_area", "classification")
    assert "scores:malignancy" in owing(plan, both, ExamCode.BREAST).needed


def test_half_of_the_requests_in_words_narrow_the_report(school: School) -> None:
    drawn = [school.draw().request for _ in range(60)]
    worded = [request.scope for request in drawn if request.question]
    assert 0.3 < worded.count(Scope.QUESTION) / len(worded) < 0.7
    assert {request.scope for request in drawn if not request.question} <= {Scope.PROTOCOL}


def test_what_is_excluded_alone_is_left_out() -> None:
    needed = due(a_wish(Want.EXCEPT, "csp"), ExamCode.FETAL_HEAD, PROTOCOLS).needed
    assert "box:csp" not in needed
    assert {"box:brain", "mask:head"} <= needed


def test_an_irrelevant_request_is_no_request() -> None:
    whole = due(a_wish(Want.NONE), ExamCode.BREAST, PROTOCOLS)
    assert due(a_wish(Want.IRRELEVANT), ExamCode.BREAST, PROTOCOLS) == whole
    assert whole.allowed == {"scores:breast"}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_picture_has_the_size_of_its_source(name: str) -> None:
    source = an_image(96, 128).pixels
    made = foreign(name, source, a_generator())
    assert made.dtype == np.uint8
    assert abs(made.shape[0] - 96) < 24
    assert abs(made.shape[1] - 128) < 24


def test_some_kinds_of_foreign_pictures_are_kept_for_judging() -> None:
    assert set(FOREIGN_HELD_OUT) < set(FOREIGN)


def test_a_moved_view_has_another_shape() -> None:
    pixels = an_image(96, 128).pixels
    rng = a_generator()
    ratios = {round(np.divide(*moved_view(pixels, rng).shape), 2) for _ in range(8)}
    assert len(ratios) > 4


def parts(
    surveyed: Survey, examples: Sequence[Example]
) -> tuple[Composer, LlavaForConditionalGeneration]:
    texts = [
        render_prefix(e.turn) + render_state(e.turn, range(len(e.turn.legal))) for e in examples
    ]
    tokenizer = learn_tokenizer(texts, PROTOCOLS)
    torch.manual_seed(0)
    network = build_network(tokenizer, TOWER, Size(width=48, layers=6, heads=4))
    pictures = standardised(surveyed.features, surveyed.of("train", Kind.REAL))
    return Composer(tokenizer, pictures, a_sampler()), network


class OneBatch(Composer):
    """Gives the same batch for ever."""

    kept: Batch

    def batches(
        self, examples: Sequence[Example], size: int, rng: np.random.Generator
    ) -> Iterator[Batch]:
        while True:
            yield self.kept


def test_ten_decisions_can_be_learnt_by_heart(
    school: School, surveyed: Survey, tmp_path: Path
) -> None:
    examples = list(school.examples(12))[:10]
    composer, network = parts(surveyed, examples)
    one = OneBatch(composer.tokenizer, composer.pictures, composer.sampler)
    one.kept = next(composer.batches(examples, 10, a_generator()))
    config = LearnConfig(steps=160, batch=10, rate=5e-3, warmup=5, save_every=80, compute=IN_FP32)
    train(network, one, examples, config, tmp_path, resume=False)
    with torch.no_grad():
        scores = score(network, one.kept, composer.labels).letters
    assert (scores.argmax(1) == one.kept.answers).float().mean() > 0.9
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2


def test_a_training_goes_on_where_it_was_cut_short_and_only_there(
    school: School, surveyed: Survey, tmp_path: Path
) -> None:
    examples = list(school.examples(6))
    composer, network = parts(surveyed, examples)
    config = LearnConfig(steps=2, batch=4, save_every=1, compute=IN_FP32)
    with pytest.raises(TrainingError, match="resume"):
        train(network, composer, examples, config, tmp_path, resume=True)
    train(network, composer, examples, config, tmp_path, resume=False)
    longer = LearnConfig(steps=3, batch=4, save_every=1, compute=IN_FP32)
    train(network, composer, examples, longer, tmp_path, resume=True)
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3


def test_the_planner_reads_the_tokens_and_gives_the_scores_of_its_training(
    school: School, surveyed: Survey
) -> None:
    examples = list(school.examples(12))
    composer, network = parts(surveyed, examples)
    network.eval()
    example = max(examples, key=lambda e: len(e.turn.legal))
    order = list(range(len(example.turn.legal)))
    drawn = composer.drawn(example, order)
    with torch.no_grad():
        trained = score(network, composer.collate([drawn]), composer.labels).letters[0]
    fold_statistics(network, composer.pictures)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=composer.tokenizer)
    served = Network(network, tokenizer, Template())
    cells = surveyed.features[example.picture].float().T.reshape(1, -1, TOWER.grid, TOWER.grid)
    looked = served.look(cells, render_prefix(example.turn))
    states = [render_state(example.turn, order)]
    found = served.score(looked, states, len(order))[0]
    tokens = served.tokens_before(render_prefix(example.turn), TOWER.grid**2)
    assert [*tokens, *served.tokens_after(states[0])] == drawn.tokens
    torch.testing.assert_close(found, trained.log_softmax(0), atol=1e-3, rtol=1e-3)


def test_the_meaning_of_a_wish_is_told_apart_from_every_other() -> None:
    meanings = Meanings(PROTOCOLS)
    wishes = [
        a_wish(Want.NONE),
        a_wish(Want.UNSERVED),
        a_wish(Want.WHOLE),
        a_wish(Want.WHOLE, exam=ExamCode.NERVE),
        a_wish(Want.ITEMS, "lesion"),
        a_wish(Want.ITEMS, "lesion", "classification"),
        a_wish(Want.EXCEPT, "lesion"),
    ]
    rows = meanings.of(wishes)
    assert rows.shape == (7, len(meanings))
    assert len({tuple(row.tolist()) for row in rows}) == len(wishes)
    needed = due(wishes[5], ExamCode.BREAST, PROTOCOLS).needed
    assert rows[5].sum() == 4 + len(needed)  # kind, two questions, exam of the words, slots


def test_the_layer_that_tells_the_meaning_does_not_ship(
    school: School, surveyed: Survey, tmp_path: Path
) -> None:
    examples = list(school.examples(4))
    composer, network = parts(surveyed, examples)
    before = set(network.state_dict())
    config = LearnConfig(steps=1, batch=4, save_every=1, compute=IN_FP32)
    train(network, composer, examples, config, tmp_path, resume=False)
    assert set(network.state_dict()) == before


def test_the_name_of_every_action_is_one_token() -> None:
    tokenizer = learn_tokenizer(["stop answer"] * 3, PROTOCOLS)
    for name in action_names(PROTOCOLS):
        if name != "stop":
            assert len(tokenizer.encode(f"A {name}").ids) == 2, name
    assert tokenizer.decode(tokenizer.encode("Straße? ½ 東").ids) == "Straße? ½ 東"
