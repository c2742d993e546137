"""Checksums as ``kind:hex``: sha256, md5, crc32, and git (the hash git gives a file's content)."""

from __future__ import annotations

import hashlib
import queue
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

CHUNK = 1 << 20
_MOST_WAITING = 8


class Hasher(Protocol):
    def update(self, content: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class _Crc32:
    def __init__(self) -> None:
        self.value = 0

    def update(self, content: bytes | memoryview, /) -> None:
        self.value = zlib.crc32(content, self.value)

    def hexdigest(self) -> str:
        return f"{self.value:08x}"


def start(kind: str, size: int) -> Hasher:
    """A hash to feed; ``size`` is the length of the whole content, which git hashes first."""
    if kind == "crc32":
        return _Crc32()
    if kind == "git":
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    if kind not in ("sha256", "md5"):
        raise ValueError(f"unknown kind of checksum: {kind}")
    return hashlib.new(kind, usedforsecurity=False)


def checksum_kind(checksum: str | None) -> str:
    """``md5`` of ``md5:…``; sha256 is what we compute ourselves where the source gives none."""
    return checksum.partition(":")[0] if checksum else "sha256"


@contextmanager
def behind(hasher: Hasher) -> Iterator[Callable[[bytes], None]]:
    """Give a function that feeds ``hasher`` from a thread of its own, which has caught up when the block ends.

    One connection can bring bytes about as fast as one core hashes them; done in turn they take twice as long. Both
    release the interpreter's lock.
    """
    waiting: queue.Queue[bytes | None] = queue.Queue(maxsize=_MOST_WAITING)

    def work() -> None:
        while (content := waiting.get()) is not None:
            hasher.update(content)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield waiting.put
    finally:
        waiting.put(None)
        thread.join()


def feed(hasher: Hasher, path: Path) -> None:
    """Feed the whole content of a file."""
    with path.open("rb", buffering=0) as file:
        while content := file.read(CHUNK):
            hasher.update(content)


def of_file(path: Path, kind: str) -> str:
    """Checksum of a file, ``kind:hex``."""
    hasher = start(kind, path.stat().st_size)
    feed(hasher, path)
    return f"{kind}:{hasher.hexdigest()}"
