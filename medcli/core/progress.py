"""How library functions report progress, independently of how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[float], None]
"""Called with the number of units finished since the last call; safe from any thread."""


class Progress(Protocol):
    """Something that shows how far a task is."""

    def task(self, label: str, total: float | None, unit: str = "") -> AbstractContextManager[Advance]:
        """Open a task of ``total`` units; the returned function advances it."""
        ...


class SilentProgress:
    """Shows nothing: the default of every library function."""

    @contextmanager
    def task(self, label: str, total: float | None, unit: str = "") -> Iterator[Advance]:
        yield lambda amount: None


SILENT = SilentProgress()
