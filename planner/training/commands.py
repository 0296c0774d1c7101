"""What `ustri train planner` does."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm
from transformers import LlavaForConditionalGeneration

from planner.training.config import PlannerConfig
from planner.training.data.examples import Example, School
from planner.training.data.images import Kind
from planner.training.data.survey import Survey
from planner.training.evaluation.evaluation import Evaluation
from planner.training.ground import Ground, stand_on, survey_of
from planner.training.judging import read_unseen, settle
from planner.training.learning.decisions import (
    Composer,
    fold_statistics,
    standardised,
    train,
)
from planner.training.learning.network import VOCABULARY, build_network, learn_tokenizer
from planner.training.learning.pretraining import FOLDER as READING
from planner.training.learning.pretraining import Library, learn_to_read
from planner.training.learning.warm_start import start_from
from planner.training.learning.word_vectors import (
    fold_vectors,
    give_vectors,
    read_vectors,
    save_table,
    saved_table,
    words_in,
)
from planner.vlm.card import UNCALIBRATED, PlannerCard
from planner.vlm.prompt import render_prefix, render_state
from reports.model import ExamCode
from specialists.checkpoints import half, save_tensors, sha256_of
from specialists.errors import TrainingError
from specialists.training.install import git_commit
from specialists.training.state import STATE

SHIPPED = Path(__file__).parents[1] / "weights"
"""The folder of the planner that ships with the package."""
LICENCE = (
    "Research use. It was trained on answers and features of a backbone that was trained on "
    "all data sets named in the manifest, and cannot be separated from any of them."
)
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Language:
    """The tokenizer, and the (V, D) vectors of its tokens that are words, if there are any."""

    tokenizer: Tokenizer
    vectors: Tensor | None


def train_planner(
    data: Path, out: Path, config: PlannerConfig, *, resume: bool, user_dir: Path | None = None
) -> tuple[PlannerCard, Evaluation]:
    """Train the small planner on train, evaluate it on val, and return its card and figures.

    Everything is written to `out`.

    Raises:
        TrainingError: the data cannot be used, or there is nothing to resume.
        WeightsError: a specialist's weights are missing or altered.
    """
    if resume and not any((folder / STATE).is_file() for folder in (out, out / READING)):
        raise TrainingError(f"There is no training to resume in {out}.")
    out.mkdir(parents=True, exist_ok=True)
    ground = stand_on(user_dir)
    seen = survey_of(ground, data, out / "survey", "train", config)
    known = _known(out) if resume else None
    language, network, composer, examples = _school(ground, seen, config, known)
    _keep(out, language)
    planning = resume and (out / STATE).is_file()
    if not planning:
        library = Library(language.tokenizer, ground.sampler, composer.meanings)
        learn_to_read(network, library, config.read, out, resume=resume)
    train(network, composer, examples, config.learn, out, resume=planning)
    fold_statistics(network, composer.pictures)
    fold_vectors(network, VOCABULARY)
    card = PlannerCard(
        id="ustri-planner-small",
        sha256=save_tensors(out / "model.safetensors", half(network), {}),
        licence=LICENCE,
        research_only=True,
        margin=UNCALIBRATED,
        exams=ground.taught,
        steps_sha256=ground.protocols.steps_sha256,
    )
    network.config.to_json_file(out / "config.json")
    unseen = read_unseen(ground, data, out / "survey", config)
    _write_run(data, out, config)
    return settle(out, card, unseen, config.judged)


def left_out(user_dir: Path | None = None) -> dict[ExamCode, str | None]:
    """Return the router's exams of which no request is taught, and why they are refused by name.

    None stands where they are served, and only the grammar lacks words for them.

    Raises:
        TrainingError: the router is not installed.
    """
    ground = stand_on(user_dir)
    return {exam: ground.refused(exam) for exam in ground.routed if exam not in ground.taught}


def _school(
    ground: Ground, seen: Survey, config: PlannerConfig, known: Language | None
) -> tuple[Language, LlavaForConditionalGeneration, Composer, list[Example]]:
    """Return what a training needs: the same language, network and examples for the same seed.

    A known language is kept, because what was learnt of its tokens would be meaningless with
    another.
    """
    seed = config.learn.seed
    school = School(
        survey=seen,
        manifest=ground.manifest,
        protocols=ground.protocols,
        sampler=ground.sampler,
        rng=np.random.default_rng([seed, 1]),
    )
    episodes = tqdm(range(config.episodes), desc="episodes", disable=None)
    examples = [example for _ in episodes for example in school.decisions(school.draw())]
    language = known or _new_language(ground, examples, config)
    torch.manual_seed(seed)
    network = build_network(language.tokenizer, ground.eyes.tower)
    if language.vectors is not None:
        give_vectors(network, language.vectors)
    if config.init is not None:
        start_from(network, language.tokenizer, config.init)
    pictures = standardised(seen.features, seen.of("train", Kind.REAL, Kind.VIEW))
    composer = Composer(language.tokenizer, pictures, ground.sampler)
    return language, network, composer, examples


def _new_language(ground: Ground, examples: list[Example], config: PlannerConfig) -> Language:
    """Return a tokenizer trained on these prompts, with the vectors of its whole words.

    It has whole words as tokens only if there are vectors of them.
    """
    rng = np.random.default_rng([config.learn.seed, 2])
    prompts = (
        text
        for example in examples
        for text in (
            render_prefix(replace(example.turn, question=ground.sampler.word(rng, example.wish))),
            render_state(example.turn, range(len(example.turn.legal))),
        )
    )
    if config.words is None:
        return Language(tokenizer=learn_tokenizer(prompts, ground.protocols), vectors=None)
    vectors = read_vectors(config.words)
    words = vectors.near(words_in(ground.sampler.grammar.taught()))
    tokenizer = learn_tokenizer(prompts, ground.protocols, words)
    return Language(tokenizer=tokenizer, vectors=vectors.table(tokenizer))


def _known(out: Path) -> Language | None:
    """Return the language of the training in that folder; None if the training has not begun."""
    path = out / TOKENIZER
    if not path.is_file():
        return None
    return Language(tokenizer=Tokenizer.from_file(str(path)), vectors=saved_table(out))


def _keep(out: Path, language: Language) -> None:
    language.tokenizer.save(str(out / TOKENIZER))
    if language.vectors is not None:
        save_table(out, language.vectors)


def _write_run(data: Path, out: Path, config: PlannerConfig) -> None:
    """Write command, configuration and data hashes beside the weights."""
    said = {
        "command": f"ustri train planner --data {data.name} --out {out.name}",
        "config": asdict(config)
        | {"words": None if config.words is None else config.words.name}
        | {"init": None if config.init is None else sha256_of(config.init / "model.safetensors")},
        "git_commit": git_commit(),
        "data_sha256": {
            path.name: sha256_of(path) for path in sorted((data / "csv_files").glob("*.csv"))
        },
    }
    (out / "run.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
