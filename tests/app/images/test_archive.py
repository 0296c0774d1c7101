"""ZIP archives are read file by file, and a hostile one is refused quickly and in little memory."""

import io
import time
import tracemalloc
import zipfile
from contextlib import suppress

import pytest

from app.errors import ArchiveRejected, ImageRejected, ImageTooLarge
from app.images.archive import RATIO_MAX, Budget, Member, is_archive, members, shown_name
from tests.app import hostile_archives as hostile
from tests.app.conftest import a_png

PNG = a_png()
MIB = 2**20


def read(data: bytes, entry: int = 32 * MIB, total: int = 64 * MIB) -> list[Member]:
    budget = Budget(entries=500, entry_bytes=entry, total_bytes=total)
    return list(members(io.BytesIO(data), budget))


def refusal(member: Member) -> str:
    assert member.refused is not None
    assert member.data == b""
    return str(member.refused)


def test_files_come_in_their_order_and_folders_do_not_count() -> None:
    archive = hostile.packed({"visit/": b"", "visit/b.png": PNG, "visit/a.png": b"x"})
    assert is_archive(io.BytesIO(archive))
    found = read(archive)
    assert [(member.name, member.data) for member in found] == [
        ("visit/b.png", PNG),
        ("visit/a.png", b"x"),
    ]


def test_what_systems_add_is_skipped_and_said() -> None:
    names = ("__MACOSX/._a.png", "visit/.DS_Store", "Thumbs.db", "visit/DICOMDIR", "._b.png")
    found = read(hostile.packed(dict.fromkeys(names, b"x") | {"a.png": PNG}))
    assert [member.name for member in found if member.skipped] == list(names)
    assert [member.name for member in found if member.data] == ["a.png"]


def nested() -> bytes:
    return hostile.packed({"inner.png": hostile.packed({"a.png": PNG})})


REFUSED = {
    "a zip in a zip": (nested(), "within an archive"),
    "a path out of the archive": (hostile.by_hand(b"a/../../b.png", PNG), r"\.\."),
    "an absolute path": (hostile.by_hand(b"/etc/b.png", PNG), "absolute"),
    "a drive": (hostile.by_hand(b"C:b.png", PNG), "absolute"),
    "a backslash": (hostile.by_hand(b"..\\b.png", PNG), "backslash"),
    "a control character": (hostile.by_hand(b"a\nb.png", PNG), "control"),
    "a zero byte": (hostile.by_hand(b"a.png\0.exe", PNG), "control|damaged"),
    "a name that is not UTF-8": (hostile.by_hand(b"\xfcber.png", PNG), "UTF-8"),
    "a link": (hostile.link(), "link"),
    "a device": (hostile.device(), "device"),
    "an encrypted entry": (hostile.by_hand(b"a.png", PNG, flags=hostile.ENCRYPTED), "encrypted"),
    "bzip2": (hostile.packed({"a.png": PNG}, hostile.BZIP2), "deflate"),
    "a size that is too small": (hostile.by_hand(b"a.png", PNG, stated=10), "another size"),
    "a size that is too large": (hostile.by_hand(b"a.png", PNG, stated=10**6), "another size"),
    "a bomb": (hostile.packed({"a.png": bytes(30 * MIB)}), f"{RATIO_MAX} times"),
    "a bomb that states a small size": (
        hostile.by_hand(b"a.png", bytes(30 * MIB), stated=100),
        f"{RATIO_MAX} times",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_entry_is_refused_by_its_name(name: str) -> None:
    data, words = REFUSED[name]
    (member,) = read(data)
    assert member.name.isprintable()
    with pytest.raises(ImageRejected, match=words):
        raise member.refused or AssertionError(member)


def test_a_bad_entry_stops_no_other() -> None:
    packed = hostile.packed({"a.png": PNG, "b.png": bytes(20 * MIB), "../c.png": PNG, "d.png": PNG})
    found = read(packed)
    assert [bool(member.data) for member in found] == [True, False, False, True]


def test_damage_in_one_entry_stops_no_other() -> None:
    archive = bytearray(hostile.packed({"a.png": PNG, "b.png": PNG}, zipfile.ZIP_STORED))
    archive[200] ^= 0xFF
    first, second = read(bytes(archive))
    assert "damaged" in refusal(first)
    assert second.data == PNG


def test_a_name_is_read_once() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("a.png", PNG)
        with pytest.warns(UserWarning, match="Duplicate"):
            writer.writestr("a.png", b"another")
    first, second = read(archive.getvalue())
    assert first.data == PNG
    assert "twice" in refusal(second)


def test_sizes_are_counted_over_all_entries() -> None:
    stored = hostile.packed({f"{n}.dcm": bytes(3 * MIB) for n in range(4)}, zipfile.ZIP_STORED)
    found = read(stored, total=7 * MIB)
    assert [bool(member.data) for member in found] == [True, True, False, False]
    assert "at once" in refusal(found[2])
    (member,) = read(hostile.packed({"a.dcm": bytes(3 * MIB)}, zipfile.ZIP_STORED), entry=2 * MIB)
    assert isinstance(member.refused, ImageTooLarge)


WHOLE = {
    "entries that overlap": (hostile.overlapping(), ArchiveRejected, "overlap"),
    "100 000 entries": (hostile.of_empty_entries(100_000), ImageTooLarge, "more than 500"),
    "an archive cut short": (hostile.packed({"a.png": PNG})[:-30], ArchiveRejected, "cut short"),
    "nothing but a beginning": (b"PK\x03\x04", ArchiveRejected, "cut short"),
    "an empty archive": (hostile.packed({}), ArchiveRejected, "no file"),
    "a name that claims to be UTF-8": (
        hostile.by_hand(b"\xfc.png", PNG, flags=hostile.UTF8),
        ArchiveRejected,
        "damaged",
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_an_archive_that_no_program_packs_is_refused_as_a_whole(name: str) -> None:
    data, kind, words = WHOLE[name]
    with pytest.raises(kind, match=words):
        read(data)


def test_the_overlapping_archive_is_a_bomb_that_unpacks() -> None:
    with zipfile.ZipFile(io.BytesIO(hostile.overlapping(3, 1000))) as archive:
        assert archive.testzip() is None
        assert sum(info.file_size for info in archive.infolist()) > 3000


@pytest.mark.parametrize("name", [*WHOLE, *(name for name in REFUSED if "bomb" in name)])
def test_a_hostile_archive_costs_little_memory_and_time(name: str) -> None:
    data = (WHOLE | REFUSED)[name][0]
    tracemalloc.start()
    began = time.process_time()
    with suppress(ImageRejected):
        read(data)
    taken_s, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - len(data) < 8 * MIB
    assert taken_s < 2.0


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_archive_is_read_or_refused_and_nothing_else(seed: int) -> None:
    archive = bytearray(hostile.packed({f"{n}.png": PNG[:300] for n in range(3)}))
    for step in range(3):
        place = (seed * 7919 + step * 104729) % len(archive)
        archive[place] = (seed * 31 + step * 17) % 256
    try:
        found = read(bytes(archive))
    except ImageRejected:
        return
    assert all(member.data or member.refused or member.skipped for member in found)


def test_a_name_is_shown_without_what_hides_or_turns_text() -> None:
    assert shown_name("a\u202egnp.exe\0\n") == "a\ufffdgnp.exe\ufffd\ufffd"
    assert shown_name("Übersicht 3 Uhr.png") == "Übersicht 3 Uhr.png"
    assert len(shown_name("x" * 60_000)) == 111
