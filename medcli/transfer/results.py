"""What a download reports: what it did, what it would do, what a check found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from medcli.core.errors import quantity
from medcli.transfer.plan import RESERVE, Wanted


@dataclass(frozen=True)
class FileFailure:
    """What did not come.

    Attributes:
        path: of the file, or the archive's name when several of its files did not come.
        files: how many.
    """

    path: str
    reason: str
    files: int = 1

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" + (
            f" ({quantity(self.files, 'file')} of it did not come)" if self.files > 1 else ""
        )


@dataclass(frozen=True)
class Downloaded:
    """What a download did.

    Attributes:
        sources: where the files came from, with their versions.
        files, bytes: what was asked for.
        reused_files, reused_bytes: of these, what was here already.
        fetched_files: what came.
        moved_bytes: what went over the network for it, tries that failed and gaps between members included; with a
            source that is :class:`~medcli.transfer.byte_counter.Counted`, directories of archives as well.
        size_only_files: files for which the source gives no checksum.
        failures: what did not come.
    """

    dataset: str
    dest: Path
    sources: list[str]
    files: int
    bytes: int
    reused_files: int
    reused_bytes: int
    fetched_files: int
    moved_bytes: int
    size_only_files: int
    licence: str
    citation: str
    failures: list[FileFailure] = field(default_factory=list)
    schema: str = "medcli.download.v1"


@dataclass(frozen=True)
class PlannedRow:
    """Files of one group (a specimen) and kind; those missing are judged by their sizes."""

    group: str
    kind: str
    files: int
    bytes: int
    missing_files: int
    missing_bytes: int


@dataclass(frozen=True)
class Planned:
    """What a download would do.

    Attributes:
        network_bytes: bytes that would come over the network, directories of archives included.
        disk_bytes: bytes that the disk must still have, archives that wait to be unpacked included.
        reserve_bytes: bytes that are left free besides, when anything comes.
        free_bytes: bytes that it has.
    """

    dataset: str
    dest: Path
    sources: list[str]
    rows: list[PlannedRow]
    files: int
    bytes: int
    missing_files: int
    network_bytes: int
    disk_bytes: int
    free_bytes: int
    licence: str
    citation: str
    reserve_bytes: int = RESERVE
    schema: str = "medcli.download-plan.v1"


@dataclass(frozen=True)
class Verified:
    """What reading every file of a manifest found."""

    dataset: str
    dest: Path
    files: int
    bytes: int
    size_only_files: int
    failures: list[FileFailure] = field(default_factory=list)
    schema: str = "medcli.download-verify.v1"


Report = TypeVar("Report", Downloaded, Planned)
_OF_THE_DISK = ("free_bytes", "reserve_bytes")


def joined(parts: Sequence[Report]) -> Report:
    """One report of downloads from several sources into one folder: numbers are added, lists joined."""

    def value(name: str) -> Any:
        first, *others = [getattr(part, name) for part in parts]
        return sum(others, start=first) if isinstance(first, (int, list)) and name not in _OF_THE_DISK else first

    return type(parts[0])(**{entry.name: value(entry.name) for entry in fields(parts[0])})


def count_rows(wanted: Sequence[Wanted], missing: Sequence[Wanted]) -> list[PlannedRow]:
    """Files and bytes of each group and kind, sorted."""
    counts: dict[tuple[str, str], list[int]] = {}
    for items, first in ((wanted, 0), (missing, 2)):
        for item in items:
            row = counts.setdefault((item.group, item.kind), [0, 0, 0, 0])
            row[first] += 1
            row[first + 1] += item.size
    return [PlannedRow(group, kind, *row) for (group, kind), row in sorted(counts.items())]
