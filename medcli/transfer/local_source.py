"""A file on this disk as a source: archives are unpacked by the code that also reads them over the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from medcli.transfer.protocol import RemoteFile


class FileBody:
    """The bytes of an open file; see :class:`medcli.transfer.protocol.ResponseBody`."""

    def __init__(self, file: BinaryIO, start: int, total: int) -> None:
        self.file = file
        self.start = start
        self.total: int | None = total
        self.tag: str | None = None

    def read(self, size: int) -> bytes:
        return self.file.read(size)


class LocalFile:
    """One file, whatever entry is asked for."""

    one_credential = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.address = path.name

    def list(self) -> Iterable[RemoteFile]:
        return [RemoteFile(self.path.name, self.path.stat().st_size)]

    @contextmanager
    def open(self, entry: RemoteFile, offset: int, length: int | None = None) -> Iterator[FileBody]:
        with self.path.open("rb") as file:
            file.seek(offset)
            yield FileBody(file, offset, entry.size)

    def refresh(self, entry: RemoteFile) -> RemoteFile:
        return entry
