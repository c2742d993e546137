"""Standard output and error without credentials: messages, results, tracebacks, warnings, logs and progress alike."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

from medcli.core.secrets import redact

_NEAREST = {"…": "...", "–": "-", "→": "->", "×": "x", "≠": "!=", "³": "3", "²": "2"}
"""For what the code page of a pipe lacks, as those of Windows do; everything else, as in names of files, is escaped."""
_ESCAPE = "medcli.nearest"


def _write_nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    escaped = (_NEAREST.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in signs)
    return "".join(escaped), error.end


codecs.register_error(_ESCAPE, _write_nearest)


class GuardedStream(io.TextIOBase):
    """A text stream that hides credentials in what is written; it offers no bytes, which nobody could look into.

    Once the reader of a pipe has gone (``| head``), what is written is dropped: the command ends with its own status.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(redact(text))
        except BrokenPipeError:
            self._drop()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        """From here on, write to nowhere, also what the stream beneath still holds."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    def __getattr__(self, name: str) -> Any:
        if name == "buffer" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._stream, name)

    def __del__(self) -> None:
        """Leave the stream beneath open, which ``io`` would close."""


@contextmanager
def guarded_streams() -> Iterator[None]:
    """What is printed in the block, and by Python of an exception that nobody caught, holds no credential.

    Nor does it fail where the encoding of a stream lacks a character, or where a stream was closed from the start
    (``>&-``, a service of Windows): what is written there is dropped.
    """
    before = sys.stdout, sys.stderr
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - no path of a file; closed below
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPE)
    # Python has None for a closed stream, whatever its type says.
    guards = GuardedStream(sys.stdout or nowhere), GuardedStream(sys.stderr or nowhere)
    sys.stdout, sys.stderr = guards
    try:
        yield
    finally:
        nowhere.close()
        sys.excepthook = _print_exception  # called after the block; Typer sets one of its own inside
        # Unless someone else put another stream there, as Typer does when the pipe is closed.
        if sys.stdout is guards[0]:
            sys.stdout = before[0]
        if sys.stderr is guards[1]:
            sys.stderr = before[1]


def _print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if sys.stderr:
        print(redact("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr, flush=True)
