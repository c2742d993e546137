"""Members of a ZIP brought to their final names out of byte ranges that are streamed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medcli.core import files
from medcli.core.errors import quantity
from medcli.transfer import checksum
from medcli.transfer.fetch_file import DURABLE_FROM, READ_SIZE, Arrived, Effort, Meter
from medcli.transfer.protocol import Broken, ByteRanges, Changed, Corrupt, Fault, RemoteFile, ResponseBody
from medcli.transfer.zip_ranges import ByteRun, Member

_HEADER = struct.Struct("<4s5H3I2H")
_HEADER_MARK = b"PK\x03\x04"
_MOST_CORRUPT = 2

Place = Callable[[Member], Path]
"""The final path of a member."""
Placed = Callable[[Member, Arrived], None]
"""Told of every member as soon as it has its final name."""


class NoRanges(Fault):
    """The server sends whole files only."""

    retry = False


def read_range(source: ByteRanges, entry: RemoteFile, start: int, end: int, effort: Effort) -> bytes:
    """Bytes ``start`` to ``end`` of an entry, retried as the policy allows.

    Raises:
        Fault: the retry policy gave up; :class:`NoRanges` when the server ignores the range.
    """

    def once() -> bytes:
        with _open(source, entry, start, end) as body:
            return _take(body, end - start, effort)

    return effort.retry_policy.call(once, effort.stop)


def fetch_run(
    source: ByteRanges, archive: RemoteFile, run: ByteRun, place: Place, effort: Effort, placed: Placed
) -> list[tuple[Member, Fault]]:
    """Bring the members of ``run`` to their places; returns those that failed, and why.

    Members are written as their bytes stream in; after a cut, the next request starts at the member that was cut.
    """
    waiting = list(run.members)
    failed: list[tuple[Member, Fault]] = []
    failures = corrupt = 0
    while waiting:
        count = len(waiting)
        meter = Meter(effort.advance)
        try:
            for arrived in _stream(source, archive, waiting, place, effort, meter):
                placed(waiting.pop(0), arrived)
                corrupt = 0
        except Fault as fault:
            meter.set(0)
            failures = 1 if len(waiting) < count else failures + 1
            corrupt += isinstance(fault, (Corrupt, Changed))
            if corrupt >= _MOST_CORRUPT:
                failed.append((waiting.pop(0), fault))
                failures = corrupt = 0  # the next member has tries of its own
                continue
            try:
                effort.retry_policy.wait(failures, fault, effort.stop)
            except Fault as last:
                return failed + [(member, last) for member in waiting]
    return failed


def _stream(
    source: ByteRanges, archive: RemoteFile, members: list[Member], place: Place, effort: Effort, meter: Meter
) -> Iterator[Arrived]:
    """Place ``members`` one after the other from one connection."""
    members = list(members)
    with _open(source, archive, members[0].start, members[-1].end) as body:
        position = members[0].start
        for member in members:
            _skip(body, member.start - position, effort)
            arrived = _place(body, member, place(member), effort, meter)
            position = member.end
            meter.shown = 0  # the member is done: what follows is counted from its own start
            yield arrived


@contextmanager
def _open(source: ByteRanges, entry: RemoteFile, start: int, end: int) -> Iterator[ResponseBody]:
    with source.open(entry, start, end - start) as body:
        if body.total is not None and body.total != entry.size:
            raise Changed(f"{entry.name} has {quantity(body.total, 'byte')} on the server, listed were {entry.size}")
        if body.start != start:
            raise NoRanges(f"the server does not send parts of {entry.name}")
        yield body


def _place(body: ResponseBody, member: Member, target: Path, effort: Effort, meter: Meter) -> Arrived:
    """Read one member, from its own header to the next, and write its inflated content to ``target``."""
    header = _take(body, _HEADER.size, effort)
    mark, *_rest, name_size, extra_size = _HEADER.unpack(header)
    surplus = member.end - member.start - _HEADER.size - name_size - extra_size - member.packed_size
    if mark != _HEADER_MARK or surplus < 0:
        raise Corrupt(f"no member begins where the directory says that {member.name} does")
    _skip(body, name_size + extra_size, effort)
    hasher, crc32 = checksum.start("sha256", member.size), checksum.start("crc32", member.size)
    written = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(target, durable=member.size >= DURABLE_FROM) as part:
        with part.open("wb") as file:
            for content in _inflated(_packed(body, member, effort, meter), member):
                written += len(content)
                if written > member.size:
                    raise Corrupt(f"{member.name} is longer than the {quantity(member.size, 'byte')} announced")
                file.write(content)
                hasher.update(content)
                crc32.update(content)
        if written != member.size or crc32.hexdigest() != f"{member.crc32:08x}":
            raise Corrupt(f"the content of {member.name} does not have the CRC-32 announced")
    _skip(body, surplus, effort)
    meter.set(member.end - member.start)
    return Arrived(f"sha256:{hasher.hexdigest()}", "crc32")


def _packed(body: ResponseBody, member: Member, effort: Effort, meter: Meter) -> Iterator[bytes]:
    left = member.packed_size
    while left:
        content = _read(body, min(READ_SIZE, left), effort)
        left -= len(content)
        meter.set(member.packed_size - left)
        yield content


def _inflated(packed: Iterator[bytes], member: Member) -> Iterator[bytes]:
    """The content of a stored or deflated member in pieces of bounded size, whatever it inflates to."""
    if member.method == 0:
        yield from packed
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for content in packed:
            while content:
                yield inflater.decompress(content, checksum.CHUNK)
                content = inflater.unconsumed_tail
        yield inflater.flush()
    except zlib.error:
        raise Corrupt(f"the content of {member.name} cannot be inflated") from None


def _read(body: ResponseBody, size: int, effort: Effort) -> bytes:
    effort.check()
    content = body.read(size)
    if not content:
        raise Broken("the server ended the transfer early")
    return content


def _take(body: ResponseBody, size: int, effort: Effort) -> bytes:
    content = bytearray()
    while len(content) < size:
        content += _read(body, size - len(content), effort)
    return bytes(content)


def _skip(body: ResponseBody, size: int, effort: Effort) -> None:
    while size:
        size -= len(_read(body, min(size, READ_SIZE), effort))
