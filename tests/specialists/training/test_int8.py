"""int8: forms that nncf makes of tiny networks, what is kept of them, and what serves them."""

import importlib.util
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from specialists.engine import Engine
from specialists.errors import WeightsError
from specialists.int8 import Int8
from specialists.load import load_backbone, load_engine
from specialists.manifest import Manifest, ModelEntry, SpecialistEntry, read_manifest
from specialists.runtime import openvino_import, openvino_runner, processor, traced
from specialists.runtime.quantized import read_quantized, save_quantized
from specialists.runtime.runner import Precision, RuntimeOptions
from specialists.training.evaluation import precisions
from specialists.training.int8 import quantize as quantizing
from specialists.training.int8.nncf_import import BLOCKED, load_nncf
from tests.specialists.nets import MODEL, installed
from tests.tools import missing

if importlib.util.find_spec("nncf") is None:
    missing("nncf, of the extra `train`, is not installed")

IDS = ("breast_2cls",)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A folder of networks with int8 forms, and what was said while they were made."""

    manifest: Manifest
    folder: Path
    said: list[str]


def engine(manifest: Manifest, precision: Precision, compiled: Path | None = None) -> Engine:
    compiled = compiled or manifest.models[MODEL].directory / "compiled"
    options = RuntimeOptions(runtime="openvino", precision=precision, threads=1, cache_dir=compiled)
    return load_engine(manifest, "cpu", options)


def quantized(manifest: Manifest, data: Path, loss_max: float) -> Made:
    """Bring the networks to int8, where a figure may lose so much."""
    folder = manifest.models[MODEL].directory
    said: list[str] = []
    wish = quantizing.Wish(
        data=data, out=folder, images=2, judged=2, loss_max=loss_max, threads=1, say=said.append
    )
    kept = quantizing.quantize(manifest, wish)
    models = manifest.models | {one.id: one for one in kept if isinstance(one, ModelEntry)}
    listed = manifest.specialists | {
        one.id: one for one in kept if isinstance(one, SpecialistEntry)
    }
    made = Manifest.model_construct(models=models, specialists=listed)
    return Made(manifest=made, folder=folder, said=said)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, drawn_data: Path) -> Made:
    """Networks of random weights, of which every int8 form is kept."""
    return quantized(installed(tmp_path_factory.mktemp("int8"), IDS), drawn_data, loss_max=1e9)


def test_every_network_has_a_form_of_its_very_weights_that_the_manifest_names(made: Made) -> None:
    model = made.manifest.models[MODEL]
    assert model.int8 is not None
    assert model.int8.made_of == model.sha256
    assert model.int8.holds == {e.id: e.sha256 for e in made.manifest.installed()}
    for entry in made.manifest.installed():
        assert entry.int8 is not None
        assert (entry.int8.made_of, entry.int8.over) == (entry.sha256, model.int8.sha256)
    written = read_manifest(made.folder)
    assert written.models[MODEL].int8 == model.int8


def test_int8_answers_as_fp32_up_to_the_noise_that_its_entry_states(made: Made) -> None:
    plain, small = engine(made.manifest, "fp32"), engine(made.manifest, "int8")
    assert (plain.runtime, small.runtime) == ("openvino-cpu-fp32", "openvino-cpu-int8")
    form = made.manifest.models[MODEL].int8
    assert form is not None
    (pixels,) = traced.drawn_pixels(made.manifest.models[MODEL])
    levels, own = (one.runner.backbone(MODEL, pixels) for one in (plain, small))
    for name, level in levels.items():
        far = (level - own[name]).square().mean().sqrt() / level.square().mean().sqrt().clamp_min(1)
        assert 0 < far <= form.noise + 0.01, name
    assert form.noise < 0.1


def test_the_weights_inside_are_int8(made: Made) -> None:
    networks: list[ModelEntry | SpecialistEntry] = [
        made.manifest.models[MODEL],
        *made.manifest.installed(),
    ]
    for entry in networks:
        form = read_quantized(entry)
        assert form is not None
        kept = [
            op.get_element_type().get_type_name()
            for op in openvino_import.CORE.read_model(form.graph, form.constants).get_ops()
            if op.get_type_name() == "Constant"
        ]
        assert "i8" in kept, entry.id


@pytest.mark.parametrize("damage", ["altered", "cut short", "missing", "another network"])
def test_a_damaged_form_is_refused_whatever_runs(made: Made, tmp_path: Path, damage: str) -> None:
    model = made.manifest.models[MODEL]
    assert model.int8 is not None
    path = tmp_path / model.int8.weights
    data = bytearray((made.folder / model.int8.weights).read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "another network":
        save_quantized(path, b"<net/>", b"0", {})
    elif damage != "missing":
        path.write_bytes(data if damage == "altered" else data[: len(data) // 2])
    moved = model.model_copy(update={"directory": tmp_path})
    with pytest.raises(WeightsError, match=r"tiny\.int8\.safetensors"):
        read_quantized(moved)
    assert load_backbone(model) is not None


def test_a_form_of_other_weights_is_not_used(made: Made) -> None:
    entry = made.manifest.specialists[IDS[0]]
    assert entry.int8 is not None
    assert read_quantized(entry.model_copy(update={"sha256": "0" * 64})) is None
    assert not Int8(weights="", sha256="", made_of="1", noise=0.0).current(None)


def pays(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    monkeypatch.setattr(openvino_runner, "int8_pays", lambda: answer)


def test_by_default_int8_runs_where_the_processor_is_faster_with_it(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    pays(monkeypatch, True)
    assert engine(made.manifest, "auto").runtime == "openvino-cpu-int8"
    pays(monkeypatch, False)
    assert engine(made.manifest, "auto").runtime == "openvino-cpu-fp32"
    assert engine(made.manifest, "int8").runtime == "openvino-cpu-int8"


def test_a_specialist_that_was_never_compared_keeps_the_backbone_in_full_precision(
    made: Made, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pays(monkeypatch, True)
    model = made.manifest.models[MODEL]
    assert model.int8 is not None
    fewer = {name: sha for name, sha in model.int8.holds.items() if name != "breast_2cls"}
    form = model.int8.model_copy(update={"holds": fewer})
    models = {MODEL: model.model_copy(update={"int8": form})}
    manifest = made.manifest.model_copy(update={"models": models})
    assert engine(manifest, "auto").runtime == "openvino-cpu-fp32"  # heads hold over int8 only
    with caplog.at_level(logging.WARNING, "specialists"):
        assert engine(manifest, "int8").runtime == "openvino-cpu-int8"
    assert "Not shown to hold on an int8 backbone: breast_2cls." in caplog.text


def test_a_name_tells_which_networks_run_in_int8(made: Made) -> None:
    entry = made.manifest.specialists[IDS[0]].model_copy(update={"int8": None})
    listed = {**made.manifest.specialists, entry.id: entry}
    heads = made.manifest.model_copy(update={"specialists": listed})
    assert engine(heads, "int8").runtime == "openvino-cpu-int8-mixed"
    bare = {MODEL: made.manifest.models[MODEL].model_copy(update={"int8": None})}
    only = made.manifest.model_copy(update={"models": bare})
    assert engine(only, "int8").runtime == "openvino-cpu-mixed-int8"


def test_a_form_that_is_farther_off_here_than_where_it_was_made_does_not_serve(
    made: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = made.manifest.models[MODEL]
    assert model.int8 is not None
    form = model.int8.model_copy(update={"noise": 0.0})
    models = {MODEL: model.model_copy(update={"int8": form})}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino_runner, "NOISE_PLUS", 0.0)
        found = engine(made.manifest.model_copy(update={"models": models}), "int8", tmp_path)
    assert found.runtime == "torch-cpu-fp32 (OpenVINO failed)"
    assert "set USTRI_PRECISION=fp32" in caplog.text


@pytest.mark.soak
def test_nothing_is_kept_that_loses_and_the_parts_are_tried_in_turn(
    tmp_path: Path, drawn_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantizing, "ATTEMPTS", (("vit",), ("stem", "vit")))
    found = quantized(installed(tmp_path, ("breast_2cls",)), drawn_data, loss_max=-1e9)
    assert found.manifest.models[MODEL].int8 is None
    assert found.manifest.specialists["breast_2cls"].int8 is None
    tried = [line.partition(":")[0] for line in found.said if line.startswith("tiny in int8")]
    assert tried == ["tiny in int8, vit in fp32", "tiny in int8, stem and vit in fp32"]
    assert not (tmp_path / "tiny.int8.safetensors").exists()
    assert not (tmp_path / "breast_2cls.int8.safetensors").exists()


def test_a_loss_is_a_fall_or_for_an_error_a_rise() -> None:
    assert precisions.loss("dice lesion", 0.8, 0.796) == pytest.approx(0.005)
    assert precisions.loss("mre_px", 10.0, 10.1) == pytest.approx(0.01)
    assert precisions.loss("iou", 0.8, 0.9) < 0
    plain = {("a", "dice x"): 0.8, ("a", "hd95_px x"): 9.0, ("b", "auc"): 0.9, ("c", "iou"): 0.5}
    other = {("a", "dice x"): 0.79, ("a", "hd95_px x"): 19.0, ("b", "auc"): 0.899}
    lost = precisions.losers(plain, other)
    assert lost.keys() == {"a", "c"}  # a figure that is gone is lost
    assert lost["a"] == pytest.approx(0.0125)


def test_rows_are_taken_from_every_data_set() -> None:
    rows: list[dict[str, object]] = [{"dataset": "big", "n": n} for n in range(100)]
    rows += [{"dataset": "small", "n": n} for n in range(3)]
    found = precisions.spread(rows, 10)
    assert [row["dataset"] for row in found].count("small") == 3
    assert len(found) == 10
    assert [row["n"] for row in found[:7]] == [0, 14, 28, 42, 57, 71, 85]


def test_a_processor_multiplies_int8_where_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, answer in ((" avx2 avx_vnni", True), (" avx512_vnni", True), (" avx2 fma", False)):
        monkeypatch.setattr(processor, "cpu_lines", lambda told=flags: (f"flags :{told}",))
        assert processor.int8_pays() is answer


def test_nncf_cannot_report_its_use() -> None:
    load_nncf()
    assert all(sys.modules[name] is None for name in BLOCKED)
