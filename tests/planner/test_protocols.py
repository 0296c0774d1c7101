"""The protocol table fits the manifest and itself."""

from pathlib import Path

import pytest

from planner.errors import ProtocolInvalid
from planner.protocols import (
    PACKAGE_PROTOCOLS,
    SLOT_KINDS,
    Answer,
    ProtocolStep,
    read_protocols,
)
from reports.model import ExamCode
from specialists.manifest import read_manifest

STEPS = [
    pytest.param(code, step, id=f"{code.value}-{step.slot}")
    for code, exam in read_protocols().exams.items()
    for step in exam.steps
]


@pytest.mark.parametrize(("code", "step"), STEPS)
def test_every_specialist_of_a_step_is_in_the_manifest_and_fills_its_slot(
    code: ExamCode, step: ProtocolStep
) -> None:
    manifest = read_manifest()
    for name in step.specialists:
        entry = manifest.specialist(name)
        assert step.slot in entry.provides
        assert code in entry.exams
        assert SLOT_KINDS[step.slot.partition(":")[0]] is entry.kind


def test_the_router_scores_exams_in_their_order() -> None:
    router = read_protocols().router
    entry = read_manifest().specialist(router.specialist)
    assert entry.labels == tuple(ExamCode)[: len(entry.labels)]
    assert len(entry.labels) >= 5
    assert router.slot in entry.provides


def test_every_structure_and_class_of_a_question_is_one_of_its_specialist() -> None:
    manifest = read_manifest()
    for exam in read_protocols().exams.values():
        for question in exam.questions:
            for name in exam.step(question.slot).specialists:
                labels = {*manifest.specialist(name).labels, None}
                assert {question.structure, question.score_of} <= labels


def test_every_structure_that_confirms_or_is_compared_is_one_of_its_specialist() -> None:
    manifest = read_manifest()
    for exam in read_protocols().exams.values():
        named = [(q.confirmed_by, q.outlined_as) for q in exam.questions if q.confirmed_by]
        named += [(row.slots[-1], row.structure) for row in exam.checks]
        for slot, structure in named:
            for name in exam.step(slot or "").specialists:
                assert structure in {*manifest.specialist(name).labels, None}


def test_every_measurement_says_what_it_means_when_its_result_shows_nothing() -> None:
    for code, exam in read_protocols().exams.items():
        measured = [q for q in exam.questions if q.kind is Answer.MEASUREMENT]
        assert bool(measured) == (code is not ExamCode.LUNG)
        assert all(question.absent for question in measured)


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ('slot = "box:lesion"\nspecialists', 'slot = "blob:lesion"\nspecialists', "slot"),
        ('needs = ["box:lesion found"]', 'needs = ["box:lesion perhaps"]', "condition"),
        ('needs = ["box:lesion found"]', 'needs = ["scores:breast found"]', "no earlier step"),
        ("[exams.muscle]", "[exams.muscles]", "muscles"),
        ('id = "hc"', 'id = "bpd"', "same id"),
        ('slot = "scores:breast"\nspecialists', 'slot = "mask:lesion"\nspecialists', "two steps"),
        ("title = ", "title ", "cannot be used"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused_with_the_place(
    old: str, new: str, names: str, tmp_path: Path
) -> None:
    table = PACKAGE_PROTOCOLS.read_text(encoding="utf-8")
    assert old in table
    broken = tmp_path / "protocols.toml"
    broken.write_text(table.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ProtocolInvalid, match=names):
        read_protocols(broken)


def test_a_table_that_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ProtocolInvalid, match="nowhere"):
        read_protocols(tmp_path / "nowhere.toml")
