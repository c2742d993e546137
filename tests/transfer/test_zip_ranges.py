"""Parts of a ZIP: the directory is read right, runs cover exactly what is requested, nothing unsafe is accepted."""

from __future__ import annotations

import io
import itertools
import random
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcli.core.errors import DataError
from medcli.transfer.zip_ranges import TAIL, Member, is_whole_better, name_problem, plan_runs, read_directory


def archive_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.comment = comment
    return buffer.getvalue()


class Reader:
    """Byte ranges of an archive, counted."""

    def __init__(self, content: bytes) -> None:
        self.content, self.asked = content, []

    def __call__(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(self.content)
        self.asked.append((start, end))
        return self.content[start:end]


def members_of(content: bytes) -> list[Member]:
    return read_directory(Reader(content), len(content), "a.zip")


FILES = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,3}\.png", fullmatch=True).filter(lambda name: not name_problem(name)),
    st.binary(max_size=3000),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(FILES, st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]), st.binary(max_size=40))
def test_the_directory_says_what_zipfile_reads(files: dict[str, bytes], method: int, comment: bytes) -> None:
    content = archive_of(files, method, comment)
    members = members_of(content)
    assert {member.name: member.size for member in members} == {name: len(data) for name, data in files.items()}
    assert all(content[member.start : member.start + 4] == b"PK\x03\x04" for member in members)
    assert all(a.end == b.start for a, b in itertools.pairwise(members))


@st.composite
def placed_members(draw: st.DrawFn) -> list[Member]:
    position, members = 0, []
    for index in range(draw(st.integers(0, 40))):
        position += draw(st.integers(0, 300))
        length = draw(st.integers(31, 500))
        members.append(Member(f"m{index}", position, position + length, 1, 1, 0, 0))
        position += length
    return members


@settings(max_examples=200, deadline=None)
@given(placed_members(), st.integers(0, 400), st.integers(50, 2000), st.randoms())
def test_runs_hold_every_member_once_within_their_limits(
    members: list[Member], gap: int, longest: int, chance: random.Random
) -> None:
    shuffled = list(members)
    chance.shuffle(shuffled)
    runs = plan_runs(shuffled, gap, longest)
    assert [member for run in runs for member in run.members] == members
    for run in runs:
        assert (run.start, run.end) == (run.members[0].start, run.members[-1].end)
        assert run.end - run.start <= longest or len(run.members) == 1
        assert all(b.start - a.end <= gap for a, b in itertools.pairwise(run.members))
    for one, two in itertools.pairwise(runs):  # no two neighbours could have been joined
        first_of_two = two.members[0]
        assert first_of_two.start - one.end > gap or first_of_two.end - one.start > longest


def test_a_directory_larger_than_the_tail_is_read_with_few_requests() -> None:
    content = archive_of({f"{'long/' * 20}{index:06d}.png": b"x" for index in range(3000)}, zipfile.ZIP_STORED)
    reader = Reader(content)
    assert len(read_directory(reader, len(content), "a.zip")) == 3000
    assert len(content) > TAIL
    assert len(reader.asked) <= 3


def test_more_than_65535_members_need_zip64_and_are_read() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(66_000):
            archive.writestr(zipfile.ZipInfo(f"{index}"), b"")
    assert len(members_of(buffer.getvalue())) == 66_000


@pytest.mark.parametrize(
    "name", ["../out", "/etc/passwd", "a/../../b", "C:/x", "a\\b", "a//b", "nul\0", "", "a/.", "b. /c"]
)
def test_names_that_lead_out_are_unsafe(name: str) -> None:
    assert name_problem(name)


@pytest.mark.parametrize(
    "name",
    [
        *("CON", "a/nul.png", "aux.stl", "COM1", "com¹.txt", "lpt9 .x", "CONIN$", "Prn. .png"),
        *("a\x1b[2J", "a\x85", "a\ud800", "a|b", "a\nb", 'a"b', "a*", "a?"),
        *("x" * 171, "a/" + "x" * 171 + "/b", "\N{GRINNING FACE}" * 43, "a/" * 600 + "b"),
    ],
)
def test_names_that_not_every_system_writes_are_refused(name: str) -> None:
    assert name_problem(name)


@pytest.mark.parametrize(
    "name",
    [
        *("specimen01/a.png", "a b/ü.png", "..a/b..c", ".hidden", "console", "aux1.png", "com10", "x" * 170),
        *("contact.csv", "a/nullable", "日本" * 28),
    ],
)
def test_usual_names_are_safe(name: str) -> None:
    assert not name_problem(name)


def test_an_archive_with_a_name_that_leads_out_is_refused() -> None:
    with pytest.raises(DataError, match="outside of the folder"):
        members_of(archive_of({"../../evil": b"x"}))


def test_a_link_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("specimen01/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    with pytest.raises(DataError, match="is a link"):
        members_of(buffer.getvalue())


def test_an_encrypted_member_is_refused() -> None:
    content = bytearray(archive_of({"a.png": b"x" * 50}))
    at = content.rindex(b"PK\x01\x02")
    struct.pack_into("<H", content, at + 8, 1)
    with pytest.raises(DataError, match="encrypted"):
        members_of(bytes(content))


def test_two_members_that_are_one_file_on_windows_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"twice.*: a\.png \(1 byte, CRC 83dcefb7\) and A\.png \(1 byte, CRC 1ad5be0d\)"
    ):
        members_of(archive_of({"a.png": b"1", "A.png": b"2"}))


def test_two_members_that_are_one_file_on_windows_and_hold_the_same_are_one() -> None:
    members = members_of(archive_of({"x/A.png": b"1", "b.png": b"1", "X/a.png": b"1"}))
    assert [member.name for member in members] == ["x/A.png", "b.png"]
    assert members[1].end > members[1].start + 30 + members[1].packed_size  # ends where the member left out begins


def test_overlapping_members_are_refused() -> None:
    content = bytearray(archive_of({"a.png": b"x" * 500, "b.png": b"y" * 500}, zipfile.ZIP_STORED))
    second = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, second + 42, 10)  # the second claims to begin inside the first
    with pytest.raises(DataError, match=r"damaged"):
        members_of(bytes(content))


@pytest.mark.parametrize("changes", [1000, pytest.param(30_000, marks=pytest.mark.deep)])
def test_a_directory_with_wrong_bytes_is_read_or_refused_and_nothing_else(changes: int) -> None:
    chance = random.Random(6)
    files = {f"specimen01/{index}.png": bytes(40) for index in range(5)}
    content = archive_of(files, comment=b"x")
    start = content.index(b"PK\x01\x02")
    for _ in range(changes):
        changed = bytearray(content)
        for _ in range(chance.randint(1, 6)):
            changed[chance.randrange(start, len(changed))] = chance.choice((0, 1, 0xFF, chance.randrange(256)))
        try:
            members = members_of(bytes(changed))
        except DataError:
            continue
        for member in members:
            assert 0 <= member.start < member.end <= len(content)
            assert name_problem(member.name) is None


def test_a_directory_too_large_for_the_memory_is_not_read() -> None:
    size = 40 << 30
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFF00, 0xFFFFFFFF, 0)
    asked: list[int] = []

    def read(start: int, stop: int) -> bytes:
        asked.append(stop - start)
        assert stop - start < 300 << 20
        return (bytes(stop - start) + end)[-(stop - start) :]

    with pytest.raises(DataError, match=r"a\.zip is not a ZIP archive or is damaged"):
        read_directory(read, size, "a.zip")
    assert sum(asked) < 10 << 20


CUT = archive_of({"a": b"x" * 99})[:-30]


@pytest.mark.parametrize("content", [b"", b"no archive at all", CUT], ids=["empty", "no archive", "cut"])
def test_what_is_no_archive_is_reported(content: bytes) -> None:
    with pytest.raises(DataError, match=r"a\.zip is not a ZIP archive or is damaged"):
        members_of(content)


def test_the_whole_archive_is_taken_when_most_of_what_is_left_is_wanted() -> None:
    members = [Member("a", 0, 500_000, 1, 1, 0, 0)]
    assert not is_whole_better(members, 1_000_000, 0)
    assert is_whole_better(members, 800_000, 0)
    assert is_whole_better(members, 1_000_000, 400_000)  # a part of it is here already
    assert is_whole_better(members, 1_000_000, 1_000_000)


def test_a_small_archive_is_always_taken_whole() -> None:
    assert is_whole_better([Member("a", 0, 50, 1, 1, 0, 0)], TAIL, 0)
