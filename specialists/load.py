"""Loading of the engine from the manifest.

Every weights file must be complete, unaltered and made for the backbone that it is used with.
"""

from specialists.admission.novelty import Novelty, novelty_from
from specialists.checkpoints import load_module, read_tensors
from specialists.decode import check_decodable
from specialists.engine import Engine
from specialists.errors import WeightsError
from specialists.manifest import Manifest, ModelEntry, SpecialistEntry
from specialists.model import Frozen, SpecialistNet, build_backbone
from specialists.runtime.quantized import (
    Quantized,
    backbone_plan,
    head_plan,
    read_quantized,
)
from specialists.runtime.runner import Networks, RuntimeOptions
from specialists.runtime.select import choose_runner

PLAIN = RuntimeOptions()
"""Torch in fp32: the reference for training, prediction files and tests."""


def load_engine(manifest: Manifest, device: str, options: RuntimeOptions = PLAIN) -> Engine:
    """Load an engine with every installed specialist of the manifest.

    Args:
        manifest: lists the specialists and their backbones.
        device: `cpu`, `cuda`, or `auto` for CUDA where it is available.
        options: which runtime executes the networks on that device, and how.

    Raises:
        WeightsError: a weights file is missing, truncated, altered, or belongs to another backbone.
    """
    entries = manifest.installed()
    needed = {entry.model for entry in entries}
    for entry in entries:
        if entry.model not in manifest.models:
            raise WeightsError(f"The specialist {entry.id} names no listed model: {entry.model!r}.")
    backbones = {name: load_backbone(manifest.models[name]) for name in needed}
    novelties = {
        name: novelty
        for name in needed
        if (novelty := load_novelty(manifest.models[name])) is not None
    }
    nets = {
        entry.id: load_specialist(entry, manifest.models[entry.model], backbones[entry.model])
        for entry in entries
    }
    networks = Networks(
        manifest=manifest,
        backbones=backbones,
        nets=nets,
        novelties=novelties,
        int8=load_quantized(manifest),
    )
    return Engine(manifest, choose_runner(networks, device, options), novelties)


def load_quantized(manifest: Manifest) -> dict[str, Quantized]:
    """Load the int8 forms that were made of the installed weights, by the id of their plan.

    Raises:
        WeightsError: one is missing, truncated or altered.
    """
    entries = manifest.installed()
    models = [manifest.models[name] for name in sorted({entry.model for entry in entries})]
    named = [(backbone_plan(model.id), read_quantized(model)) for model in models]
    named += [(head_plan(entry.id), read_quantized(entry)) for entry in entries]
    return {name: form for name, form in named if form is not None}


def load_backbone(entry: ModelEntry) -> Frozen:
    """Load the frozen backbone of that entry.

    Raises:
        WeightsError: its weights are not named, missing, truncated or altered.
    """
    if entry.weights is None:
        raise WeightsError(f"The manifest names no weights for the backbone {entry.id}.")
    path = entry.directory / entry.weights
    backbone = build_backbone(entry)
    load_module(backbone, read_tensors(path, _stated_sha256(entry)), path)
    return Frozen(backbone)


def load_novelty(entry: ModelEntry) -> Novelty | None:
    """Load the novelty statistics of that backbone; None where it has none.

    Raises:
        WeightsError: they are missing, truncated or altered, or the manifest states no limit.
    """
    if entry.novelty is None:
        return None
    if "novelty" not in entry.thresholds or entry.novelty_sha256 is None:
        raise WeightsError(f"The manifest entry {entry.id} lacks the limit or hash of its novelty.")
    tensors = read_tensors(entry.directory / entry.novelty, entry.novelty_sha256)
    return novelty_from(tensors, entry.thresholds["novelty"].value, len(entry.gate_exams))


def load_specialist(entry: SpecialistEntry, model: ModelEntry, backbone: Frozen) -> SpecialistNet:
    """Load the decoder and head of that entry, in evaluation mode.

    Raises:
        WeightsError: they are missing, truncated, altered, or were trained on another backbone.
    """
    if entry.backbone_sha256 != model.sha256:
        raise WeightsError(
            f"The specialist {entry.id} was trained on another backbone than {model.id}: "
            "train it again."
        )
    check_decodable(entry)
    path = entry.directory / str(entry.weights)
    net = SpecialistNet(entry, model, backbone.widths)
    load_module(net, read_tensors(path, _stated_sha256(entry)), path)
    return net.requires_grad_(False).eval()


def _stated_sha256(entry: ModelEntry | SpecialistEntry) -> str:
    if entry.sha256 is None:
        raise WeightsError(f"The manifest states no SHA-256 for the weights of {entry.id}.")
    return entry.sha256
