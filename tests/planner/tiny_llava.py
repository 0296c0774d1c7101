"""Tiny random LLaVA networks with tokenizers, in every layout that is read."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    PreTrainedTokenizerFast,
)

from planner.protocols import read_protocols
from planner.vlm.prompt import LABELS
from planner.vlm.vision_tower import UsgenTowerConfig, cells
from reports.model import ExamCode
from specialists.backbones.transunet import Features
from specialists.image import Image

SIDE_PX = 28
BACKBONE = "b" * 64
IMAGE_TOKEN = 3
TOWER = UsgenTowerConfig(grid=2, hidden_size=256, backbone_sha256=BACKBONE)


def a_med_config(vocabulary: int) -> LlavaConfig:
    """LLaVA-Med's architecture, as small as it gets."""
    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=128,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=SIDE_PX,
            patch_size=14,
        ),
        text_config=MistralConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
            sliding_window=None,
        ),
        image_token_index=0,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )


def a_tower_config(vocabulary: int) -> LlavaConfig:
    """A planner of ours: the frozen backbone's features as the tower."""
    return LlavaConfig(
        vision_config=TOWER,
        text_config=LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
        ),
        image_token_index=IMAGE_TOKEN,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )


def a_network(config: LlavaConfig, seed: int = 0) -> LlavaForConditionalGeneration:
    """Random weights, large enough for scores that differ."""
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    model.train(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def words() -> PreTrainedTokenizerFast:
    """A word-level tokenizer of letters and a few words."""
    known = ["<unk>", "<s>", "</s>", "<image>", *LABELS]
    known += ["exam", "state", "actions", "answer", "request", "stop", "none", "lesion", "breast"]
    tokenizer = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(known)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def write_ours(folder: Path, *, margin: float = 0.0, **card: object) -> Path:
    """A planner of ours in that folder."""
    tokenizer = words()
    config = a_tower_config(len(tokenizer))
    model = a_network(config)
    tokenizer.save_pretrained(folder)
    config.save_pretrained(folder)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    exams = [exam.value for exam in ExamCode]
    lines = {
        "id": "tiny",
        "sha256": sha256,
        "licence": "Apache-2.0",
        "exams": exams,
        "steps_sha256": read_protocols().steps_sha256,
        **card,
    }
    stated = {key: value for key, value in lines.items() if value is not None}
    said = [f"{key} = {json.dumps(value)}" for key, value in stated.items()]
    said.append(f'margin = {{ value = {margin}, source = "this test" }}')
    (folder / "planner.toml").write_text("\n".join(said))
    return folder


def write_converted(folder: Path) -> Path:
    """LLaVA-Med's architecture as transformers saves it."""
    write_pieces(folder)
    a_network(a_med_config(len(PIECES))).save_pretrained(folder)
    return folder


def write_original(folder: Path, changes: dict[str, Tensor | None] | None = None) -> Path:
    """Write the same network in the original's layout; a None among `changes` omits the tensor."""
    write_pieces(folder)
    config = a_med_config(len(PIECES))
    tensors = {
        original_name(name): tensor.clone()
        for name, tensor in a_network(config).state_dict().items()
    }
    tensors["model.vision_tower.vision_tower.vision_model.embeddings.position_ids"] = torch.arange(
        5
    )[None]
    for name, tensor in (changes or {}).items():
        tensors.pop(name, None)
        if tensor is not None:
            tensors[name] = tensor
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[:30]}
    files["model-00002-of-00002.safetensors"] = names[30:]
    for file, held in files.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    index = {"weight_map": {name: file for file, held in files.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    text = config.text_config
    stated = {
        "architectures": ["LlavaMistralForCausalLM"],
        "model_type": "llava_mistral",
        "mm_hidden_size": 1024,
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "rope_theta": 1_000_000.0,
        "tokenizer_padding_side": "right",
    }
    for key in (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "hidden_act", "max_position_embeddings",
        "rms_norm_eps", "sliding_window", "bos_token_id", "eos_token_id", "tie_word_embeddings",
    ):  # fmt: skip
        stated[key] = getattr(text, key)
    (folder / "config.json").write_text(json.dumps(stated))
    return folder


def original_name(name: str) -> str:
    """The tensor's name in the checkpoint that LLaVA-Med published."""
    for pattern, old in (
        (r"^model\.vision_tower\.", "model.vision_tower.vision_tower.vision_model."),
        (r"^model\.multi_modal_projector\.linear_1\.", "model.mm_projector.0."),
        (r"^model\.multi_modal_projector\.linear_2\.", "model.mm_projector.2."),
        (r"^model\.language_model\.", "model."),
    ):
        name, count = re.subn(pattern, old, name)
        if count:
            break
    return name


def _vocabulary() -> list[str]:
    """Pieces as Mistral's come: controls, bytes, merges by rank, then single characters."""
    merged = ["▁s", "at", "ate", "▁st", "▁state", "▁e", "xa", "xam", "▁exam"]
    merged += [f"▁{letter}" for letter in LABELS]
    printable = [chr(code) for code in range(33, 127)]
    return [
        "<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)),
        *merged, "▁", *printable,
    ]  # fmt: skip


PIECES = _vocabulary()


def write_pieces(folder: Path) -> None:
    """Writes PIECES as a sentencepiece ModelProto."""
    folder.mkdir(parents=True, exist_ok=True)
    data = b"".join(_field(1, _field(1, piece.encode()) + b"\x15\0\0\0\0") for piece in PIECES)
    (folder / "tokenizer.model").write_bytes(data)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + bytes(_varint(len(content))) + content


def _varint(value: int) -> Iterable[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value


class Backbone:
    """A backbone whose features follow from the image's own pixels; counts its passes."""

    def __init__(self) -> None:
        self.passes = 0

    def backbone_sha256(self, model_id: str) -> str | None:
        return BACKBONE if model_id == "usgen" else None

    def features(self, image: Image, model_id: str) -> Features:
        self.passes += 1
        generator = torch.Generator().manual_seed(int(image.key[:8], 16))
        return {"vit": torch.randn((1, 256, 16, 16), generator=generator)}

    def cells(self, image: Image) -> Tensor:
        """What a planner sees of the image through it."""
        return cells(self.features(image, "usgen"), TOWER)
