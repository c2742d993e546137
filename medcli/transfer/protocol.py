"""What a source of files is, and the ways in which it can fail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from medcli.core.errors import DataError


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file that a source offers.

    Attributes:
        name: its path in the source, with ``/`` between folders.
        size: bytes.
        checksum: what its content must hash to, ``kind:hex`` (see :mod:`medcli.transfer.checksum`), or None.
        tag: the server's mark of this version (ETag without quotes), or None.
        handle: what the source itself needs to open it, when the name is not enough.
    """

    name: str
    size: int
    checksum: str | None = None
    tag: str | None = None
    handle: str | None = None


class ResponseBody(Protocol):
    """The bytes of an entry from ``start`` on, as the server sends them.

    Attributes:
        start: offset of the first byte, which a server that knows no ranges makes 0 whatever was asked.
        total: size of the whole file as the server says it, or None.
        tag: version mark of what is sent, or None.
    """

    start: int
    total: int | None
    tag: str | None

    def read(self, size: int) -> bytes:
        """Up to ``size`` further bytes; empty at the end. Raises :class:`Broken` when the connection fails."""
        ...


class ByteRanges(Protocol):
    """Something that opens a range of a file; thread-safe."""

    def open(self, entry: RemoteFile, offset: int, length: int | None = None) -> AbstractContextManager[ResponseBody]:
        """The bytes from ``offset`` (``length`` of them, or to the end). Raises a :class:`Fault`."""
        ...


class RemoteSource(ByteRanges, Protocol):
    """Something that lists files and opens a range of one of them. All methods but :meth:`list` are thread-safe.

    Attributes:
        address: what is written into the manifest: a place and a version, never a credential.
        one_credential: a refusal of one file means that all others will be refused as well.
    """

    address: str
    one_credential: bool

    def list(self) -> Iterable[RemoteFile]:
        """All files on offer, in a stable order, a page at a time."""
        ...

    def refresh(self, entry: RemoteFile) -> RemoteFile:
        """The entry as it is now, after the server said that it had changed."""
        ...


class Fault(Exception):
    """A transfer failed. The text is for the user and never holds an address with a signature in it."""

    retry = True
    """Whether the same request may well succeed a little later."""


class Broken(Fault):
    """The connection failed, stalled or was cut."""


class Busy(Fault):
    """The server asks to come back later (429, 5xx)."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Changed(Fault):
    """The file on the server is another one than was listed, or than the current part belongs to."""


class Corrupt(Fault):
    """The bytes that came are not the ones announced."""


class Refused(Fault):
    """No access (401, 403), or the request itself was wrong."""

    retry = False


class Missing(Fault):
    """No such file (404, 410)."""

    retry = False


class Unexpected(Fault):
    """The server's answer is none that this interface gives: it is broken, or another server than was meant."""

    retry = False


class Stopped(Exception):
    """The user or a failure elsewhere ended the run; what has arrived stays."""


@contextmanager
def unreachable(if_missing: str = "check the address") -> Iterator[None]:
    """Turn what a source says into an error for the user; ``if_missing`` is the hint when there is no such thing."""
    try:
        yield
    except Fault as fault:
        if fault.retry:
            hint = "check the network (and HTTPS_PROXY), then run the same command again to go on"
            raise DataError(f"the source cannot be reached: {fault}", hint) from None
        if isinstance(fault, Missing):
            raise DataError(f"not found: {fault}", if_missing) from None
        if isinstance(fault, Unexpected):
            raise DataError(str(fault), "check the address; if it is right, the server is out of order") from None
        raise DataError(f"access refused: {fault}", "check the address, the connection string or the token") from None
