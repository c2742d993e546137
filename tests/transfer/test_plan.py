"""Decisions before the first byte: what is kept, what is read again, what is fetched, what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medcli.core.errors import DataError, MedcliError
from medcli.transfer.destination import Record
from medcli.transfer.fetch_file import part_for
from medcli.transfer.plan import (
    Action,
    Wanted,
    check_paths,
    check_space,
    decide,
    disk_need,
    divide,
    gigabytes,
    merge_doubles,
    network_need,
    staged_name,
)
from medcli.transfer.protocol import RemoteFile
from medcli.transfer.zip_ranges import Member, name_problem

HASHED = Wanted("a.png", RemoteFile("a.png", 10, "md5:aa", "one"))
TAGGED = Wanted("a.png", RemoteFile("a.png", 10, None, "one"))


def record(announced: str) -> Record:
    return Record("a.png", 10, "sha256:00", "md5", announced, "here", 1)


@pytest.mark.parametrize(
    ("wanted", "size", "known", "unchanged", "action"),
    [
        (HASHED, None, None, False, Action.FETCH),
        (HASHED, 9, record("md5:aa"), False, Action.FETCH),
        (HASHED, 10, None, False, Action.CHECK),
        (HASHED, 10, record("md5:aa"), True, Action.KEEP),
        (HASHED, 10, record("md5:aa"), False, Action.CHECK),
        (HASHED, 10, record("md5:bb"), True, Action.CHECK),
        (HASHED, 10, record("crc32:01"), True, Action.CHECK),
        (TAGGED, 10, record("etag:one"), True, Action.KEEP),
        (TAGGED, 10, record("etag:two"), True, Action.FETCH),
        (TAGGED, 10, record("md5:aa"), True, Action.CHECK),
        (TAGGED, 10, None, False, Action.CHECK),
    ],
)
def test_what_to_do_about_a_file(
    wanted: Wanted, size: int | None, known: Record | None, unchanged: bool, action: Action
) -> None:
    assert decide(wanted, size, known, unchanged) is action


@pytest.mark.parametrize(
    "names",
    [
        *(["../a"], ["/a"], ["a\\b"], ["a.png", "A.png"], ["a", "a"], ["aux.png"], ["x" * 300], ["a\0"]),
        *(["é.png", "e\u0301.png"], ["STRASSE", "straße"], ["a", "a/b"], ["a/b/c", "A"], ["x/a/b/c", "x/a"]),
    ],
)
def test_names_that_would_do_harm_are_refused(names: list[str]) -> None:
    with pytest.raises(MedcliError):
        check_paths([Wanted(name, RemoteFile(name, 1)) for name in names], Path("data"))


@pytest.mark.parametrize("names", [["a/b", "a/c", "b"], ["a.png", "a"], ["a b", "a_b"], ["ab/c", "a/bc"]])
def test_names_that_stand_beside_each_other_are_fine(names: list[str]) -> None:
    check_paths([Wanted(name, RemoteFile(name, 1)) for name in names], Path("data"))


def test_doubles_with_the_same_content_are_merged_and_the_first_is_kept() -> None:
    alone = Wanted("a", RemoteFile("x/a", 5, "md5:aa"))
    member = Wanted("A", RemoteFile("z.zip", 99), Member("a", 0, 40, 5, 5, 7, 0))
    assert merge_doubles([alone, alone, Wanted("A", RemoteFile("y/A", 5, "md5:aa")), Wanted("b", alone.entry)]) == [
        alone,
        Wanted("b", alone.entry),
    ]
    assert merge_doubles([alone, member, member]) == [replace(alone, twin=member)]
    assert merge_doubles([member, alone, alone]) == [replace(member, twin=alone)]
    assert merge_doubles([alone, member])[0].announced == "md5:aa crc32:00000007"
    assert alone.announced == "md5:aa"


@pytest.mark.parametrize(
    "other",
    [
        Wanted("a", RemoteFile("y", 5, "md5:bb")),
        Wanted("a", RemoteFile("y", 6, "md5:aa")),
        Wanted("a", RemoteFile("y", 5)),
        Wanted("a", RemoteFile("y", 5, None, "etag")),
        Wanted("a", RemoteFile("z.zip", 99), Member("a", 0, 40, 6, 6, 7, 0)),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_doubles_that_are_not_the_same_are_both_named(other: Wanted, swapped: bool) -> None:
    alone = Wanted("a", RemoteFile("x", 5, "md5:aa"))
    with pytest.raises(DataError, match=r"are not the same: '(x|y|z\.zip: a)' .* and '(x|y|z\.zip: a)'"):
        merge_doubles([other, alone] if swapped else [alone, other])


def test_a_listing_that_has_one_name_a_hundred_thousand_times_is_refused_at_once() -> None:
    same = [Wanted("a", RemoteFile("a", 5, "md5:aa"))] * 100_000
    assert len(merge_doubles(same)) == 1
    with pytest.raises(DataError, match="are not the same"):
        check_paths(same[:1] + [replace(item) for item in same], Path("data"))


@pytest.mark.parametrize(
    "name",
    ["a/b.zip", "a_b.zip", "A.zip", "../x.zip", "C:\\x.zip", "aux.zip", "a\0.zip", "x" * 400, "日本.zip", ".zip"],
)
def test_an_archive_is_staged_under_a_name_that_every_system_writes(name: str) -> None:
    staged = staged_name(RemoteFile(name, 1))
    assert name_problem(staged) is None
    assert "/" not in staged
    assert len(staged) <= 100
    assert staged_name(RemoteFile("a/b.zip", 1)) != staged_name(RemoteFile("a_b.zip", 1))
    assert staged_name(RemoteFile("specimen01.zip", 1)) == "specimen01.zip"


def archive_with(count: int, size: int) -> list[Wanted]:
    entry = RemoteFile("s/1.zip", count * size + 100, "sha256:00")
    members = [Member(f"{i}", i * size, (i + 1) * size, size, size - 30, 0, 0) for i in range(count)]
    return [Wanted(member.name, entry, member) for member in members]


def test_the_disk_must_hold_archives_and_what_is_in_them(tmp_path: Path) -> None:
    wanted = archive_with(10, 1 << 20)
    work = divide(wanted, tmp_path)
    assert list(work.whole.values()) == [wanted]
    assert disk_need(work, tmp_path, tmp_path, 4) == 10 * (1 << 20) + wanted[0].entry.size
    (tmp_path / staged_name(wanted[0].entry)).write_bytes(bytes(wanted[0].entry.size))
    assert disk_need(work, tmp_path, tmp_path, 4) == 10 * (1 << 20)  # the archive is there already
    assert not divide(wanted[:3], tmp_path / "elsewhere").whole


def test_too_small_a_disk_is_reported_with_both_numbers(tmp_path: Path) -> None:
    check_space(0, tmp_path)
    with pytest.raises(MedcliError, match=r"needs 1,000,000 GB more and 67.1 MB left free, the disk has"):
        check_space(10**15, tmp_path / "not" / "there")


def test_what_is_to_come_counts_gaps_and_leaves_out_what_is_here(tmp_path: Path) -> None:
    wanted = archive_with(10, 1 << 18)
    work = divide([wanted[2], wanted[4]], tmp_path)
    assert list(work.ranges)
    assert network_need(work, tmp_path, tmp_path) == 3 << 18  # the third to the fifth in one run
    plain = Wanted("file", RemoteFile("file", 1000, "sha256:00"))
    part_for(tmp_path / "file", plain.entry).write_bytes(bytes(400))
    assert network_need(divide([plain], tmp_path), tmp_path, tmp_path) == 600


def test_bytes_are_worded_for_people() -> None:
    assert [gigabytes(n) for n in (0, 999, 1500, 310_000_000, 42_000_000_000)] == [
        "0 bytes",
        "999 bytes",
        "1.5 kB",
        "310 MB",
        "42.0 GB",
    ]
