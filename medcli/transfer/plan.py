"""What a run has to do: which wanted files are here, which must be read to know, which must come. No network."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from medcli.core.errors import DataError, MedcliError, quantity
from medcli.core.system.long_paths import long_path_fault
from medcli.transfer import checksum
from medcli.transfer.addresses import in_short
from medcli.transfer.destination import Record
from medcli.transfer.fetch_file import is_part, part_for
from medcli.transfer.protocol import RemoteFile
from medcli.transfer.zip_ranges import Member, folded, is_whole_better, name_problem, plan_runs

RESERVE = 64 << 20
"""Bytes that a run leaves free."""
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,80}\.[a-z0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that the destination shall hold.

    Attributes:
        path: below the destination, with ``/``.
        entry: the file of the source that it is, or that it is a member of.
        member: its place in ``entry``, when that is a ZIP.
        group, kind: what ``--dry-run`` counts it under.
        twin: another file of the source for the same path, of the same size and with a checksum of another kind:
            only the content that has come shows whether the two are the same.
    """

    path: str
    entry: RemoteFile
    member: Member | None = None
    group: str = ""
    kind: str = ""
    twin: Wanted | None = None

    @property
    def size(self) -> int:
        return self.member.size if self.member else self.entry.size

    @property
    def announced(self) -> str:
        """What the source says of its content: a checksum, else the version's ETag, else nothing; and of its twin's."""
        own = self.checksum or (f"etag:{self.entry.tag}" if self.entry.tag else "")
        return f"{own} {self.twin.announced}" if self.twin else own

    @property
    def checksum(self) -> str | None:
        """What its content must hash to, where the source says it."""
        return f"crc32:{self.member.crc32:08x}" if self.member else self.entry.checksum

    @property
    def origin(self) -> str:
        """Its name in the source."""
        return f"{self.entry.name}: {self.member.name}" if self.member else self.entry.name

    def twin_problem(self, root: Path) -> str | None:
        """How the file that has come differs from its twin; None when it does not or there is none."""
        if self.twin is None or self.twin.checksum is None:
            return None
        found = checksum.of_file(root / self.path, checksum.checksum_kind(self.twin.checksum))
        return None if found == self.twin.checksum else _differ(self, self.twin)


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
    """Name of an archive while it waits to be unpacked: its own, where that is plain."""
    if _PLAIN_NAME.fullmatch(entry.name) and not name_problem(entry.name):
        return entry.name
    # Names that must not be written, and two that would become the same, are distinguished by a mark.
    mark = hashlib.sha256(entry.name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return re.sub(r"[^A-Za-z0-9]+", "_", entry.name)[-60:] + f"-{mark}"


def bytes_here(target: Path, entry: RemoteFile) -> int:
    """Bytes of ``entry`` that are in place, as a whole file or as a part."""
    for path in (target, part_for(target, entry)):
        if path.is_file():
            return path.stat().st_size
    return 0


def _part_here(target: Path, entry: RemoteFile) -> int:
    part = part_for(target, entry)
    return part.stat().st_size if part.is_file() else 0


def merge_doubles(wanted: Iterable[Wanted]) -> list[Wanted]:
    """One of each path: of files with the same content, the first, so that one that stands alone comes alone.

    Paths that differ in case only are one path, as they are on the disks of Windows and macOS.

    Raises:
        DataError: two files for one path have different contents, or nothing shows whether they have; names both.
    """
    place: dict[str, int] = {}
    merged: list[Wanted] = []
    for item in wanted:
        index = place.setdefault(folded(item.path), len(merged))
        if index == len(merged):
            merged.append(item)
        else:
            merged[index] = _with_double(merged[index], item)
    return merged


def check_paths(wanted: Sequence[Wanted], root: Path) -> None:
    """Refuse names that must not be written below ``root``, or would fall on each other.

    Raises:
        DataError: names the file, or both.
        MedcliError: this Windows takes no paths as long as the longest of them.
    """
    seen: dict[str, Wanted] = {}
    for item in wanted:
        problem = name_problem(item.path)
        if problem:
            raise DataError(f"the source offers {in_short(item.origin)}, which is refused: {problem}")
        other = seen.setdefault(folded(item.path), item)
        if other is not item:
            raise DataError(_differ(other, item))
    folders = {path.rpartition("/")[0] for path in seen}
    while folders:
        clash = next((folder for folder in folders if folder in seen), None)
        if clash:
            raise DataError(f"the source offers {in_short(seen[clash].origin)} as a file, and others below it")
        folders = {folder.rpartition("/")[0] for folder in folders} - {""}
    longest = max(wanted, key=lambda item: len(item.path), default=None)
    if longest and (fault := long_path_fault(part_for(root / longest.path, longest.entry))):
        raise MedcliError(f"cannot write {longest.path} to {root}: {fault}", "choose a shorter --dest")


def _with_double(known: Wanted, item: Wanted) -> Wanted:
    """``known``, now that the source offers ``item`` for the same path as well."""
    if _is_same(item, known) or _is_same(item, known.twin):
        return known
    comparable = checksum.checksum_kind(item.checksum) == checksum.checksum_kind(known.checksum)
    if known.size != item.size or comparable or known.twin or not (item.checksum and known.checksum):
        raise DataError(_differ(known, item), "choose others with --only, --ids or --specimens")
    return replace(known, twin=item)


def _is_same(one: Wanted, other: Wanted | None) -> bool:
    """Whether sizes and checksums show that the contents are the same."""
    return other is not None and one.size == other.size and one.checksum is not None and one.checksum == other.checksum


def _differ(one: Wanted, other: Wanted) -> str:
    """That two files for one path have different contents, as far as is known."""
    both = " and ".join(
        f"{in_short(item.origin)} ({quantity(item.size, 'byte')}, {item.checksum or 'no checksum'})"
        for item in (one, other)
    )
    return f"two files of the source for {one.path} are not the same: {both}"


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
    return quantity(count, "byte")


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
