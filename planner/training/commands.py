"""What `ustri train planner` and `ustri evaluate planner` do."""

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import tomlkit
import torch
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm
from transformers import LlavaForConditionalGeneration

from planner.exam import routed_exams, unserved
from planner.protocols import Protocols, read_protocols
from planner.rules import Rules
from planner.training.data.examples import Example, School
from planner.training.data.images import Kind
from planner.training.data.survey import Extent, Eyes, Survey, choose_pictures, pixels_of, survey
from planner.training.evaluation.agents import Sizes
from planner.training.evaluation.evaluation import Evaluation, Panel, calibrate_margin, evaluate
from planner.training.evaluation.scenarios import Stage
from planner.training.learning.decisions import (
    Composer,
    LearnConfig,
    fold_statistics,
    standardised,
    train,
)
from planner.training.learning.network import VOCABULARY, build_network, learn_tokenizer, tower_of
from planner.training.learning.pretraining import FOLDER as READING
from planner.training.learning.pretraining import Library, ReadConfig, learn_to_read
from planner.training.learning.warm_start import start_from
from planner.training.learning.word_vectors import (
    fold_vectors,
    give_vectors,
    read_vectors,
    save_table,
    saved_table,
    words_in,
)
from planner.training.requests.grammar import RequestSampler, read_grammar
from planner.vlm.card import CARD, UNCALIBRATED, PlannerCard
from planner.vlm.features import Backbones
from planner.vlm.load import Placement, load_planner
from planner.vlm.policy import LlavaPolicy
from planner.vlm.prompt import render_prefix, render_state
from reports.model import ExamCode
from specialists.backbones.transunet import Features
from specialists.checkpoints import half, save_tensors, sha256_of
from specialists.errors import TrainingError, WeightsError
from specialists.image import Image, image_of
from specialists.load import load_engine
from specialists.manifest import Manifest, read_manifest
from specialists.model import level_widths
from specialists.training.install import git_commit
from specialists.training.state import STATE

SHIPPED = Path(__file__).parents[1] / "weights"
"""The folder of the planner that ships with the package."""
LICENCE = (
    "Research use. It was trained on answers and features of a backbone that was trained on "
    "all data sets named in the manifest, and cannot be separated from any of them."
)
TIMED_PASSES = 12
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """The configuration of a whole training of the small planner.

    With the data and the specialists it determines the result.
    """

    read: ReadConfig = field(default_factory=ReadConfig)
    learn: LearnConfig = field(default_factory=LearnConfig)
    extent: Extent = field(default_factory=Extent)
    episodes: int = 12_000
    words: Path | None = None
    """Word vectors for a new planner; without them it knows only the words of training requests."""
    init: Path | None = None
    """Folder of a planner whose language model a new one starts from; without it, at random."""
    judged: float = 1.0
    """Share of the usual number of scenes that the planner is evaluated on."""
    jobs: int = 1


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What training and evaluation rest on.

    It holds the models of the survey, the manifest, the protocols and the grammar of requests.
    """

    eyes: Eyes
    manifest: Manifest
    protocols: Protocols
    sampler: RequestSampler

    @property
    def routed(self) -> tuple[ExamCode, ...]:
        """The exams that the router distinguishes."""
        return routed_exams(self.manifest, self.protocols.router.specialist)

    @property
    def taught(self) -> tuple[ExamCode, ...]:
        """Those of the router's exams that the grammar of requests has words for."""
        return tuple(exam for exam in self.routed if exam in self.sampler.grammar.exams)

    @property
    def shown(self) -> tuple[ExamCode, ...]:
        """The exams taught and, so that a planner recognises them, those refused by name."""
        return tuple(exam for exam in self.routed if exam in self.taught or self.refused(exam))

    def refused(self, exam: ExamCode) -> str | None:
        """Return why the exam is refused by name, or None if it is served."""
        return unserved(exam, self.protocols, self.manifest)


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
    ground = _ground(user_dir)
    seen = _survey(ground, data, out / "survey", "train", config)
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
    unseen = _survey(ground, data, out / "survey", "val", config)
    panel = _panel(ground, unseen, out, card)
    card = card.model_copy(update={"margin": calibrate_margin(panel, Sizes.scaled(config.judged))})
    evaluation = evaluate(_panel(ground, unseen, out, card), Sizes.scaled(config.judged))
    card = card.model_copy(
        update={
            "not_worse_than_rules": evaluation.not_worse_than_rules,
            "metrics": evaluation.headline,
        }
    )
    write_card(out, card)
    _write_run(data, out, config, evaluation)
    return card, evaluation


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The planner to evaluate, and the folder in which surveys are kept.

    `other` is a planner of the same training from another seed, if there is one.
    """

    folder: Path
    kept: Path
    other: Path | None = None


def left_out(user_dir: Path | None = None) -> dict[ExamCode, str | None]:
    """Return the router's exams of which no request is taught, and why they are refused by name.

    None stands where they are served, and only the grammar lacks words for them.

    Raises:
        TrainingError: the router is not installed.
    """
    ground = _ground(user_dir)
    return {exam: ground.refused(exam) for exam in ground.routed if exam not in ground.taught}


def evaluate_planner(
    data: Path, judged: Judged, config: PlannerConfig, user_dir: Path | None = None
) -> Evaluation:
    """Return the figures of that planner on the val split of `data`.

    Raises:
        TrainingError: the data cannot be used, or the router is not installed.
        WeightsError: weights are missing or altered, or the planner was trained on another
            backbone.
    """
    for folder in filter(None, (judged.folder, judged.other)):
        if not (folder / CARD).is_file():
            raise WeightsError(f"There is no planner of ours in {folder}: {CARD} is missing.")
    ground = _ground(user_dir)
    unseen = _survey(ground, data, judged.kept, "val", config)
    panel = _panel(ground, unseen, judged.folder, None)
    if judged.other is not None:
        panel = replace(panel, other=_load(judged.other, SurveyedBackbone(ground, unseen)))
    return evaluate(panel, Sizes.scaled(config.judged))


def write_card(folder: Path, card: PlannerCard) -> None:
    """Write the card to `planner.toml`."""
    stated = card.model_dump(mode="json", exclude_none=True)
    (folder / CARD).write_text(tomlkit.dumps(stated), encoding="utf-8")


def _ground(user_dir: Path | None) -> Ground:
    manifest, protocols = read_manifest(user_dir), read_protocols()
    router = manifest.specialists[protocols.router.specialist]
    if not router.installed:
        raise TrainingError("The router is not installed, so that there is no state to plan from.")
    eyes = Eyes(user_dir=user_dir, tower=tower_of(manifest.models[router.model]))
    return Ground(
        eyes=eyes,
        manifest=manifest,
        protocols=protocols,
        sampler=RequestSampler(read_grammar(), protocols),
    )


def _survey(ground: Ground, data: Path, out: Path, split: str, config: PlannerConfig) -> Survey:
    labels = ground.manifest.specialists[ground.protocols.router.specialist].labels
    shows = {labels.index(exam): exam for exam in ground.shown}
    wanted = [item for item in choose_pictures(data, shows, config.extent) if item.split == split]
    return survey(ground.eyes, wanted, out, config.jobs)


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


def _panel(ground: Ground, unseen: Survey, folder: Path, card: PlannerCard | None) -> Panel:
    """Return the planner in the folder and its blind twin, on the stage of the unseen images.

    If a card is given, it is written first.
    """
    if card is not None:
        write_card(folder, card)
    planner = _load(folder, SurveyedBackbone(ground, unseen))
    blind = _load(folder, SurveyedBackbone(ground, unseen, blind=True))
    stage = Stage(
        survey=unseen, manifest=ground.manifest, protocols=ground.protocols, sampler=ground.sampler
    )
    return Panel(
        stage=stage,
        planner=planner,
        blind=blind,
        rules=Rules(ground.protocols),
        backbone_ms=_backbone_ms(ground, unseen),
    )


def _load(folder: Path, backbones: Backbones) -> LlavaPolicy:
    return load_planner(folder, Placement(device="cpu"), backbones)


class SurveyedBackbone:
    """A stand-in for the backbone that returns surveyed cells: no image is encoded again.

    With `blind`, every image has the mean cells of all real images.
    """

    def __init__(self, ground: Ground, surveyed: Survey, *, blind: bool = False) -> None:
        self._ground = ground
        self._features = surveyed.features
        self._places = {row.info.sha256: index for index, row in enumerate(surveyed.rows)}
        real = surveyed.of("val", Kind.REAL)
        self._mean = surveyed.features[real].float().mean(0) if blind else None

    def backbone_sha256(self, model_id: str) -> str | None:
        """Return the SHA-256 of the backbone that the survey used; None for another model."""
        tower = self._ground.eyes.tower
        return tower.backbone_sha256 if model_id == tower.model else None

    def features(self, image: Image, model_id: str) -> Features:
        """Return the image's levels, as coarse as the planner's grid."""
        if self._mean is not None:
            return self._levels(self._mean)
        return self._levels(self._features[self._places[image.key]].float())

    def _levels(self, cells: Tensor) -> Features:
        """Return (g², C) cells as levels, (1, C, g, g).

        Pooling to the same grid leaves these levels unchanged.
        """
        tower = self._ground.eyes.tower
        widths = level_widths(self._ground.manifest.models[tower.model])
        grid = cells.T.reshape(1, -1, tower.grid, tower.grid)
        parts = torch.split(grid, [widths[level] for level in tower.levels], dim=1)
        return dict(zip(tower.levels, parts, strict=True))


def _backbone_ms(ground: Ground, unseen: Survey) -> float:
    """Return the median time in ms of one pass of the backbone on this machine."""
    engine = load_engine(ground.manifest, "cpu")
    model = engine.manifest.models[ground.eyes.tower.model]
    times = []
    for row in unseen.rows[:TIMED_PASSES]:
        image = image_of(pixels_of(row.wanted))
        started = time.perf_counter()
        engine.encode(image, model)
        times.append((time.perf_counter() - started) * 1000)
    return float(np.median(times))


def _write_run(data: Path, out: Path, config: PlannerConfig, evaluation: Evaluation) -> None:
    """Write command, configuration, data hashes and evaluation beside the weights."""
    said = {
        "command": f"ustri train planner --data {data.name} --out {out.name}",
        "config": asdict(config)
        | {"words": None if config.words is None else config.words.name}
        | {"init": None if config.init is None else _weights_sha256(config.init)},
        "git_commit": git_commit(),
        "data_sha256": {
            path.name: sha256_of(path) for path in sorted((data / "csv_files").glob("*.csv"))
        },
    }
    (out / "run.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
    (out / "evaluation.json").write_text(evaluation.as_json(), encoding="utf-8")


def _weights_sha256(folder: Path) -> str:
    """Return the SHA-256 of that planner's weights, by which its training can be found."""
    return sha256_of(folder / "model.safetensors")
