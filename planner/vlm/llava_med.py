"""LLaVA-Med v1.5 in its published layout: its names and configuration in transformers' terms."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from tokenizers import AddedToken
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaTokenizer, LlavaConfig, MistralConfig

from specialists.errors import WeightsError

MODEL_TYPE = "llava_mistral"

_NAMES = (
    (r"^model\.vision_tower\.vision_tower\.vision_model\.", "model.vision_tower."),
    (r"^model\.mm_projector\.0\.", "model.multi_modal_projector.linear_1."),
    (r"^model\.mm_projector\.2\.", "model.multi_modal_projector.linear_2."),
    (r"^model\.(layers|embed_tokens|norm)\b", r"model.language_model.\1"),
)

_EXPECTED: dict[str, object] = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
}

_TEXT = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta",
    "sliding_window", "bos_token_id", "eos_token_id", "tie_word_embeddings",
)  # fmt: skip

CLIP_HEAD_WIDTH = 64
"""Channels per attention head of every CLIP vision tower (Radford 2021, table 20)."""

UNKNOWN_TOKEN = 0
"""`<unk>`, used as the placeholder for the image's tokens.

The original vocabulary has no token of its own for them, and byte fallback keeps `<unk>` out of
every text.
"""


def renamed(name: str) -> str:
    """Return the tensor's name in transformers; an unknown name is returned unchanged."""
    for pattern, new in _NAMES:
        name, count = re.subn(pattern, new, name)
        if count:
            break
    return name


def config_of(path: Path, tensors: Mapping[str, Tensor]) -> LlavaConfig:
    """Return the configuration of the published model.

    The language model's values are taken from the file; the vision tower's sizes are read off its
    own tensors.

    Args:
        path: the `config.json`.
        tensors: the weights by their names in transformers.

    Raises:
        WeightsError: a value is missing or not the one of this layout, or the tower's tensors are
            missing.
    """
    stated = json.loads(path.read_text(encoding="utf-8"))
    for key, value in _EXPECTED.items():
        if stated.get(key) != value:
            raise WeightsError(
                f"{path} states {key} = {stated.get(key)!r}; only {value!r} is known."
            )
    if missing := [key for key in ("vocab_size", "hidden_size", "rope_theta") if key not in stated]:
        raise WeightsError(f"{path} states no {missing[0]}.")
    text = MistralConfig(**{key: stated[key] for key in _TEXT if key in stated})
    return LlavaConfig(
        vision_config=_vision_config(tensors),
        text_config=text,
        image_token_index=UNKNOWN_TOKEN,
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )


def _vision_config(tensors: Mapping[str, Tensor]) -> CLIPVisionConfig:
    tower = "model.vision_tower"
    try:
        width, _, patch_px, _ = tensors[f"{tower}.embeddings.patch_embedding.weight"].shape
        places = tensors[f"{tower}.embeddings.position_embedding.weight"].shape[0]
        inner = tensors[f"{tower}.encoder.layers.0.mlp.fc1.weight"].shape[0]
    except KeyError as missing:
        raise WeightsError(
            f"The checkpoint holds no vision tower of its own: {missing} is missing. "
            "The tower of LLaVA-Med was trained with it, so that a stock CLIP does not replace it."
        ) from missing
    layers = {
        int(match[1])
        for name in tensors
        if (match := re.match(rf"{re.escape(tower)}\.encoder\.layers\.(\d+)\.", name))
    }
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=len(layers),
        num_attention_heads=width // CLIP_HEAD_WIDTH,
        patch_size=patch_px,
        image_size=math.isqrt(places - 1) * patch_px,  # one position is the class token
    )


def sentencepiece_tokenizer(path: Path) -> LlamaTokenizer:
    """Read the tokenizer of a `tokenizer.model` without the sentencepiece package.

    The file lists its pieces in the order of their merges, which is all that byte-pair encoding
    needs.

    Raises:
        WeightsError: the file holds no pieces.
    """
    pieces = list(_pieces(path.read_bytes()))
    if not pieces:
        raise WeightsError(f"{path} holds no sentencepiece vocabulary.")
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    merges = sorted(
        (ranks[piece], ranks[piece[:cut]], ranks[piece[cut:]])
        for piece in pieces
        for cut in range(1, len(piece))
        if piece[:cut] in ranks and piece[cut:] in ranks
    )
    special = [AddedToken(token, normalized=False, special=True) for token in ("<s>", "</s>")]
    return LlamaTokenizer(
        vocab=ranks,
        merges=[(pieces[left], pieces[right]) for _, left, right in merges],
        additional_special_tokens=special,
    )


def _pieces(data: bytes) -> list[str]:
    """Return the texts of a ModelProto's pieces.

    Field 1 of the message holds the pieces, and field 1 of a piece its text.
    """
    return [
        text.decode("utf-8")
        for number, piece in _fields(data)
        if number == 1
        for inner, text in _fields(piece)
        if inner == 1
    ]


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """Return the length-delimited fields of a protocol buffer message, and skip all others."""
    found, at = [], 0
    while at < len(data):
        key, at = _varint(data, at)
        match key & 7:
            case 0:
                _, at = _varint(data, at)
            case 1:
                at += 8
            case 2:
                length, at = _varint(data, at)
                found.append((key >> 3, data[at : at + length]))
                at += length
            case 5:
                at += 4
            case kind:
                raise WeightsError(f"The vocabulary is not a protocol buffer: wire type {kind}.")
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        if at >= len(data):
            raise WeightsError("The vocabulary ends in the middle of a number.")
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
