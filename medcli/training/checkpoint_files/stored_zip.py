"""ZIP archives whose members are stored as they are, which is how torch writes checkpoints: read without unpacking.

Nothing is inflated, so a file cannot become larger than it is; members may neither overlap nor share a name, so all
of them together are no longer than the file; and the directory is measured before it is read.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from medcli.core.errors import printable

SIGNATURE = b"PK\x03\x04"
_LARGEST_DIRECTORY = 4 << 20  # bytes; the network with the most members, 1,400, takes 0.1 MB
_CHUNK = 1 << 20
_END, _END_64, _LOCATOR_64 = (struct.Struct(form) for form in ("<4s4H2IH", "<4sQ2H2I4Q", "<4sIQI"))
_ENTRY, _LOCAL = (struct.Struct(form) for form in ("<4s6H3I5H2I", "<4s5H3I2H"))
_ENCRYPTED, _STORED, _IN_64 = 0x41, 0, 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class StoredMember:
    """A member of the archive.

    Attributes:
        name: its path in the archive.
        header: place of its own header.
        size: bytes.
        crc32: of its content.
        is_stored: as it is; otherwise packed or encrypted, and not to be read here.
    """

    name: str
    header: int
    size: int
    crc32: int
    is_stored: bool


class StoredZip:
    """The members of the archive at ``path``, a file of ``size`` bytes.

    Raises:
        ValueError: it is not a ZIP archive, is damaged, or contradicts itself.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        self._sound: set[str] = set()
        if size < _END.size:
            raise ValueError("the archive is truncated or damaged")
        with path.open("rb") as file:
            start, length = self._find_directory(file)
            directory = self._bytes(file, start, length)
        entries = sorted(_read_entries(directory), key=lambda member: member.header)
        self.members = {member.name: member for member in entries}
        if len({name.casefold() for name in self.members}) < len(entries):  # torch's own reader ignores case
            raise ValueError("two members of the archive have one name")
        for member, end in zip(entries, [*(after.header for after in entries[1:]), start], strict=False):
            if member.is_stored and member.header + _LOCAL.size + member.size > end:
                raise ValueError("members of the archive overlap")

    def read(self, member: StoredMember, start: int = 0, count: int | None = None) -> bytes:
        """``count`` bytes of a member from ``start`` (default: all); its checksum is compared before.

        Raises:
            ValueError: the member is packed, encrypted, or damaged.
        """
        if not member.is_stored:
            raise ValueError(f"{printable(member.name)} is packed or encrypted, which torch.save does not do")
        count = member.size - start if count is None else count
        if start < 0 or count < 0 or start + count > member.size:
            raise ValueError(f"{printable(member.name)} is too short")
        with self._path.open("rb") as file:
            begin = self._begin(file, member)
            if member.name not in self._sound:
                self._check(file, member, begin)
            return self._bytes(file, begin + start, count)

    def check_all(self) -> None:
        """Compare the checksums of all members.

        Raises:
            ValueError: one is packed, encrypted, or damaged.
        """
        for member in self.members.values():
            self.read(member, 0, 0)

    def _check(self, file: BinaryIO, member: StoredMember, begin: int) -> None:
        checksum = 0
        for place in range(0, member.size, _CHUNK):
            checksum = zlib.crc32(self._bytes(file, begin + place, min(_CHUNK, member.size - place)), checksum)
        if checksum != member.crc32:
            raise ValueError(f"the checksum of {printable(member.name)} does not match its content")
        self._sound.add(member.name)

    def _begin(self, file: BinaryIO, member: StoredMember) -> int:
        mark, *_, name_length, extra_length = _LOCAL.unpack(self._bytes(file, member.header, _LOCAL.size))
        begin = member.header + _LOCAL.size + name_length + extra_length
        if mark != SIGNATURE or begin + member.size > self._size:
            raise ValueError(f"{printable(member.name)} is not where the archive says")
        return int(begin)

    def _find_directory(self, file: BinaryIO) -> tuple[int, int]:
        """Place and length of the directory, which ends where its end records begin: nothing is in between."""
        end = self._size - _END.size
        mark, disk, other_disk, _, _, length, start, comment = _END.unpack(self._bytes(file, end, _END.size))
        if mark != b"PK\x05\x06" or comment or disk or other_disk:
            raise ValueError("the archive does not end like a ZIP archive: it is truncated or changed")
        if _IN_64 in (length, start) or self._bytes(file, max(0, end - _LOCATOR_64.size), 4) == b"PK\x06\x07":
            mark, _, end, _ = _LOCATOR_64.unpack(self._bytes(file, end - _LOCATOR_64.size, _LOCATOR_64.size))
            mark_64, *_, length, start = _END_64.unpack(self._bytes(file, end, _END_64.size))
            if (mark, mark_64) != (b"PK\x06\x07", b"PK\x06\x06"):
                raise ValueError("the archive does not end like a ZIP archive: it is truncated or changed")
        if start + length != end or length > _LARGEST_DIRECTORY:
            raise ValueError("the directory of the archive is not where it says, or too large")
        return start, length

    def _bytes(self, file: BinaryIO, start: int, count: int) -> bytes:
        if start < 0 or count < 0 or start + count > self._size:
            raise ValueError("the archive is truncated or damaged")
        file.seek(start)
        content = file.read(count)
        if len(content) != count:
            raise ValueError("the archive is truncated or damaged")
        return content


def _read_entries(directory: bytes) -> list[StoredMember]:
    entries, place = [], 0
    while place < len(directory):
        try:
            mark, _, _, flags, method, _, _, crc, packed, size, *lengths, _, _, _, header = _ENTRY.unpack_from(
                directory, place
            )
        except struct.error:
            raise ValueError("the directory of the archive is damaged") from None
        name_length, extra_length, comment_length = lengths
        place += _ENTRY.size
        name = directory[place : place + name_length]
        extra = directory[place + name_length : place + name_length + extra_length]
        place += name_length + extra_length + comment_length
        if mark != b"PK\x01\x02" or place > len(directory):
            raise ValueError("the directory of the archive is damaged")
        size, packed, header = _wide(extra, [size, packed, header])
        is_stored = method == _STORED and not flags & _ENCRYPTED and size == packed
        entries.append(StoredMember(name.decode("utf-8", "replace"), header, size, crc, is_stored))
    return entries


def _wide(extra: bytes, numbers: list[int]) -> list[int]:
    """``numbers`` with those that did not fit into 32 bits taken from the ``extra`` field, in which they follow."""
    wide: list[int] = []
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            wide = list(struct.unpack_from(f"<{min(length, len(extra) - 4) // 8}Q", extra, 4))
        extra = extra[4 + length :]
    if numbers.count(_IN_64) > len(wide):
        raise ValueError("the directory of the archive is damaged")
    return [wide.pop(0) if number == _IN_64 else number for number in numbers]


def is_archive(path: Path) -> bool:
    """Whether ``path`` is a whole archive, as far as its directory shows."""
    try:
        StoredZip(path, path.stat().st_size if path.is_file() else 0)
    except (OSError, ValueError):
        return False
    return True
