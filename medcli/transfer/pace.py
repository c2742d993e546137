"""Notices a server that sends, but so little that a transfer would never end: by the byte, in headers as in content."""

from __future__ import annotations

import functools
import http.client
import io
import time
from typing import Any

from medcli.core.errors import quantity

LONGEST_HEAD = 8 << 20
"""Bytes of status and headers of one answer: http.client takes a hundred lines of 64 kB, and 1xx answers for ever."""


class TooSlow(TimeoutError):
    """A minute brought fewer bytes than must come."""


class PacedStream(io.RawIOBase):
    """A socket's bytes, as long as enough of them come.

    What counts is time spent waiting for the server: a slow disk or a pause between two reads does not.

    Args:
        stream: the socket's unbuffered file.
        least_bytes_per_minute: fewer than these end in :class:`TooSlow`.
        judged_after_s: time of waiting after which they are counted, and counted again.
    """

    def __init__(self, stream: io.RawIOBase, least_bytes_per_minute: int, judged_after_s: float) -> None:
        self.stream = stream
        self.least_bytes_per_minute, self.judged_after_s = least_bytes_per_minute, judged_after_s
        self.head_left: int | None = None
        self._started = False  # until the first byte, the server thinks: that is for the time limit of the socket
        self._waited_s, self._bytes = 0.0, 0

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.stream.fileno()

    def close(self) -> None:
        self.stream.close()
        super().close()

    def readinto(self, buffer: Any) -> int | None:
        began = time.monotonic()
        count = self.stream.readinto(buffer)
        if self._started:
            self._waited_s += time.monotonic() - began
        self._started = True
        self._bytes += count or 0
        if self._waited_s >= self.judged_after_s:
            if self._bytes * 60 < self.least_bytes_per_minute * self._waited_s:
                raise TooSlow(f"{quantity(self._bytes, 'byte')} in {self._waited_s:.0f} s")
            self._waited_s, self._bytes = 0.0, 0
        if self.head_left is not None:
            self.head_left -= count or 0
            if self.head_left < 0:
                raise ConnectionError("the headers have no end")
        return count


class PacedResponse(http.client.HTTPResponse):
    """An answer that is read through a :class:`PacedStream`, from its first line on."""

    def __init__(self, sock: Any, *words: Any, pace: dict[str, Any], **settings: Any) -> None:
        super().__init__(sock, *words, **settings)
        self.stream = PacedStream(self.fp.detach(), **pace)
        self.fp = io.BufferedReader(self.stream)

    def begin(self) -> None:
        self.stream.head_left = LONGEST_HEAD
        super().begin()
        self.stream.head_left = None


def pace_connections(pool: Any, least_bytes_per_minute: int, judged_after_s: float) -> Any:
    """A pool of urllib3, whatever its protocol or proxy, whose connections watch the pace of each answer."""
    if "response_class" not in vars(pool.ConnectionCls):
        pace = {"least_bytes_per_minute": least_bytes_per_minute, "judged_after_s": judged_after_s}
        answer = staticmethod(functools.partial(PacedResponse, pace=pace))
        pool.ConnectionCls = type("PacedConnection", (pool.ConnectionCls,), {"response_class": answer})
    return pool
