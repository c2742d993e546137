"""What a run has to do: which wanted files are here, which must be read to know, which must come. No network."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from medcli.core.errors import MedcliError
from medcli.transfer.destination import Record
from medcli.transfer.fetch_file import is_part, part_for
from medcli.transfer.protocol import RemoteFile
from medcli.transfer.zip_ranges import Member, is_safe_name, is_whole_better, plan_runs

RESERVE = 64 << 20
"""Bytes that a run leaves free."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that the destination shall hold.

    Attributes:
        path: below the destination, with ``/``.
        entry: the file of the source that it is, or that it is a member of.
        member: where it lies in ``entry``, when that is a ZIP.
        group, kind: what ``--dry-run`` counts it under.
    """

    path: str
    entry: RemoteFile
    member: Member | None = None
    group: str = ""
    kind: str = ""

    @property
    def size(self) -> int:
        return self.member.size if self.member else self.entry.size

    @property
    def announced(self) -> str:
        """What the source says of its content: a checksum, else the version's ETag, else nothing."""
        if self.member:
            return f"crc32:{self.member.crc32:08x}"
        return self.entry.checksum or (f"etag:{self.entry.tag}" if self.entry.tag else "")

    @property
    def checksum(self) -> str | None:
        """What its content must hash to, where the source says it."""
        announced = self.announced
        return None if not announced or announced.startswith("etag:") else announced


class Action(Enum):
    """What to do about a wanted file."""

    KEEP = "keep"
    CHECK = "check"
    FETCH = "fetch"


def decide(wanted: Wanted, size_here: int | None, record: Record | None, unchanged: bool) -> Action:
    """What to do about a file of which ``size_here`` bytes (None: no file) are in place.

    Args:
        record: what the manifest says of it.
        unchanged: size and modification time are as recorded.
    """
    if size_here != wanted.size:
        return Action.FETCH
    if record is None:
        return Action.CHECK
    if record.announced == wanted.announced:
        return Action.KEEP if unchanged else Action.CHECK
    both_tags = record.announced.startswith("etag:") and wanted.announced.startswith("etag:")
    return Action.FETCH if both_tags else Action.CHECK


@dataclass(frozen=True)
class Work:
    """What must come, and how.

    Attributes:
        plain: files that are entries of the source.
        ranges: archive -> its members that come by ranges.
        whole: archive -> its members that are unpacked from the whole archive.
    """

    plain: list[Wanted]
    ranges: dict[RemoteFile, list[Wanted]]
    whole: dict[RemoteFile, list[Wanted]]

    @property
    def files(self) -> list[Wanted]:
        members = [wanted for part in (self.ranges, self.whole) for some in part.values() for wanted in some]
        return self.plain + members

    def network_bytes(self) -> int:
        """Bytes that come over the network (parts that are here count as if they had just come), without the gaps."""
        members = sum(_extent(wanted) for some in self.ranges.values() for wanted in some)
        return sum(wanted.size for wanted in self.plain) + members + sum(entry.size for entry in self.whole)

    def unpacking_bytes(self) -> int:
        """Bytes of the members that are taken out of whole archives, packed as they are there."""
        return sum(_extent(wanted) for some in self.whole.values() for wanted in some)


def divide(missing: Iterable[Wanted], staging: Path) -> Work:
    """Choose for each archive between ranges and the whole of it."""
    plain: list[Wanted] = []
    members: dict[RemoteFile, list[Wanted]] = {}
    for wanted in missing:
        if wanted.member is None:
            plain.append(wanted)
        else:
            members.setdefault(wanted.entry, []).append(wanted)
    work = Work(plain, {}, {})
    for entry, some in members.items():
        parts = [wanted.member for wanted in some if wanted.member]
        whole = is_whole_better(parts, entry.size, bytes_here(staging / staged_name(entry), entry))
        (work.whole if whole else work.ranges)[entry] = some
    return work


def staged_name(entry: RemoteFile) -> str:
    """Name of an archive while it waits to be unpacked."""
    return entry.name.replace("/", "_")


def bytes_here(target: Path, entry: RemoteFile) -> int:
    """Bytes of ``entry`` that are in place, as a whole file or as a part."""
    for path in (target, part_for(target, entry)):
        if path.is_file():
            return path.stat().st_size
    return 0


def _part_here(target: Path, entry: RemoteFile) -> int:
    part = part_for(target, entry)
    return part.stat().st_size if part.is_file() else 0


def check_paths(wanted: Sequence[Wanted]) -> None:
    """Refuse names that would leave the destination or fall on each other.

    Raises:
        MedcliError: names the file.
    """
    seen: set[str] = set()
    for item in wanted:
        folded = item.path.casefold()
        if not is_safe_name(item.path):
            raise MedcliError(f"the source offers {item.path!r}, which would be written outside of the folder")
        if folded in seen:
            raise MedcliError(f"the source offers two files for {item.path}")
        seen.add(folded)


def network_need(work: Work, root: Path, staging: Path) -> int:
    """Bytes that are still to come over the network, gaps between neighbouring members included."""
    plain = sum(wanted.size - _part_here(root / wanted.path, wanted.entry) for wanted in work.plain)
    members = ([item.member for item in some if item.member] for some in work.ranges.values())
    ranges = sum(run.end - run.start for some in members for run in plan_runs(some))
    return plain + ranges + archives_need(work.whole, staging)


def archives_need(archives: Iterable[RemoteFile], staging: Path) -> int:
    """Bytes of whole archives that are still to come."""
    return sum(entry.size - bytes_here(staging / staged_name(entry), entry) for entry in archives)


def disk_need(work: Work, root: Path, staging: Path, workers: int) -> int:
    """Bytes that the disk must still have: the files, and the archives that are there at the same time."""
    files = sum(wanted.size for wanted in work.files)
    files -= sum(bytes_here(root / wanted.path, wanted.entry) for wanted in work.plain if wanted.size >= 1 << 20)
    archives = sorted((e.size - bytes_here(staging / staged_name(e), e) for e in work.whole), reverse=True)
    return files + sum(archives[:workers])


def free_bytes(root: Path) -> int:
    """Free space on the disk that ``root`` is or will be on."""
    while not root.exists() and root != root.parent:
        root = root.parent
    return shutil.disk_usage(root).free


def check_space(need: int, root: Path) -> None:
    """Stop before the first byte when the disk is too small.

    Raises:
        MedcliError: says how much is needed and how much there is.
    """
    free = free_bytes(root)
    if need and need + RESERVE > free:
        raise MedcliError(
            f"{root} needs {gigabytes(need)} more and {gigabytes(RESERVE)} left free, "
            f"the disk has {gigabytes(free)} free",
            "choose another --dest, or less with --specimens, --only or --ids",
        )


def gigabytes(count: int) -> str:
    """Bytes for people: ``4.2 GB``, ``310 MB``, ``12 kB``."""
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}" if count < 100 * scale else f"{count / scale:,.0f} {unit}"
    return f"{count} bytes"


def remove_stale_parts(root: Path, wanted: Iterable[Wanted]) -> int:
    """Remove parts of versions of the wanted files that the source no longer offers; returns how many."""
    expected: dict[Path, dict[str, Wanted]] = {}
    for item in wanted:
        target = root / item.path
        expected.setdefault(target.parent, {})[target.name[:100]] = item
    removed = 0
    for folder, names in expected.items():
        for part in folder.glob(".*") if folder.is_dir() else ():
            item_here = names.get(part.name[1:].rsplit(".", 2)[0]) if is_part(part) else None
            if item_here and (item_here.member or part_for(root / item_here.path, item_here.entry) != part):
                part.unlink(missing_ok=True)
                removed += 1
    return removed


def _extent(wanted: Wanted) -> int:
    return wanted.member.end - wanted.member.start if wanted.member else wanted.size
