"""Parts of a remote ZIP: its directory, and which byte ranges to read for the members wanted.

Everything here is computation on bytes and numbers; the reading is done by the caller.
"""

from __future__ import annotations

import errno
import io
import itertools
import stat
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from medcli.core.errors import DataError

TAIL = 1 << 18
"""Bytes read from the end at once: the directory of some 2,000 members with names as long as ours."""
GAP = 1 << 20
"""Unwanted bytes that cost less than another request."""
LONGEST_RUN = 32 << 20
WHOLE_FROM = 0.6
"""Share of an archive from which reading it whole, with its checksum, is the better way."""
ENCRYPTED, STRONGLY_ENCRYPTED = 0x1, 0x40


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside a ZIP.

    Attributes:
        name: its path in the archive.
        start, end: from its own header to the next member's (or the directory): bytes to read for it.
        size, packed_size: bytes after and before inflating.
        crc32: of the inflated content.
        method: 0 stored, 8 deflated.
    """

    name: str
    start: int
    end: int
    size: int
    packed_size: int
    crc32: int
    method: int


@dataclass(frozen=True, slots=True)
class ByteRun:
    """Neighbouring members that are read with one request, bytes ``start`` to ``end`` (exclusive)."""

    start: int
    end: int
    members: tuple[Member, ...]


def read_directory(read: Callable[[int, int], bytes], size: int, archive: str) -> list[Member]:
    """Members (files only, in archive order) of a ZIP of ``size`` bytes; ``read(start, end)`` gives a byte range.

    Raises:
        DataError: no ZIP, damaged, encrypted, or it holds a name that must not be written to a disk.
    """
    try:
        with zipfile.ZipFile(_Ranged(read, size)) as opened:
            infos = opened.infolist()
            directory_start = opened.start_dir
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise DataError(f"{archive} is not a ZIP archive or is damaged: {error}") from error
    files = [info for info in infos if not info.is_dir()]
    for info in files:
        check_member(info, archive)
    _check_no_double(files, archive)
    starts = sorted(info.header_offset for info in infos)
    if len(set(starts)) < len(starts):
        raise DataError(f"{archive} is damaged: two of its members begin at the same byte")
    following = dict(itertools.pairwise([*starts, directory_start]))
    members = [
        Member(
            info.filename,
            info.header_offset,
            following[info.header_offset],
            info.file_size,
            info.compress_size,
            info.CRC,
            info.compress_type,
        )
        for info in sorted(files, key=lambda info: info.header_offset)
    ]
    for member in members:
        if member.start < 0 or member.start + 30 + member.packed_size > member.end:
            raise DataError(f"{archive} is damaged: the bytes of {member.name} overlap those of another member")
    return members


def check_member(info: zipfile.ZipInfo, archive: str) -> None:
    """Refuse what cannot be read or must not be written.

    Raises:
        DataError: encrypted, a link, packed in an unusual way, or a path that leads out of the folder.
    """
    if info.flag_bits & (ENCRYPTED | STRONGLY_ENCRYPTED):
        raise DataError(f"{archive}: member {info.filename} is encrypted")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DataError(f"{archive}: member {info.filename} is a link")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{archive}: member {info.filename} is packed by method {info.compress_type}, not deflate")
    if not is_safe_name(info.filename):
        raise DataError(f"{archive}: member {info.filename!r} would be written outside of the folder")


def is_safe_name(name: str) -> bool:
    """Whether a path from outside stays below the folder it is joined to, on every system."""
    path = PurePosixPath(name)
    unsafe_sign = any(sign in name for sign in '\\:*?"<>|') or any(ord(sign) < 32 for sign in name)
    parts = name.split("/")
    unsafe_part = any(part in ("", ".", "..") or part != part.rstrip(" .") for part in parts)
    return bool(name) and not path.is_absolute() and not unsafe_sign and not unsafe_part


def plan_runs(members: Iterable[Member], gap: int = GAP, longest: int = LONGEST_RUN) -> list[ByteRun]:
    """Join members into runs: neighbours at most ``gap`` bytes apart, a run at most ``longest`` bytes long.

    A single member longer than ``longest`` is a run of its own.
    """
    runs: list[list[Member]] = []
    for member in sorted(members, key=lambda member: member.start):
        if runs and member.start - runs[-1][-1].end <= gap and member.end - runs[-1][0].start <= longest:
            runs[-1].append(member)
        else:
            runs.append([member])
    return [ByteRun(run[0].start, run[-1].end, tuple(run)) for run in runs]


def is_whole_better(missing: Sequence[Member], archive_size: int, bytes_here: int) -> bool:
    """Whether to read the rest of an archive of which ``bytes_here`` bytes have come, and not only ``missing``.

    An archive no longer than what is read for its directory always comes whole: nobody has shown that its server knows
    ranges.
    """
    if archive_size <= TAIL:
        return True
    wanted = sum(member.end - member.start for member in missing)
    return wanted > WHOLE_FROM * (archive_size - bytes_here)


def _check_no_double(files: Sequence[zipfile.ZipInfo], archive: str) -> None:
    seen: set[str] = set()
    for info in files:
        folded = info.filename.casefold()  # two names that differ in case are one file on Windows
        if folded in seen:
            raise DataError(f"{archive} holds {info.filename} twice")
        seen.add(folded)


class _Ranged(io.RawIOBase):
    """A read-only file over byte ranges, for :mod:`zipfile`; the end is read once and kept."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self.read_range, self.size, self.position = read, size, 0
        self.tail_start = max(0, size - TAIL)
        self.tail: bytes | None = None

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "before the start of the file")  # as files do: zipfile counts on it
        self.position = base + offset
        return self.position

    def read(self, size: int | None = -1) -> bytes:
        end = self.size if size is None or size < 0 else min(self.position + size, self.size)
        content = self._bytes(self.position, end)
        self.position += len(content)
        return content

    def _bytes(self, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        if self.tail is None:
            self.tail = self.read_range(self.tail_start, self.size)
        if start >= self.tail_start:
            return self.tail[start - self.tail_start : end - self.tail_start]
        head = self.read_range(start, min(end, self.tail_start))
        return head + self.tail[: max(0, end - self.tail_start)]
