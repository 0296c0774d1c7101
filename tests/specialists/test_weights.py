"""Weights are loaded whole, unaltered and on the backbone they were trained on, or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn

from specialists.checkpoints import half, load_module, read_tensors, save_tensors, sha256_of
from specialists.errors import WeightsError
from specialists.load import load_engine
from specialists.manifest import Manifest, ModelEntry, SpecialistEntry
from specialists.model import build_backbone
from tests.specialists.nets import KINDS, MODEL, SIZES, a_model

Change = Callable[[Path], object]


def test_what_was_saved_is_read_and_named_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "w.safetensors"
    digest = save_tensors(path, {"a": torch.arange(6.0).reshape(2, 3).T}, {"model": "x"})
    assert digest == sha256_of(path)
    assert (read_tensors(path, digest)["a"] == torch.arange(6.0).reshape(2, 3).T).all()
    assert [file.name for file in path.parent.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:-5]),
        lambda path: path.write_bytes(path.read_bytes()[:40]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x80\x04not safetensors, a pickle"),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["missing", "truncated", "header cut", "empty", "pickle", "folder"],
)
def test_a_file_that_is_not_whole_is_an_error_that_names_it(
    tmp_path: Path, change: Change, stated: bool
) -> None:
    path = tmp_path / "w.safetensors"
    digest = save_tensors(path, {"a": torch.ones(20)}, {})
    change(path)
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        read_tensors(path, digest if stated else None)


def test_an_altered_value_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    digest = save_tensors(path, {"a": torch.ones(20)}, {})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        read_tensors(path, digest)


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": torch.ones(2, 3)},
        {"weight": torch.ones(2, 3), "bias": torch.ones(2), "more": torch.ones(1)},
        {"weight": torch.ones(3, 2), "bias": torch.ones(2)},
        {"weight": torch.full((2, 3), torch.nan), "bias": torch.ones(2)},
        {"weight": torch.full((2, 3), torch.inf), "bias": torch.ones(2)},
    ],
    ids=["missing tensor", "unexpected tensor", "wrong shape", "NaN", "infinite"],
)
def test_tensors_that_do_not_fit_change_nothing_and_name_the_file(
    tensors: dict[str, torch.Tensor],
) -> None:
    module = nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        load_module(module, tensors, Path("w.safetensors"))
    assert all((module.state_dict()[name] == tensor).all() for name, tensor in before.items())


def test_half_precision_is_read_back_in_the_modules_own() -> None:
    saved, read = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    nn.init.uniform_(saved.weight)
    load_module(read, half(saved), Path("w"))
    assert read.weight.dtype == torch.float32
    assert read.weight.detach().numpy() == pytest.approx(saved.weight.detach().numpy(), rel=1e-3)


def test_every_kind_of_specialist_is_loaded(tiny: Manifest) -> None:
    engine = load_engine(tiny, "cpu")
    assert set(engine.manifest.specialists) == set(KINDS.values())
    assert engine.runtime == "torch-cpu-fp32"


def changed(manifest: Manifest, specialist_id: str, **changes: object) -> Manifest:
    entry = manifest.specialist(specialist_id).model_copy(update=changes)
    return manifest.model_copy(
        update={"specialists": {**manifest.specialists, specialist_id: entry}}
    )


def with_model(manifest: Manifest, **changes: object) -> Manifest:
    model = manifest.models[MODEL].model_copy(update=changes)
    return manifest.model_copy(update={"models": {MODEL: model}})


@pytest.mark.parametrize("name", ["tiny.safetensors", "breast_2cls.safetensors"])
def test_an_altered_file_stops_the_start(tiny: Manifest, name: str) -> None:
    path = tiny.models[MODEL].directory / name
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
        load_engine(tiny, "cpu")


def test_weights_of_another_specialist_stop_the_start(tiny: Manifest) -> None:
    other = tiny.specialist("breast_lesion")
    manifest = changed(tiny, "breast_2cls", weights=other.weights, sha256=other.sha256)
    with pytest.raises(WeightsError, match=r"breast_lesion\.safetensors"):
        load_engine(manifest, "cpu")


def test_a_specialist_of_another_backbone_is_refused(tiny: Manifest) -> None:
    with pytest.raises(WeightsError, match="breast_2cls was trained on another backbone"):
        load_engine(changed(tiny, "breast_2cls", backbone_sha256="0" * 64), "cpu")


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("detect", "presence"),
        ("detect without negatives", "presence"),
        ("segment", "mask"),
        ("segment", "min_area"),
        ("regress", "peak"),
    ],
)
def test_a_missing_threshold_is_refused_by_name(tiny: Manifest, kind: str, missing: str) -> None:
    name = KINDS[kind]
    left = {key: v for key, v in tiny.specialist(name).thresholds.items() if key != missing}
    with pytest.raises(WeightsError, match=f"{name} lacks the threshold '{missing}'"):
        load_engine(changed(tiny, name, thresholds=left), "cpu")


@pytest.mark.parametrize("kind", ["classify", "detect"])
def test_a_missing_temperature_is_refused(tiny: Manifest, kind: str) -> None:
    with pytest.raises(WeightsError, match=f"{KINDS[kind]} lacks a temperature"):
        load_engine(changed(tiny, KINDS[kind], temperature=None), "cpu")


@pytest.mark.parametrize("stated", [{"weights": None}, {"sha256": None}])
def test_a_backbone_without_stated_weights_is_refused(
    tiny: Manifest, stated: dict[str, None]
) -> None:
    entries: dict[str, SpecialistEntry] = {
        name: entry.model_copy(
            update={"backbone_sha256": stated.get("sha256", entry.backbone_sha256)}
        )
        for name, entry in tiny.specialists.items()
    }
    manifest = with_model(tiny, **stated).model_copy(update={"specialists": entries})
    with pytest.raises(WeightsError, match=MODEL):
        load_engine(manifest, "cpu")


def test_a_specialist_on_a_model_that_is_not_listed_is_refused(tiny: Manifest) -> None:
    with pytest.raises(WeightsError, match=r"breast_2cls.*nobody"):
        load_engine(changed(tiny, "breast_2cls", model="nobody"), "cpu")


def test_a_model_of_another_size_is_refused(tiny: Manifest) -> None:
    model: ModelEntry = a_model(tiny.models[MODEL].directory)
    smaller = {**model.config, "widths": [4, *cast("list[int]", model.config["widths"])[1:]]}
    with pytest.raises(WeightsError, match=r"tiny\.safetensors"):
        load_engine(with_model(tiny, config=smaller), "cpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"family": "resnet"}, "names no known family: 'resnet'"),
        *(
            ({"config": {k: v for k, v in SIZES.items() if k != name}}, rf"lacks config\.{name}")
            for name in SIZES
        ),
        ({"config": {**SIZES, "widths": 8}}, r"lacks config\.widths"),
        ({"config": {**SIZES, "widths": [8]}}, r"needs 2 to 5 config\.widths"),
        ({"config": {**SIZES, "encoder": "vgg"}}, r"names no known encoder"),
    ],
)
def test_a_model_that_cannot_be_built_is_named_at_the_start(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(WeightsError, match=f"manifest entry {MODEL} {words}"):
        build_backbone(a_model(tmp_path, **changes))
