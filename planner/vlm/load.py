"""Loads a planner from a folder.

The folder may hold a planner of ours, LLaVA-Med v1.5 as it was published, or a Hugging Face
conversion of it.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import PIL.Image
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from planner.errors import BackboneMisfit
from planner.protocols import read_protocols
from planner.rules import Rules
from planner.vlm import llava_med
from planner.vlm.card import LLAVA_MED_LICENCE, UNCALIBRATED, PlannerCard, TemplateText, read_card
from planner.vlm.features import Backbones
from planner.vlm.network import INSTRUCT, Network, Template, Tokenizer
from planner.vlm.one_pass import OnePassNetwork, fits
from planner.vlm.policy import ImageInputs, LlavaPolicy
from planner.vlm.vision_tower import UsgenTowerConfig, cells
from reports.provenance import PlannerRef
from specialists.checkpoints import load_module, read_tensors
from specialists.errors import Unavailable, WeightsError
from specialists.image import Image
from specialists.runtime.runner import threads_here

log = logging.getLogger(__name__)

LARGE = 500_000_000
"""The number of parameters from which a step on the CPU takes seconds.

Beside such a step, the time of the specialists' passes is negligible.
"""

AT_ONCE = 8
"""The number of steps that a smaller planner runs at once, for as many threads that plan.

A large one runs one at a time: together, each would come nearer to its time limit.
"""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The device and precision of a planner; `auto` is bf16 on CUDA and fp32 on a CPU."""

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    """Cores that a step takes on the CPU; None for all."""
    runtime: str = "auto"
    """`torch`, or `auto` and `openvino` for OpenVINO where the planner is small and on the CPU."""

    @property
    def on(self) -> torch.device:
        """The device."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of weights and activations."""
        if self.precision == "auto":
            return torch.bfloat16 if self.on.type == "cuda" else torch.float32
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[self.precision]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    model: LlavaForConditionalGeneration
    tokenizer: Tokenizer
    card: PlannerCard


def load_planner(
    folder: Path, placement: Placement | None = None, backbones: Backbones | None = None
) -> LlavaPolicy:
    """Load the planner in that folder, and check that it is complete and unaltered.

    Args:
        folder: our layout (with `planner.toml`), LLaVA-Med's own, or a Hugging Face conversion.
        placement: the device and precision that it runs with.
        backbones: needed by a planner that reads the features of one of them.

    Raises:
        WeightsError: a file is missing, altered or of another layout, or a tensor is missing,
            unexpected or of another shape; the message names it.
    """
    placement = placement or Placement()
    if not (folder / "config.json").is_file():
        raise WeightsError(f"There is no planner in {folder}: config.json is missing.")
    if read_card(folder) is not None:  # fails on another backbone before weights are read
        image_inputs_of(LlavaConfig.from_pretrained(folder, local_files_only=True), backbones)
    parts = _parts(folder, placement)
    model = cast(LlavaForConditionalGeneration, parts.model.to(placement.on))  # type: ignore[arg-type]
    large = model.num_parameters() > LARGE
    if placement.on.type == "cpu" and large:
        torch.set_num_threads(placement.threads or threads_here())
    template = Template(before=parts.card.template.before, after=parts.card.template.after)
    policy = LlavaPolicy(
        _network(model, parts.tokenizer, template, placement),
        PlannerRef(
            id=parts.card.id,
            sha256=parts.card.sha256,
            licence=parts.card.licence,
            research_only=parts.card.research_only,
        ),
        parts.card.margin.value,
        image_inputs_of(parts.model.config, backbones),
        Rules(read_protocols()),
        at_once=1 if large else AT_ONCE,
    )
    policy.orders = parts.card.orders
    return policy


def _network(
    model: LlavaForConditionalGeneration,
    tokenizer: Tokenizer,
    template: Template,
    placement: Placement,
) -> Network:
    """Return the network in OpenVINO where that computes the model, else in torch."""
    small = model.num_parameters() <= LARGE and fits(model)
    cpu = placement.on.type == "cpu" and placement.dtype == torch.float32
    if placement.runtime != "torch" and small and cpu:
        try:
            return OnePassNetwork(model, tokenizer, template, placement.threads)
        except (RuntimeError, Unavailable) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            log.warning("OpenVINO does not run the planner here, torch does. %s", reason)
    return Network(model, tokenizer, template)


def image_inputs_of(config: LlavaConfig, backbones: Backbones | None) -> ImageInputs:
    """Return the function that computes the configured vision tower's input from an image.

    Raises:
        BackboneMisfit: the tower reads a frozen backbone's features, and the backbone here is
            another one or missing.
    """
    vision = config.vision_config
    if not isinstance(vision, UsgenTowerConfig):
        return padded_pixels(cast(int, cast(CLIPVisionConfig, vision).image_size))
    found = None if backbones is None else backbones.backbone_sha256(vision.model)
    if backbones is None or found != vision.backbone_sha256:
        raise BackboneMisfit(
            f"The planner sees through the backbone {vision.model} "
            f"with the SHA-256 {vision.backbone_sha256[:12]}…, "
            f"and here is {'none' if found is None else found[:12] + '…'}: "
            "train the planner again."
        )
    return lambda image: cells(backbones.features(image, vision.model), vision)


def padded_pixels(side_px: int) -> ImageInputs:
    """Return the function that computes CLIP's normalised pixels of a whole image.

    Its pixels are made square; it is padded to a square and not cropped, as LLaVA was trained.
    """
    processor = LlavaImageProcessorPil(
        do_pad=True,
        size={"shortest_edge": side_px},
        crop_size={"height": side_px, "width": side_px},
    )

    def inputs(image: Image) -> Tensor:
        picture = square(image).convert("RGB")
        return cast(Tensor, processor(picture, return_tensors="pt")["pixel_values"])

    return inputs


def square(image: Image) -> PIL.Image.Image:
    """Return the image with square pixels: its coarser axis is enlarged; itself where it has."""
    picture = PIL.Image.fromarray(image.pixels)
    width, height = picture.size
    shape = round(width / min(image.aspect, 1.0)), round(height * max(image.aspect, 1.0))
    return picture if shape == picture.size else picture.resize(shape)


def _parts(folder: Path, placement: Placement) -> _Parts:
    card = read_card(folder)
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if card is not None:
        return _ours(folder, card, placement)
    tensors, sha256 = _shards(folder)
    published = stated.get("model_type") == llava_med.MODEL_TYPE
    if published:
        tensors = {llava_med.renamed(name): tensor for name, tensor in tensors.items()}
        config = llava_med.config_of(folder / "config.json", tensors)
    elif stated.get("model_type") == "llava":
        config = LlavaConfig.from_dict(stated)
    else:
        raise WeightsError(
            f"{folder / 'config.json'} is of model_type {stated.get('model_type')!r}; "
            f"known are {llava_med.MODEL_TYPE} and llava."
        )
    return _Parts(
        model=_filled(config, tensors, folder, placement.dtype),
        tokenizer=_tokenizer(folder),
        card=PlannerCard(
            id=folder.name if folder.name else "llava",
            sha256=sha256,
            licence=LLAVA_MED_LICENCE,
            research_only=True,
            margin=UNCALIBRATED,
            template=TemplateText(before=INSTRUCT.before, after=INSTRUCT.after),
        ),
    )


def _ours(folder: Path, card: PlannerCard, placement: Placement) -> _Parts:
    weights = folder / "model.safetensors"
    tensors = read_tensors(weights, card.sha256)
    config = LlavaConfig.from_pretrained(folder, local_files_only=True)
    model = LlavaForConditionalGeneration(config)
    load_module(model, tensors, weights)
    return _Parts(
        model=cast(LlavaForConditionalGeneration, model.to(placement.dtype)),  # type: ignore[arg-type]
        tokenizer=_tokenizer(folder),
        card=card,
    )


def _filled(
    config: LlavaConfig, tensors: Mapping[str, Tensor], folder: Path, dtype: torch.dtype
) -> LlavaForConditionalGeneration:
    """Return the network with exactly these tensors.

    By itself, transformers would fill gaps at random without reporting it.
    """
    loaded: object = LlavaForConditionalGeneration.from_pretrained(
        None,
        config=config,
        state_dict=dict(tensors),
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    model, info = cast(tuple[LlavaForConditionalGeneration, dict[str, set[Any]]], loaded)
    wrong = {
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(info["unexpected_keys"]),
        "of another shape": sorted(str(item[0]) for item in info["mismatched_keys"]),
    }
    if any(wrong.values()):
        said = "; ".join(f"{what}: {_first(names)}" for what, names in wrong.items() if names)
        raise WeightsError(f"The weights in {folder} do not fit the planner's network: {said}.")
    return model


def _first(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _shards(folder: Path) -> tuple[dict[str, Tensor], str]:
    """Return all tensors of a folder's safetensors files, and a SHA-256 over the files' hashes."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        pickled = ", ".join(path.name for path in sorted(folder.glob("*.bin")))
        raise WeightsError(
            f"{folder} holds no safetensors files"
            + (
                f", only pickles ({pickled}), which are never opened: convert them."
                if pickled
                else "."
            )
        )
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if absent := sorted(named - {path.name for path in paths}):
            raise WeightsError(f"The weights file {folder / absent[0]} is missing.")
        paths = [path for path in paths if path.name in named]
    tensors: dict[str, Tensor] = {}
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
        tensors |= _mapped(path)
    return tensors, whole.hexdigest()


def _mapped(path: Path) -> dict[str, Tensor]:
    """Return the file's tensors memory-mapped and not read: they are many gigabytes."""
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise WeightsError(f"The weights file {path} is not safetensors: {error}.") from error


def _tokenizer(folder: Path) -> Tokenizer:
    if (folder / "tokenizer.json").is_file():
        if (folder / "tokenizer_config.json").is_file():
            return cast(Tokenizer, AutoTokenizer.from_pretrained(folder, local_files_only=True))
        return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    if (folder / "tokenizer.model").is_file():
        return llava_med.sentencepiece_tokenizer(folder / "tokenizer.model")
    raise WeightsError(f"{folder} holds no tokenizer.json or tokenizer.model.")
