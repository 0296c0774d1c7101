"""The small planner's tokenizer, and a LLaVA of its size with random weights.

The tokenizer is learnt from the planner's own prompts.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    trainers,
)
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from planner.case import STOP
from planner.protocols import Protocols
from planner.training.learning.word_vectors import SPACE
from planner.vlm.prompt import INSTRUCTIONS, LABELS
from planner.vlm.vision_tower import UsgenTowerConfig
from reports.model import ExamCode
from specialists.errors import TrainingError
from specialists.manifest import ModelEntry
from specialists.model import level_widths

IMAGE, PAD = "<image>", "<pad>"

VOCABULARY = 3000

FIXED = (
    INSTRUCTIONS,
    "\nexam: ",
    "\nscope: ",
    "\nrequest:",
    "state: ",
    "\nactions:\n",
    "\nanswer:",
)
"""Parts of every prompt that are one token each.

No request holds a line break (see `planner.vlm.prompt.plain`).
"""

GRID = 4


def action_names(protocols: Protocols) -> list[str]:
    """Return every action's label and every slot: one token each, however long they are."""
    router = protocols.router
    names = {STOP, router.slot, router.specialist}
    names |= {f"{router.specialist}@{exam.value}" for exam in ExamCode}
    for protocol in protocols.exams.values():
        for step in protocol.steps:
            names |= {step.slot, *step.specialists}
            if step.roi is not None:
                names |= {f"{specialist}@{step.roi}" for specialist in step.specialists}
    return sorted(names)


def learn_tokenizer(
    prompts: Iterable[str], protocols: Protocols, words: Sequence[str] = ()
) -> Tokenizer:
    """Return a byte-level tokenizer learnt from those prompts.

    It can encode any text. Each name of an action is one token, and so is each of `words` with a
    space before it.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(prompts, trainer)
    tokenizer = _with_words(tokenizer, words)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in FIXED])
    tokenizer.add_tokens(
        [
            AddedToken(name, lstrip=True, normalized=False, single_word=True)
            for name in action_names(protocols)
            if name != STOP
        ]
    )
    return tokenizer


def _with_words(tokenizer: Tokenizer, words: Sequence[str]) -> Tokenizer:
    """Return the tokenizer with each of `words` as one token, whatever its pieces are."""
    held = json.loads(tokenizer.to_str())
    vocabulary = held["model"]["vocab"]
    for word in words:
        vocabulary.setdefault(f"{SPACE}{word}", len(vocabulary))
    held["model"]["ignore_merges"] = True
    return Tokenizer.from_str(json.dumps(held))


def in_pieces(tokenizer: Tokenizer, dropped: float) -> Tokenizer:
    """Return a tokenizer with the same tokens that splits words into pieces.

    The share `dropped` of the merges is left out at random.
    """
    held = json.loads(tokenizer.to_str())
    held["model"] |= {"ignore_merges": False, "dropout": dropped}
    return Tokenizer.from_str(json.dumps(held))


def tower_of(model: ModelEntry) -> UsgenTowerConfig:
    """Return the configuration of the planner's vision tower on that backbone.

    It reads the mean of every level in each cell of a coarse grid, deepest level first.
    """
    widths = level_widths(model)
    return UsgenTowerConfig(
        model=model.id,
        backbone_sha256=str(model.sha256),
        levels=tuple(reversed([*widths])),
        grid=GRID,
        hidden_size=sum(widths.values()),
    )


def token_of(tokenizer: Tokenizer, text: str) -> int:
    """Return the token that stands for exactly that text.

    Raises:
        TrainingError: there is none.
    """
    found = tokenizer.token_to_id(text)
    if found is None:
        raise TrainingError(f"The tokenizer has no token for {text!r}.")
    return int(found)


def label_ids(tokenizer: Tokenizer) -> list[int]:
    """Return the token of each letter that stands for an action."""
    return [token_of(tokenizer, label) for label in LABELS]


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of the language model."""

    width: int = 192
    layers: int = 7
    heads: int = 6


def build_network(
    tokenizer: Tokenizer, tower: UsgenTowerConfig, size: Size | None = None
) -> LlavaForConditionalGeneration:
    """Build a LLaVA with random weights; without `size`, it has the small planner's size."""
    size = size or Size()
    text = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=size.width,
        intermediate_size=size.width * 8 // 3,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        pad_token_id=token_of(tokenizer, PAD),
        bos_token_id=None,
        eos_token_id=None,
    )
    config = LlavaConfig(
        vision_config=tower,
        text_config=text,
        image_token_index=token_of(tokenizer, IMAGE),
        image_seq_length=tower.grid**2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )
    return LlavaForConditionalGeneration(config)
