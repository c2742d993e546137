"""Parts of a remote ZIP: its directory, and which byte ranges to read for the members wanted.

Everything here is computation on bytes and numbers; the reading is done by the caller.
"""

from __future__ import annotations

import errno
import io
import itertools
import re
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from medcli.core.errors import DataError, quantity
from medcli.core.system.path_names import REFUSED_ON_WINDOWS, RESERVED_ON_WINDOWS
from medcli.transfer.addresses import in_short

TAIL = 1 << 18
"""Bytes read from the end at once: the directory of some 2,000 members with names as long as ours."""
GAP = 1 << 20
"""Unwanted bytes that cost less than another request."""
LONGEST_RUN = 32 << 20
WHOLE_FROM = 0.6
"""Share of an archive from which reading it whole, with its checksum, is the better way."""
LARGEST_DIRECTORY = 256 << 20
"""Bytes of a directory that are read into memory: that of some three million members."""
LONGEST_NAME = 170
"""Bytes of a file's or a folder's name: 255 at most are possible, and a name while it is written is longer."""
LONGEST_PATH = 1024
_LEADS_OUT = re.compile(r"(?:^|/)(?:\.{0,2}|[^/]*[ .])(?:/|$)|\\|^[A-Za-z]:")
_UNUSUAL_SIGN = re.compile(rf"[{REFUSED_ON_WINDOWS}\x7f-\x9f\ud800-\udfff]")
_RESERVED = re.compile(rf"(?:^|/){RESERVED_ON_WINDOWS}(?:[ .][^/]*)?(?:/|$)", re.I)
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
        DataError: no ZIP, damaged, encrypted, or it holds a name that must not be written to a disk, or two different
            members of one name.
    """
    try:
        with zipfile.ZipFile(_Ranged(read, size)) as opened:
            infos = opened.infolist()
            directory_start = opened.start_dir
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error, LookupError) as error:
        raise DataError(f"{archive} is not a ZIP archive or is damaged: {error}") from error
    files = [info for info in infos if not info.filename.endswith("/")]  # is_dir() fails on an empty name
    for info in files:
        check_member(info, archive)
    files = _without_doubles(files, archive)
    starts = sorted(info.header_offset for info in infos)
    if len(set(starts)) < len(starts):
        raise DataError(f"{archive} is damaged: two of its members begin at the same byte")
    if starts and starts[-1] >= directory_start:
        raise DataError(f"{archive} is damaged: a member begins behind its directory")
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
    problem = name_problem(info.filename)
    if problem:
        raise DataError(f"{archive}: member {in_short(info.filename)} is refused: {problem}")


def name_problem(name: str) -> str | None:
    """Why a path from outside must not be written, whatever the system; None when it may be."""
    if not name or _LEADS_OUT.search(name):
        return "it would be written outside of the folder"
    if _UNUSUAL_SIGN.search(name):
        return "it has signs that not every system writes"
    if _RESERVED.search(name):
        return "Windows keeps that name for itself"
    if len(name) > LONGEST_PATH:
        return f"it is longer than {LONGEST_PATH} letters"
    if not (name.isascii() and len(name) <= LONGEST_NAME):
        longest = max(len(part.encode()) for part in name.split("/"))
        if longest > LONGEST_NAME:
            return f"a name in it has {quantity(longest, 'byte')}, which is more than {LONGEST_NAME}"
    return None


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

    An archive no longer than what is read for its directory is always read completely: its
    server may not know ranges.
    """
    if archive_size <= TAIL:
        return True
    wanted = sum(member.end - member.start for member in missing)
    return wanted > WHOLE_FROM * (archive_size - bytes_here)


def _without_doubles(files: Sequence[zipfile.ZipInfo], archive: str) -> list[zipfile.ZipInfo]:
    """The first of each name, as a file system that ignores case has it; further ones hold the same.

    Raises:
        DataError: two members of one name have different contents; names both.
    """
    first: dict[str, zipfile.ZipInfo] = {}
    for info in files:
        other = first.setdefault(folded(info.filename), info)
        if (info.file_size, info.CRC) != (other.file_size, other.CRC):
            both = " and ".join(
                f"{each.filename} ({quantity(each.file_size, 'byte')}, CRC {each.CRC:08x})" for each in (other, info)
            )
            raise DataError(f"{archive} holds one file twice, with different contents: {both}")
    return list(first.values())


def folded(path: str) -> str:
    """The name under which a file system sees a path that ignores case and composition of accents."""
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path).casefold()


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
        if end - start > LARGEST_DIRECTORY:
            raise ValueError(f"its directory has more than {LARGEST_DIRECTORY >> 20} MB")
        if self.tail is None:
            self.tail = self.read_range(self.tail_start, self.size)
        if start >= self.tail_start:
            return self.tail[start - self.tail_start : end - self.tail_start]
        head = self.read_range(start, min(end, self.tail_start))
        return head + self.tail[: max(0, end - self.tail_start)]
