"""Reports of several sources as one, and counts for a plan."""

from __future__ import annotations

from pathlib import Path

from medcli.transfer.plan import RESERVE, Wanted
from medcli.transfer.protocol import RemoteFile
from medcli.transfer.results import Downloaded, FileFailure, Planned, PlannedRow, count_rows, joined


def downloaded(source: str, files: int, failures: list[FileFailure]) -> Downloaded:
    return Downloaded("test", Path("data"), [source], files, 10 * files, 1, 10, files - 1, 7, 0, "l", "c", failures)


def test_downloads_are_added_up() -> None:
    failure = FileFailure("a.png", "503")
    both = joined([downloaded("one", 3, []), downloaded("two", 4, [failure])])
    assert both == Downloaded("test", Path("data"), ["one", "two"], 7, 70, 2, 20, 5, 14, 0, "l", "c", [failure])
    assert joined([both]) == both


def test_plans_are_added_up_but_not_the_disk() -> None:
    row = PlannedRow("specimen 01", "images", 2, 20, 1, 10)
    plan = Planned("test", Path("data"), ["one"], [row], 2, 20, 1, 10, 15, 1000, "l", "c")
    both = joined([plan, plan])
    assert (both.files, both.network_bytes, both.disk_bytes, both.rows) == (4, 20, 30, [row, row])
    assert (both.free_bytes, both.reserve_bytes) == (1000, RESERVE)


def test_files_are_counted_by_group_and_kind() -> None:
    wanted = [
        Wanted(name, RemoteFile(name, size), None, group, "images")
        for name, size, group in (("a", 1, "two"), ("b", 2, "one"), ("c", 4, "two"))
    ]
    assert count_rows(wanted, wanted[2:]) == [
        PlannedRow("one", "images", 1, 2, 0, 0),
        PlannedRow("two", "images", 2, 5, 1, 4),
    ]


def test_failures_in_words() -> None:
    assert str(FileFailure("a.png", "503")) == "a.png: 503"
    assert str(FileFailure("a.zip", "damaged", 1200)) == "a.zip: damaged (1,200 files of it did not come)"
