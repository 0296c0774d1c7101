"""The protocol table fits the manifest and itself."""

import re
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


def test_every_component_and_class_of_a_question_is_one_of_its_specialist() -> None:
    manifest = read_manifest()
    for exam in read_protocols().exams.values():
        for question in exam.questions:
            for name in exam.step(question.slot).specialists:
                labels = {*manifest.specialist(name).labels, None}
                assert {question.component, question.score_of} <= labels


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


def test_every_question_names_the_structure_that_the_report_groups_it_by() -> None:
    for exam in read_protocols().exams.values():
        assert all(question.structure for question in exam.questions)


def test_what_a_topic_covers_is_of_one_exam_and_named_as_no_question_of_another_topic() -> None:
    for exam in read_protocols().exams.values():
        topics = {question.topic for question in exam.questions} - {None}
        for question in exam.questions:
            assert question.label not in topics - {question.topic}


def test_every_general_topic_says_in_a_sentence_what_is_not_answered() -> None:
    topics = read_protocols().topics
    assert len({topic.name for topic in topics}) == len(topics)
    for topic in topics:
        assert topic.everything or topic.cannot
        if topic.cannot is not None:
            assert topic.cannot.endswith(".")
            assert not re.search(r"rule[sd]? out|not a risk|\w_\w", topic.cannot)


def test_keywords_of_another_wording_do_not_change_what_a_planner_was_taught(
    tmp_path: Path,
) -> None:
    shipped = PACKAGE_PROTOCOLS.read_text(encoding="utf-8")
    asked, stepped = tmp_path / "asked.toml", tmp_path / "stepped.toml"
    asked.write_text(shipped.replace('"csp"', '"septum"'), encoding="utf-8")
    stepped.write_text(shipped.replace("required = false\n", ""), encoding="utf-8")
    taught = read_protocols().steps_sha256
    assert read_protocols(asked).steps_sha256 == taught
    assert read_protocols(stepped).steps_sha256 != taught


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
