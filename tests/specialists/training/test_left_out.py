"""Predictions of heads on sources that they were not trained on.

The tests cover figures, label sets fitted elsewhere, and whether a classifier holds.
"""

from pathlib import Path

import numpy as np
import pytest

from reports.measure.intervals import Form
from specialists.errors import TrainingError
from specialists.manifest import SpecialistEntry, read_manifest
from specialists.training.data.tables import Sample
from specialists.training.registry import ship, write_entries
from specialists.training.transfer.left_out import (
    Errors,
    LeftOut,
    Result,
    Said,
    figures,
    for_card,
    pairs_of,
    scored_of,
)
from specialists.training.transfer.requirement import judged, pooled, why_not
from specialists.training.transfer.sources import Lot, Source, in_parts, origins_of, seen_of
from tests.specialists.nets import an_entry


def a_result(seed: int, shift: float, patients: str, count: int = 120) -> Result:
    """Logits of two classes, those of the second lower by `shift`, and errors of a length."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 2
    logits = np.where(truth == 1, 2.5 - shift, -2.5) + rng.normal(0, 1.5, count)
    said = Said(
        values=[[0.0, value] for value in logits],
        truth=truth.tolist(),
        groups=[f"{patients}{index // 2}" for index in range(count)],
        origins=[f"page {index // 10}" for index in range(count)],
        temperature=1.0,
    )
    errors = Errors(
        errors=rng.normal(0, 0.1 * (1 + shift), count).tolist(),
        groups=said.groups,
        form=Form.RELATIVE,
        not_measured=2,
    )
    return Result(
        rows=count, missing=0, metrics=[], problems=[], said=said, errors={"long axis": errors}
    )


def a_left_out(name: str, result: Result, part: str | None = None) -> LeftOut:
    return LeftOut(
        made={"backbone": "1" * 64},
        column="source" if part else "dataset",
        values=[name],
        part=part,
        backbone_saw=True,
        tasks={"breast_2cls": result},
    )


@pytest.fixture
def entry(tmp_path: Path) -> SpecialistEntry:
    return an_entry("breast_2cls", tmp_path, temperature=1.0)


def test_sets_and_intervals_are_fitted_to_the_other_sources_left_out(
    entry: SpecialistEntry,
) -> None:
    one = a_left_out("one", a_result(0, 0.0, "a"))
    two = a_left_out("two", a_result(1, 2.0, "b"))
    of_two = {metric.name: metric for metric in figures(entry, two, [one, two])}
    held = of_two["label set coverage of malignant, fitted to other sources left out"]
    assert held.value < 0.8  # its lesions score lower than those that the sets were fitted to
    assert held.n == 60
    assert of_two["interval coverage of long axis, fitted to other sources left out"].value < 0.5
    of_one = {metric.name: metric for metric in figures(entry, one, [one, two])}
    assert of_one["label set coverage of malignant, fitted to other sources left out"].value > 0.9
    assert of_one["interval coverage of long axis, fitted to other sources left out"].value > 0.9
    assert "label sets with one class, fitted to other sources left out" in of_one
    assert {metric.split for metric in of_one.values()} == {"left out"}
    assert figures(entry, one, [one]) == []  # nothing else to fit to


def test_no_patient_of_the_source_has_a_say_in_what_it_is_judged_by(entry: SpecialistEntry) -> None:
    device = a_left_out("device", a_result(0, 0.0, "a"))
    whole = a_left_out("whole", a_result(1, 0.0, "a"))  # the same patients
    assert figures(entry, device, [device, whole]) == []


def test_a_class_that_no_other_source_holds_is_neither_in_a_set_nor_judged(
    tmp_path: Path,
) -> None:
    entry = an_entry("breast_3cls", tmp_path, temperature=1.0)

    def three(result: Result, first: int) -> Result:
        said = result.said
        assert said is not None
        values = [[-9.0, *logits] for logits in said.values]
        truth = [first if index < 20 else label + 1 for index, label in enumerate(said.truth)]
        return result.model_copy(
            update={"said": said.model_copy(update={"values": values, "truth": truth})}
        )

    one = a_left_out("one", Result.model_validate(a_result(0, 0.0, "a")))
    two = a_left_out("two", a_result(1, 0.0, "b"))
    normals = one.model_copy(update={"tasks": {"breast_3cls": three(one.tasks["breast_2cls"], 0)}})
    plain = two.model_copy(update={"tasks": {"breast_3cls": three(two.tasks["breast_2cls"], 1)}})
    found = {metric.name: metric for metric in figures(entry, normals, [normals, plain])}
    tail = "fitted to other sources left out"
    assert found[f"label set coverage, {tail}"].n == 100
    assert f"label set coverage of normal, {tail}" not in found
    assert found[f"label sets with one class, {tail}"].value > 0.5


def test_a_card_keeps_few_figures(entry: SpecialistEntry) -> None:
    one = a_left_out("one", a_result(0, 0.0, "a"))
    two = a_left_out("two", a_result(1, 0.0, "b"))
    metric = figures(entry, two, [one, two])[0]
    named = [metric.model_copy(update={"name": name}) for name in ("f1", "hd95_px lesion", "auc")]
    assert [item.name for item in for_card(named)] == ["auc"]


def test_what_all_sources_left_out_say_is_taken_together() -> None:
    one = a_left_out("one", a_result(0, 0.0, "a"))
    two = a_left_out("two", a_result(1, 0.0, "b"))
    scored = scored_of([one, two], "breast_2cls")
    assert scored is not None
    assert set(scored.lot.parts().told) == {"one left out", "two left out"}
    assert scored_of([one, two], "breast_lesion") is None
    pairs = pairs_of([one, two], "breast_2cls")["long axis"]
    assert (len(pairs.errors), pairs.form) == (240, Form.RELATIVE)
    assert len(one.tasks["breast_2cls"].errors["long axis"].errors) == 120  # left as it was


def lung(shift: float) -> list[LeftOut]:
    return [
        a_left_out("a", a_result(0, shift, "a"), part="part 1 of 2"),
        a_left_out("b", a_result(1, shift, "b"), part="part 2 of 2"),
    ]


def test_a_classifier_whose_classes_follow_its_sources_is_judged_over_all_parts(
    entry: SpecialistEntry,
) -> None:
    found = pooled(entry, lung(0.0))
    assert [item.name for item in found] == [
        "auc",
        "accuracy",
        "images recognised of benign",
        "images recognised of malignant",
    ]
    assert {item.left_out for item in found} == {"each source, in 2 parts"}
    assert found[0].n == 240
    assert found[0].low is not None
    assert why_not(entry, found) is None
    assert judged(entry, found).transfer == found


def test_one_that_does_not_hold_is_not_installed_and_says_the_figures(
    tmp_path: Path, entry: SpecialistEntry
) -> None:
    installed = entry.model_copy(update={"weights": "w", "sha256": "1" * 64, "not_installed": None})
    refused = judged(installed, pooled(entry, lung(4.6)))
    assert not refused.installed
    assert refused.thresholds == {}
    reason = refused.not_installed or ""
    assert "it does not hold on sources left out (each source, in 2 parts): AUC 0." in reason
    assert "malignant in" in reason
    assert "no figure" in (why_not(entry, ()) or "")


def test_only_its_reason_and_figures_are_shipped_of_what_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, package = tmp_path / "run", tmp_path / "package"
    model = read_manifest().models["usgen"].model_copy(update={"directory": run})
    package.mkdir()
    for name in (model.weights, model.decoders, model.novelty, "usgen.json"):
        for folder in (run, package):
            folder.mkdir(exist_ok=True)
            if name is not None:
                (folder / name).write_bytes(b"weights")
    shipped = package / "manifest.toml"
    shipped.write_text(
        '[[specialist]]\nid = "lung_2cls"\nnot_installed = "It has not been trained yet."\n',
        encoding="utf-8",
    )
    monkeypatch.setattr("specialists.training.registry.PACKAGE_MANIFEST", shipped)
    monkeypatch.setattr("specialists.training.registry.PACKAGE_WEIGHTS", package)
    values = {"model": "usgen", "backbone_sha256": model.sha256, "not_installed": None}
    trained = an_entry("lung_2cls", run, weights="w", sha256="1" * 64, **values)
    write_entries(run / "manifest.toml", [model], [trained])
    with pytest.raises(TrainingError, match=r"lung_2cls ships only if .* --by source"):
        ship(run, ["lung_2cls"])
    names = {"breast_2cls": "lung_2cls"}
    parts = [
        left.model_copy(update={"tasks": {names[k]: v for k, v in left.tasks.items()}})
        for left in lung(4.6)
    ]
    write_entries(run / "manifest.toml", [], [judged(trained, pooled(trained, parts))])
    assert not any(path.name.startswith("lung") for path in ship(run, ["lung_2cls"]))
    text = shipped.read_text(encoding="utf-8")
    assert "it does not hold on sources left out" in text
    assert "not been trained yet" not in text
    assert "images recognised of diseased" in text


def a_sample(index: int, **changes: object) -> Sample:
    values: dict[str, object] = {
        "path": Path(f"{index}.png"),
        "dataset": "d",
        "group": str(index),
        "split": "train",
        "classes": {"lung_2cls": index % 2},
    }
    return Sample(**{**values, **changes})  # type: ignore[arg-type]


def test_parts_hold_whole_sources_and_share_the_classes() -> None:
    pages = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 3, 6: 2, 7: 3}
    samples = [a_sample(index, source=f"page {pages[index]}") for index in range(8)]
    parts = in_parts(samples, "source", 2)
    assert [part.part for part in parts] == ["part 1 of 2", "part 2 of 2"]
    assert sorted(value for part in parts for value in part.values) == [
        f"page {n}" for n in range(4)
    ]
    for part in parts:
        classes = [s.classes["lung_2cls"] for s in samples if part.has(s)]
        assert len(classes) == 4
        assert set(classes) == {0, 1}


def test_stage_one_sees_nothing_of_a_source_left_out_nor_of_its_patients() -> None:
    samples = [a_sample(0, dataset="one"), a_sample(1, dataset="two"), a_sample(2, dataset="two")]
    samples[2].group = samples[0].group
    assert [s.path.name for s in seen_of(samples, ["dataset=one"])] == ["1.png"]
    assert seen_of(samples, []) == samples
    with pytest.raises(TrainingError, match="dataset=three cannot be left out"):
        seen_of(samples, ["dataset=three"])


def test_a_device_is_a_source_of_its_own_beside_its_data_set() -> None:
    plain, with_device = a_sample(0), a_sample(1, device="scanner")
    assert origins_of(plain) == {"d"}
    assert origins_of(with_device) == {"d", "scanner"}
    lot = Lot.from_samples([a_sample(n, device="scanner" if n < 20 else "") for n in range(40)])
    parts = lot.parts()
    assert set(parts.told) == {"scanner"}  # what all share tells nothing apart
    assert parts.weights().sum() == pytest.approx(1.0)
    assert Source.parse("device=scanner").has(with_device)
