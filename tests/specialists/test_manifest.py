"""The shipped manifest lists what the design names; a user's file adds to it or replaces."""

from pathlib import Path

import pytest

from reports.model import ExamCode
from specialists.errors import Rejected, WeightsError
from specialists.manifest import Kind, read_manifest

POINTS = {"fugc": 2, "iugc": 3, "fetal_femur": 2}
CLASSES = {
    "breast_2cls": 2,
    "breast_3cls": 3,
    "fetal_head_pos_cls": 8,
    "fetal_plane_cls": 6,
    "fetal_sacral_pos_cls": 8,
    "liver_lesion_2cls": 2,
    "lung_2cls": 2,
    "lung_disease_3cls": 3,
    "organ_cls": 6,
}
BOXES = ("spinal_cord_injury_loc", "thyroid_nodule_det", "uterine_fibroid_det")
MASKS = {
    "breast_lesion": 2,
    "cardiac_multi": 4,
    "carotid_artery": 2,
    "cervix": 2,
    "cervix_multi": 3,
    "fetal_abdomen_multi": 5,
    "fetal_head": 2,
    "fetal_heart": 2,
    "head_symphysis_multi": 3,
    "lung": 2,
    "ovary_tumor": 2,
    "thyroid_nodule": 2,
}
OURS = {
    "exam_cls": "scores:exam",
    "breast_lesion_det": "box:lesion",
    "breast_lesion": "mask:lesion",
    "breast_2cls": "scores:malignancy",
    "breast_3cls": "scores:breast",
    "intrapartum_head_det": "box:head",
    "head_symphysis_multi": "mask:head_symphysis",
    "aop_landmarks": "points:aop",
}


def test_all_27_challenge_tasks_are_listed_with_their_kind_and_counts() -> None:
    found = {n: e for n, e in read_manifest().specialists.items() if n.startswith("fmc_")}
    expected = {f"fmc_{name}" for name in (*POINTS, *CLASSES, *BOXES, *MASKS)}
    assert set(found) == expected
    assert len(found) == 27
    for name, count in POINTS.items():
        entry = found[f"fmc_{name}"]
        assert (entry.kind, len(entry.landmarks)) == (Kind.REGRESS, count), name
    for name, count in CLASSES.items():
        entry = found[f"fmc_{name}"]
        assert (entry.kind, len(entry.labels)) == (Kind.CLASSIFY, count), name
    for name, count in MASKS.items():
        entry = found[f"fmc_{name}"]
        assert (entry.kind, len(entry.labels)) == (Kind.SEGMENT, count), name
    for name in BOXES:
        assert (found[f"fmc_{name}"].kind, len(found[f"fmc_{name}"].labels)) == (Kind.DETECT, 1)


def test_challenge_tasks_are_not_installed_and_say_why() -> None:
    for entry in read_manifest().specialists.values():
        if entry.id.startswith("fmc_"):
            assert not entry.installed
            assert entry.not_installed
            assert entry.task_id.lower() == entry.id.removeprefix("fmc_")


@pytest.mark.parametrize("specialist_id", OURS)
def test_our_tasks_fill_the_slots_that_the_planner_reads(specialist_id: str) -> None:
    manifest = read_manifest()
    assert manifest.specialist(specialist_id).provides == (OURS[specialist_id],)
    assert manifest.provider(OURS[specialist_id]) is manifest.specialist(specialist_id)


def test_labels_are_in_the_order_of_the_data() -> None:
    manifest = read_manifest()
    assert manifest.specialist("breast_2cls").labels == ("benign", "malignant")
    assert manifest.specialist("breast_3cls").labels == ("normal", "benign", "malignant")
    router = manifest.specialist("exam_cls").labels
    names = (
        "breast",
        "fetal_head",
        "intrapartum",
        "nerve",
        "muscle",
        "thyroid",
        "heart",
        "ovary",
        "lung",
    )
    assert tuple(ExamCode) == names
    assert router in (names[:5], names)


def test_every_entry_is_complete() -> None:
    manifest = read_manifest()
    for entry in manifest.specialists.values():
        assert entry.model in manifest.models, entry.id
        assert entry.installed or entry.not_installed, entry.id
        assert not (entry.installed and entry.not_installed), entry.id
        assert (entry.kind is Kind.REGRESS) == bool(entry.landmarks), entry.id
        assert all(source.licence for source in entry.training_data), entry.id
        if entry.kind is Kind.SEGMENT:
            assert entry.labels[0] == "background", entry.id
        if entry.roi_slot is not None:
            assert manifest.provider(entry.roi_slot), entry.id


def test_only_the_breast_detector_has_learned_absence() -> None:
    found = [e.id for e in read_manifest().specialists.values() if e.absence_known]
    assert found == ["breast_lesion_det"]


def test_views_that_a_mirror_would_invert_are_never_flipped() -> None:
    for name in ("aop_landmarks", "head_symphysis_multi", "intrapartum_head_det"):
        policy = read_manifest().specialist(name).geometry
        assert (policy.hflip, policy.vflip) == (False, False)


def test_twelve_of_the_challenges_tasks_have_a_stand_in_that_answers_the_same_question() -> None:
    manifest = read_manifest()
    found = {e.id: manifest.stand_in(e) for e in manifest.specialists.values() if e.stands_in}
    assert len(found) == 12
    for name, other in found.items():
        assert other is not None
        ours = "aop_landmarks" if name == "fmc_iugc" else name.removeprefix("fmc_")
        assert other.id == other.task_id == ours


@pytest.mark.parametrize(
    ("specialist_id", "stands_in", "why"),
    [
        ("fmc_organ_cls", "exam_cl", "no specialist of ours"),
        ("fmc_organ_cls", "fmc_breast_2cls", "no specialist of ours"),
        ("fmc_organ_cls", "breast_lesion", "the kind segment, not classify"),
        ("fmc_organ_cls", "breast_3cls", "3 classes or points, not 2"),
        ("mine", "breast_2cls", "only the challenge's tasks"),
    ],
)
def test_a_stand_in_that_answers_another_question_is_refused_when_the_manifest_is_read(
    tmp_path: Path, specialist_id: str, stands_in: str, why: str
) -> None:
    text = USER.format(id=specialist_id) + f'stands_in = "{stands_in}"\n'
    (tmp_path / "manifest.toml").write_text(text, encoding="utf-8")
    with pytest.raises(
        WeightsError, match=f"{stands_in} cannot stand in for {specialist_id}: .*{why}"
    ):
        read_manifest(tmp_path)


def test_a_task_of_the_challenge_that_has_weights_answers_itself(tmp_path: Path) -> None:
    text = USER.format(id="fmc_breast_2cls") + 'stands_in = "breast_2cls"\n'
    (tmp_path / "manifest.toml").write_text(text, encoding="utf-8")
    manifest = read_manifest(tmp_path)
    assert manifest.stand_in(manifest.specialist("fmc_breast_2cls")) is None


def test_an_unknown_specialist_is_rejected_by_name() -> None:
    with pytest.raises(Rejected, match="nobody"):
        read_manifest().specialist("nobody")


USER = """
[[specialist]]
id = "{id}"
kind = "classify"
title = "Mine"
model = "usgen"
task_id = "mine"
exams = []
labels = ["a", "b"]
units = "probability"
provides = ["scores:mine"]
features = ["stem"]
roi = "none"
geometry = {{ hflip = true, vflip = false, rotate_deg = 0.0, x_scale = 1.0 }}
weights = "mine.safetensors"
"""


@pytest.mark.parametrize("specialist_id", ["mine", "fmc_organ_cls"])
def test_a_users_manifest_adds_or_replaces_an_entry(tmp_path: Path, specialist_id: str) -> None:
    (tmp_path / "manifest.toml").write_text(USER.format(id=specialist_id), encoding="utf-8")
    shipped, manifest = read_manifest(), read_manifest(tmp_path)
    entry = manifest.specialist(specialist_id)
    assert (entry.title, entry.directory, entry.installed) == ("Mine", tmp_path, True)
    others = set(shipped.specialists) - {specialist_id}
    assert all(manifest.specialists[n] == shipped.specialists[n] for n in others)
    assert set(manifest.specialists) == others | {specialist_id}


def test_a_folder_without_manifest_changes_nothing(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == read_manifest()


@pytest.mark.parametrize(
    "text",
    [
        b"[[specialist]\n",
        b'[[specialist]]\nid = "half"\n',
        b'specialist = "none"\n',
        USER.format(id="x").replace('roi = "none"', 'roi = "optional"').encode(),
        (USER.format(id="x") + "colour = 1\n").encode(),
        b'title = "\xff"\n',
    ],
    ids=["not toml", "half an entry", "no table", "roi without slot", "unknown key", "not utf-8"],
)
def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "manifest.toml").write_bytes(text)
    with pytest.raises(WeightsError, match=str(tmp_path)):
        read_manifest(tmp_path)
