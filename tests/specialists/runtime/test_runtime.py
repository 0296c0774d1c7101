"""OpenVINO answers as torch does; what it compiled is found again, and nothing damaged is used."""

import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from specialists.admission.exam_distance import ExamDistance
from specialists.admission.novelty import Novelty
from specialists.deadline import Deadline
from specialists.errors import Declined, Overdue
from specialists.image import Image, image_of
from specialists.load import load_backbone, load_engine, load_novelty, load_specialist
from specialists.manifest import Manifest, read_manifest
from specialists.model import Output
from specialists.phantom.draw import draw
from specialists.result import Result
from specialists.runtime.compile_cache import CompiledCache
from specialists.runtime.feature_cache import FeatureCache
from specialists.runtime.runner import Networks, RuntimeOptions
from specialists.runtime.torch_runner import TorchRunner
from tests.specialists.nets import INPUT_PX, KINDS, MODEL

pytest.importorskip("openvino", reason="OpenVINO is an extra")

from specialists.runtime.openvino_runner import OpenVinoRunner
from tests.processes import finished

CLOSE = {"fp32": 2e-4, "heads": 0.1, "bf16": 0.1}
"""Largest difference from fp32 torch, as share of the largest value of an output or of 1."""


def options(folder: Path | None, **changes: object) -> RuntimeOptions:
    values: dict[str, object] = {"runtime": "openvino", "threads": 1, "cache_dir": folder}
    return RuntimeOptions(**{**values, **changes})  # type: ignore[arg-type]


def networks_of(manifest: Manifest) -> Networks:
    entries = manifest.installed()
    backbones = {
        name: load_backbone(manifest.models[name]) for name in {entry.model for entry in entries}
    }
    nets = {
        entry.id: load_specialist(entry, manifest.models[entry.model], backbones[entry.model])
        for entry in entries
    }
    novelties = {
        name: novelty
        for name in backbones
        if (novelty := load_novelty(manifest.models[name])) is not None
    }
    return Networks(manifest=manifest, backbones=backbones, nets=nets, novelties=novelties)


def tensors(output: Output) -> tuple[Tensor, ...]:
    return (output,) if isinstance(output, Tensor) else output


def furthest(one: Output, other: Output) -> float:
    pairs = zip(tensors(one), tensors(other), strict=True)
    return max(float((a - b).abs().max()) / max(1.0, float(a.abs().max())) for a, b in pairs)


def an_image(seed: int = 0) -> Image:
    return image_of(draw("breast", seed=seed, height_px=96, width_px=128).pixels)


def agree(networks: Networks, model_id: str, precision: str, batch: int) -> None:
    """Every network of a model, on the same features, within the tolerance."""
    side = networks.manifest.models[model_id].input_px
    plain = TorchRunner(networks, "cpu")
    compiled = OpenVinoRunner(networks, precision, options(None))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randn(batch, 1, side, side, generator=generator)
    features, own = plain.backbone(model_id, pixels), compiled.backbone(model_id, pixels)
    for level in features:
        assert furthest(features[level], own[level]) < CLOSE[precision], level
    field = torch.zeros(batch, 1, side, side)
    field[:, :, side // 8 : -side // 8] = 1
    known, measured = (one.distance(model_id, features, field) for one in (plain, compiled))
    assert (known is None) == (measured is None) == (model_id not in networks.novelties)
    if known is not None and measured is not None:
        assert known.shape == measured.shape
        assert len(known) == batch
        assert furthest(known, measured) < CLOSE["fp32"]  # in any precision
    roi = torch.zeros_like(field)
    roi[:, :, side // 4 : side // 2, side // 4 : side // 2] = 1
    for name, entry in networks.manifest.specialists.items():
        if name not in networks.nets:
            continue
        for region in (None, None if entry.roi == "none" else roi):
            expected = plain.head(name, features, field, region)
            answer = compiled.head(name, features, field, region)
            assert furthest(expected, answer) < CLOSE[precision], name


@pytest.mark.parametrize("precision", ["fp32", "heads", "bf16"])
@pytest.mark.parametrize("batch", [1, 5])
def test_every_network_answers_in_openvino_as_in_torch(
    tiny: Manifest, precision: str, batch: int
) -> None:
    agree(networks_of(tiny), MODEL, precision, batch)


def test_distances_from_exams_are_the_same_in_openvino_as_in_torch(tiny: Manifest) -> None:
    generator = torch.Generator().manual_seed(1)
    widths = load_backbone(tiny.models[MODEL]).widths
    features, deepest = 2 * sum(widths.values()), 2 * widths["vit"]
    exams = ExamDistance(
        weight=torch.randn(deepest + 32, 3, generator=generator),
        bias=torch.randn(3, generator=generator),
        means=torch.randn(4, deepest, generator=generator),
        whitening=torch.eye(deepest),
        usual=torch.ones(1),
        exams=torch.tensor([1, 0, 2, 1]),
    )
    novelty = Novelty(
        means=torch.randn(2, features, generator=generator),
        whitening=torch.eye(features),
        limit=1.0,
        exams=exams,
    )
    sha256 = {"novelty_sha256": "0" * 64}
    told = tiny.model_copy(update={"models": {MODEL: tiny.models[MODEL].model_copy(update=sha256)}})
    agree(replace(networks_of(told), novelties={MODEL: novelty}), MODEL, "fp32", 2)


def test_the_shipped_networks_answer_in_openvino_as_in_torch() -> None:
    manifest = read_manifest()
    if not manifest.installed():
        pytest.skip("no weights are shipped")
    networks = networks_of(manifest)
    assert networks.novelties
    for model_id in networks.backbones:
        agree(networks, model_id, "fp32", 2)


@pytest.mark.parametrize("kind", KINDS)
def test_no_region_is_the_same_as_an_empty_one_by_construction(tiny: Manifest, kind: str) -> None:
    networks = networks_of(tiny)
    runner = TorchRunner(networks, "cpu")
    features = runner.backbone(MODEL, torch.rand(2, 1, INPUT_PX, INPUT_PX))
    field = torch.ones(2, 1, INPUT_PX, INPUT_PX)
    without = runner.head(KINDS[kind], features, field, None)
    empty = runner.head(KINDS[kind], features, field, torch.zeros_like(field))
    for one, other in zip(tensors(without), tensors(empty), strict=True):
        assert torch.equal(one, other)


def test_an_engine_says_in_its_name_what_runs_it(tiny: Manifest) -> None:
    assert load_engine(tiny, "cpu").runtime == "torch-cpu-fp32"
    assert load_engine(tiny, "cpu", options(None)).runtime == "openvino-cpu-fp32"
    half = options(None, runtime="torch", precision="bf16")
    assert load_engine(tiny, "cpu", half).runtime == "torch-cpu-bf16"


@pytest.fixture
def compilations(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, logger="specialists"):
        yield caplog


def exported(log: pytest.LogCaptureFixture) -> int:
    found = [record for record in log.records if "was exported" in record.getMessage()]
    log.clear()
    return len(found)


def test_a_second_start_compiles_nothing(
    tiny: Manifest, tmp_path: Path, compilations: pytest.LogCaptureFixture
) -> None:
    first = load_engine(tiny, "cpu", options(tmp_path)).run("breast_2cls", an_image())
    assert exported(compilations) == 1 + len(tiny.specialists)
    again = load_engine(tiny, "cpu", options(tmp_path))
    assert exported(compilations) == 0
    assert again.run("breast_2cls", an_image()) == first


def test_other_arithmetic_is_compiled_anew(
    tiny: Manifest, tmp_path: Path, compilations: pytest.LogCaptureFixture
) -> None:
    load_engine(tiny, "cpu", options(tmp_path))
    exported(compilations)
    engine = load_engine(tiny, "cpu", options(tmp_path, precision="bf16"))
    if engine.runtime != "openvino-cpu-bf16":
        pytest.skip("this CPU has no bf16")
    assert exported(compilations) == 1 + len(tiny.specialists)


def test_torch_takes_few_threads_beside_openvino_and_all_that_it_had_without(
    tiny: Manifest,
) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        load_engine(tiny, "cpu")
        assert torch.get_num_threads() == 4
        load_engine(tiny, "cpu", options(None))
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        load_engine(tiny, "cpu", options(None))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_only_heads_that_lose_nothing_run_in_bf16_by_default(tiny: Manifest) -> None:
    name, *others = tiny.specialists
    shown = tiny.specialists[name]
    shown = shown.model_copy(update={"bf16_sha256": shown.sha256})
    networks = networks_of(
        tiny.model_copy(update={"specialists": {**tiny.specialists, name: shown}})
    )
    plain = OpenVinoRunner(networks, "fp32", options(None))
    mixed = OpenVinoRunner(networks, "auto", options(None))
    if mixed.name != "openvino-cpu-mixed":
        assert mixed.name == "openvino-cpu-fp32"
        pytest.skip("this CPU has no bf16")
    pixels = torch.rand(1, 1, INPUT_PX, INPUT_PX, generator=torch.Generator().manual_seed(3))
    features, field = plain.backbone(MODEL, pixels), torch.ones(1, 1, INPUT_PX, INPUT_PX)
    for level, own in mixed.backbone(MODEL, pixels).items():
        assert torch.equal(features[level], own)
    for head in others:
        answers = [tensors(one.head(head, features, field, None)) for one in (plain, mixed)]
        assert all(torch.equal(a, b) for a, b in zip(*answers, strict=True)), head
    answers = [tensors(one.head(name, features, field, None)) for one in (plain, mixed)]
    assert not all(torch.equal(a, b) for a, b in zip(*answers, strict=True))


def test_weights_that_were_trained_anew_are_no_longer_shown_to_lose_nothing(tiny: Manifest) -> None:
    entry = next(iter(tiny.specialists.values()))
    assert not entry.bf16
    shown = entry.model_copy(update={"bf16_sha256": entry.sha256})
    assert shown.bf16
    assert not shown.model_copy(update={"sha256": "0" * 64}).bf16


@pytest.mark.parametrize("damage", ["cut short", "altered", "empty", "not a network"])
def test_a_damaged_compilation_is_made_again(
    tiny: Manifest, tmp_path: Path, damage: str, compilations: pytest.LogCaptureFixture
) -> None:
    expected = load_engine(tiny, "cpu", options(tmp_path)).run("breast_2cls", an_image())
    exported(compilations)
    for path in tmp_path.glob("*.blob"):
        data = bytearray(path.read_bytes())
        if damage == "cut short":
            data = data[: len(data) // 2]
        elif damage == "altered":
            data[len(data) // 2] ^= 1
        elif damage == "empty":
            data = bytearray()
        else:  # whole by its own hash, yet nothing that OpenVINO wrote
            key = {"the": "same"}
            CompiledCache(tmp_path / "other").write(key, b"not a network")
            data = bytearray(CompiledCache(tmp_path / "other").path(key).read_bytes())
        path.write_bytes(data)
    again = load_engine(tiny, "cpu", options(tmp_path))
    assert again.runtime == "openvino-cpu-fp32"
    assert exported(compilations) == 1 + len(tiny.specialists)
    assert again.run("breast_2cls", an_image()) == expected


def test_starts_at_the_same_time_share_one_folder(tiny: Manifest, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        engines = list(pool.map(lambda _: load_engine(tiny, "cpu", options(tmp_path)), range(3)))
    answers = [engine.run("breast_2cls", an_image()) for engine in engines]
    assert answers[1:] == answers[:1] * 2
    assert len(list(tmp_path.glob("*.blob"))) == 1 + len(tiny.specialists)
    assert not list(tmp_path.glob("*.partial"))


def test_a_folder_that_cannot_be_written_costs_the_cache_only(
    tiny: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    engine = load_engine(tiny, "cpu", options(tmp_path / "file" / "cache"))
    assert engine.runtime == "openvino-cpu-fp32"
    assert "is not kept" in caplog.text or "cannot be read" in caplog.text


def test_torch_takes_over_with_a_warning_where_openvino_is_missing(tmp_path: Path) -> None:
    code = (
        "import sys, logging; logging.basicConfig(); sys.modules['openvino'] = None\n"
        "from pathlib import Path\n"
        "from tests.specialists.nets import installed\n"
        "from specialists.load import load_engine\n"
        "from specialists.runtime.runner import RuntimeOptions\n"
        "tiny = installed(Path(sys.argv[1]), ('breast_2cls',))\n"
        "print(load_engine(tiny, 'cpu', RuntimeOptions(runtime='auto')).runtime)\n"
    )
    done = finished([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert done.stdout.strip() == "torch-cpu-fp32 (OpenVINO failed)"
    assert "OpenVINO does not run the networks here" in done.stderr


def test_openvino_sends_no_usage_report(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.specialists.nets import installed\n"
        "from specialists.load import load_engine\n"
        "from specialists.runtime.runner import RuntimeOptions\n"
        "tiny = installed(Path(sys.argv[1]), ('breast_2cls',))\n"
        "print(load_engine(tiny, 'cpu', RuntimeOptions(runtime='openvino')).runtime)\n"
        "print([name for name in sys.modules if 'telemetry' in name])\n"
    )
    done = finished([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert done.stdout.split("\n")[:2] == ["openvino-cpu-fp32", "[]"]


def test_a_signal_after_a_runner_ended_in_another_thread_is_handled() -> None:
    code = (
        "import signal, threading\n"
        "from specialists.manifest import read_manifest\n"
        "from specialists.runtime.runner import Networks, RuntimeOptions\n"
        "from specialists.runtime.openvino_runner import OpenVinoRunner\n"
        "none = Networks(manifest=read_manifest(), backbones={}, nets={}, novelties={})\n"
        "runners = [OpenVinoRunner(none, 'auto', RuntimeOptions(runtime='openvino'))]\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\n"
        "ending = threading.Thread(target=runners.clear)\n"
        "ending.start()\n"
        "ending.join()\n"
        "signal.raise_signal(signal.SIGUSR1)\n"
    )
    done = finished([sys.executable, "-c", code])
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_sixteen_threads_share_passes_and_get_what_each_gets_alone(tiny: Manifest) -> None:
    engine = load_engine(tiny, "cpu", options(None))
    images = [an_image(seed) for seed in range(8)]
    jobs = [(name, image) for image in images for name in KINDS.values()]
    alone = [engine.run(name, image) for name, image in jobs]
    engine.cache = FeatureCache()
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda job: engine.run(*job), jobs))
    assert engine.cache.passes == len(images)
    for one, other in zip(alone, together, strict=True):
        near(one, other)


def near(one: Result, other: Result) -> None:
    """The same answer, its numbers equal to the rounding of a sum in another order."""
    numbers = [np.array(list(_numbers(result.model_dump()))) for result in (one, other)]
    assert one.kind == other.kind
    assert numbers[0].shape == numbers[1].shape
    np.testing.assert_allclose(numbers[0], numbers[1], atol=0.02)


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _numbers(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part)


def test_an_answer_that_is_overdue_costs_no_pass(tiny: Manifest) -> None:
    engine = load_engine(tiny, "cpu")
    with pytest.raises(Overdue):
        engine.with_deadline(Deadline(0.0)).run("breast_2cls", an_image())
    with pytest.raises(Overdue):
        engine.with_deadline(Deadline(0.0)).screen("breast_2cls", [an_image()])
    assert engine.cache.passes == 0
    assert engine.with_deadline(Deadline(60.0)).run("breast_2cls", an_image()).kind == "classify"


def test_what_one_image_is_declined_for_does_not_touch_another(tiny: Manifest) -> None:
    engine = load_engine(tiny, "cpu", options(None))
    narrow = image_of(np.full((16, 8000), 100, np.uint8))
    with ThreadPoolExecutor(2) as pool:
        declined = pool.submit(engine.run, "breast_2cls", narrow)
        answered = pool.submit(engine.run, "breast_2cls", an_image())
        assert answered.result().kind == "classify"
        with pytest.raises(Declined):
            declined.result()
