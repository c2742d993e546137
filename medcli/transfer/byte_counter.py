"""Counts the bytes that really come from a source."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from medcli.transfer.protocol import RemoteFile, RemoteSource, ResponseBody


class Counted:
    """A source whose ``moved`` is the number of bytes read from it so far."""

    def __init__(self, source: RemoteSource) -> None:
        self.source = source
        self.address = source.address
        self.one_credential = source.one_credential
        self.moved = 0
        self._lock = threading.Lock()

    def list(self) -> Iterable[RemoteFile]:
        return self.source.list()

    @contextmanager
    def open(self, entry: RemoteFile, offset: int, length: int | None = None) -> Iterator[ResponseBody]:
        with self.source.open(entry, offset, length) as body:
            counted = _CountedBody(body)
            try:
                yield counted
            finally:
                with self._lock:
                    self.moved += counted.moved

    def refresh(self, entry: RemoteFile) -> RemoteFile:
        return self.source.refresh(entry)


class _CountedBody:
    def __init__(self, body: ResponseBody) -> None:
        self.body = body
        self.start, self.total, self.tag = body.start, body.total, body.tag
        self.moved = 0

    def read(self, size: int) -> bytes:
        content = self.body.read(size)
        self.moved += len(content)
        return content


def counted(source: RemoteSource) -> Counted:
    """``source``, counted; as it is when it already was."""
    return source if isinstance(source, Counted) else Counted(source)
