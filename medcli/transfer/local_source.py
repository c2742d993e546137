"""A file on this disk as a source: archives are unpacked by the code that also reads them over the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medcli.transfer.protocol import RemoteFile


@dataclass
class FileBody:
    """The bytes of an open file; see :class:`medcli.transfer.protocol.ResponseBody`."""

    read: Callable[[int], bytes]
    start: int
    total: int | None
    tag: str | None = None


class LocalFile:
    """One file, whatever entry is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def open(self, entry: RemoteFile, offset: int, length: int | None = None) -> Iterator[FileBody]:
        with self.path.open("rb") as file:
            file.seek(offset)
            yield FileBody(file.read, offset, entry.size)
