"""The gate: images of an exam from another scanner are analysed, other organs are refused."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reports.model import ExamCode
from specialists.admission.exam_distance import exam_distance_from, tensors_of
from specialists.admission.limits import REFUSED, UNNAMED, Place, Refusals, places
from specialists.errors import Foreign, TrainingError, WeightsError
from specialists.image import image_of
from specialists.load import load_engine, load_novelty
from specialists.manifest import GeometryPolicy, Manifest
from specialists.training.calibration.gate import (
    WRONG,
    Described,
    described_of,
    fit_exam_distance,
    fit_gate,
    left_out,
    unseen,
)
from specialists.training.commands import with_checks
from specialists.training.data.pack import build_pack
from specialists.training.data.readable import read_grey
from specialists.training.data.tables import Sample, read_samples
from specialists.training.trials.gate import NEITHER, ORGAN, SCANNER, SERVED, gate_trial
from tests.specialists.dataset import read_csv, write_csv
from tests.specialists.nets import INPUT_PX, MODEL, a_model, an_entry, installed, threshold

BREAST, HEAD, NERVE = 0, 1, 3
D, WIDTHS = 40, (16, 16)
POLICY = GeometryPolicy(hflip=True, vflip=False, rotate_deg=5.0, x_scale=1.2)


def images(seed: int, exams: Sequence[int] = (BREAST, HEAD, NERVE), each: int = 60) -> Described:
    """Exams that differ in a direction each, of two scanners that differ in another, and views."""
    generator = torch.Generator().manual_seed(seed)
    count = 2 * each * len(exams)
    values = torch.randn(2 * count, D, generator=generator)
    exam = np.tile(np.repeat(exams, 2 * each), 2)
    scanner = np.tile(np.repeat([0, 1], each), 2 * len(exams))
    values[torch.arange(2 * count), torch.from_numpy(exam) + D - 16] += 6
    values[:, -1] += torch.from_numpy(scanner).float()
    return Described(
        values=values,
        exams=exam,
        datasets=np.array([f"set {e} {s}" for e, s in zip(exam, scanner, strict=True)]),
        devices=np.full(2 * count, ""),
        views=np.repeat([False, True], count),
    )


def test_an_image_is_nearest_to_its_own_exam_and_another_organ_is_far_from_all() -> None:
    fitted = fit_exam_distance(images(0), WIDTHS)
    other = images(1)
    distances = fitted(other.values)
    nearest = np.array([BREAST, HEAD, NERVE])[distances.argmin(1).numpy()]
    assert (nearest == other.exams).mean() > 0.99
    organ = images(2, exams=(7,)).values
    assert fitted(organ).amin(1).median() > distances.amin(1).quantile(0.95)


def test_the_usual_training_image_is_at_distance_0_in_spreads_of_1_or_so() -> None:
    train = images(0)
    own = fit_exam_distance(train, WIDTHS)(train.values).amin(1)
    assert abs(float(own.mean())) < 0.2
    assert 0.7 < float(own.std()) < 1.6


def test_stored_statistics_of_exams_give_the_same_distances_and_state_how_many_they_are_of() -> (
    None
):
    fitted, values = fit_exam_distance(images(0), WIDTHS), images(1).values
    tensors = tensors_of(fitted)
    torch.testing.assert_close(exam_distance_from(tensors, 3)(values), fitted(values))
    with pytest.raises(WeightsError, match="of 3 exams, the manifest names 4"):
        exam_distance_from(tensors, 4)
    del tensors["exam_bias"]
    with pytest.raises(WeightsError, match="exam_bias"):
        exam_distance_from(tensors, 3)


def test_every_exam_is_left_out_and_every_scanner_whose_exam_has_another_but_no_drawn_images() -> (
    None
):
    lone = images(0, exams=(BREAST, HEAD))
    only = lone.where((lone.exams != HEAD) | (lone.datasets == f"set {HEAD} 0"))
    drawn = np.where(only.datasets == f"set {BREAST} 1", "phantom", only.datasets)
    assert [group.value for group in left_out(only)] == ["0", "1", "set 0 0", "set 0 1"]
    assert [group.value for group in left_out(replace(only, datasets=drawn))] == ["0", "1"]
    devices = np.where(only.exams == BREAST, only.datasets, "")
    named = left_out(replace(only, devices=devices))
    assert [group.column for group in named] == ["exams"] * 2 + ["datasets"] * 2 + ["devices"] * 2


def test_the_limits_take_images_of_a_scanner_left_out_and_few_of_organs_left_out() -> None:
    train, val = images(0), images(1)
    gate = fit_gate(train, val, WIDTHS)
    assert gate.exams == (ExamCode.BREAST, ExamCode.FETAL_HEAD, ExamCode.NERVE)
    assert gate.distance is not None
    names = {f"{kind} {exam.value}" for kind in (UNNAMED, REFUSED) for exam in gate.exams}
    assert gate.limits.keys() == names
    taken: list[float] = []
    mistaken: list[float] = []
    for one in unseen(train, val.where(~val.views), WIDTHS):
        place = one.distances.argmin(1)
        codes = [list(ExamCode)[exam].value for exam in one.known]
        limits = np.array([gate.limits[f"{UNNAMED} {code}"].value for code in codes])
        near = one.nearest <= limits[place]
        (mistaken if one.exam is None else taken).append(near.mean())
    assert np.mean(mistaken) <= WRONG + 0.01
    assert np.mean(taken) > 0.9
    for exam in gate.exams:
        unnamed, named = (gate.limits[f"{kind} {exam.value}"] for kind in (UNNAMED, REFUSED))
        assert unnamed.value <= named.value
        assert "organs left out" in unnamed.source


@pytest.mark.parametrize("exams", [(BREAST,), ()])
def test_where_no_exam_can_be_left_out_there_is_no_gate(exams: tuple[int, ...]) -> None:
    some = images(0)
    kept = some.where(np.isin(some.exams, exams))
    gate = fit_gate(kept, kept, WIDTHS)
    assert (gate.distance, gate.exams, gate.limits) == (None, (), {})


def test_images_of_no_known_exam_fit_nothing() -> None:
    samples = [
        Sample(path=Path("a"), dataset="s", group="g", split="train", classes={"exam_cls": 2}),
        Sample(path=Path("b"), dataset="s", group="g", split="train"),
    ]
    found = described_of(torch.arange(8.0).reshape(4, 2), samples)
    assert found.values.tolist() == [[0, 1], [4, 5]]
    assert found.views.tolist() == [False, True]
    assert found.known == [2]


def test_a_specialist_is_not_asked_beyond_the_limit_of_its_exam_and_the_router_beyond_all() -> None:
    limits = {f"{REFUSED} breast": threshold(2.0), f"{REFUSED} nerve": threshold(1.0)}
    model = a_model(Path(), thresholds=limits, gate_exams=("breast", "nerve"))
    refusals = Refusals({MODEL: model}, {})
    breast, router = an_entry("breast_2cls", Path()), an_entry("exam_cls", Path())
    near, far = places(torch.tensor([[9.0, 1.9, 3.0], [0.1, 2.1, 1.1]]), model, 2)
    assert near == Place(novelty=9.0, exams={"breast": 1.9, "nerve": 3.0})
    assert refusals.reason(breast, near) is None  # however unlike: it is flagged
    assert refusals.reason(router, near) is None
    assert "an image of breast, whatever the scanner" in (refusals.reason(breast, far) or "")
    assert "any of the exams" in (refusals.reason(router, far) or "")
    with pytest.raises(Foreign, match=r"distance 2\.10, limit 2\.00"):
        refusals.check(breast, far)


def test_a_task_of_ones_own_keeps_its_limit_of_novelty_where_there_is_a_gate() -> None:
    model = a_model(
        Path(), thresholds={f"{REFUSED} breast": threshold(2.0)}, gate_exams=("breast",)
    )
    own = an_entry("breast_2cls", Path(), thresholds={"novelty": threshold(5.0)})
    refusals = Refusals({MODEL: model}, {})
    assert refusals.reason(own, Place(novelty=4.9, exams={"breast": 99.0})) is None
    assert "unlike" in (refusals.reason(own, Place(novelty=5.1, exams={"breast": 0.0})) or "")


@pytest.fixture
def judged(data: Path, tmp_path: Path) -> Manifest:
    """A tiny router whose gate was fitted on drawn images of two exams with two scanners each."""
    rows: list[dict[str, object]] = []
    for task, exam in (("breast_lesion", 0), ("head_symphysis_multi", 2)):
        for index, row in enumerate(read_csv(data, task)):
            kept = {k: row[k] for k in ("image_path", "split")} | {"task_name": "classification"}
            labels = {"mask": exam, "num_classes": 9, "group_id": f"{exam}:{row['group_id']}"}
            rows.append({**kept, **labels, "dataset": f"{task} {index % 2}"})
    write_csv(data, "exam_cls", rows)
    folder = tmp_path / "weights"
    manifest = installed(folder, ("exam_cls",))
    entry = manifest.specialists["exam_cls"]
    limits = {**entry.thresholds, "accept": threshold(0.0), "contradiction": threshold(0.9)}
    entry = entry.model_copy(update={"thresholds": limits})
    train, val = (
        build_pack(read_samples(data, [entry], split), INPUT_PX) for split in ("train", "val")
    )
    model = with_checks(manifest.models[MODEL], train, val, folder)
    return Manifest(models={MODEL: model}, specialists={entry.id: entry})


def test_a_fitted_gate_is_served_with_every_answer(judged: Manifest, data: Path) -> None:
    model = judged.models[MODEL]
    assert model.gate_exams == (ExamCode.BREAST, ExamCode.INTRAPARTUM)
    novelty = load_novelty(model)
    assert novelty is not None
    assert novelty.exams is not None
    engine = load_engine(judged, "cpu")
    path = read_samples(data, [judged.specialists["exam_cls"]], "train")[0].path
    result = engine.run("exam_cls", image_of(read_grey(path)))
    assert result.exam_distances is not None
    assert result.exam_distances.keys() == {"breast", "intrapartum"}
    (again,) = engine.screen("exam_cls", [image_of(read_grey(path))])
    assert again is not None
    assert again.exam_distances == pytest.approx(result.exam_distances, abs=1e-3)


def test_the_trial_says_what_becomes_of_every_kind_of_picture(
    judged: Manifest, data: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first = gate_trial(judged, data, POLICY, lambda _: True, cache=cache)
    assert {row.kind for row in first} == {SERVED, SCANNER, ORGAN, NEITHER}
    for row in first:
        right = 0.0 if row.right is None else row.right.value
        assert right + row.wrong.value + row.refused == pytest.approx(1)
        assert (row.right is None) == (row.kind in (ORGAN, NEITHER))
    doppler = next(row for row in first if "Doppler" in row.group)
    assert doppler.refused == 1.0  # all is coloured here
    assert len(list(cache.iterdir())) == 2
    assert gate_trial(judged, data, POLICY, lambda _: True, cache=cache) == first
    bare = judged.models[MODEL].model_copy(update={"novelty": None})
    with pytest.raises(TrainingError, match="no gate"):
        gate_trial(
            judged.model_copy(update={"models": {MODEL: bare}}), data, POLICY, lambda _: True
        )
