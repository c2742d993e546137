"""How library functions report progress, independently of how it is shown."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[float], None]
"""Called with the number of units finished since the last call; safe from any thread."""
_DONE = 1e-9


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


class RecordPart:
    """The part of a task that belongs to one record, as a :class:`Progress` of its own.

    The tasks that are opened in it share its units evenly, whatever units they count, and their labels are shown as
    what is in progress (:func:`activity`).

    Args:
        advance: of the whole task.
        units: of the whole task that belong to this part.
        tasks: how many will be opened in it.
    """

    def __init__(self, advance: Advance, units: float, tasks: int = 1) -> None:
        self._advance, self._left, self._share = advance, units, units / tasks

    @contextmanager
    def task(self, label: str, total: float | None, unit: str = "") -> Iterator[Advance]:
        scale = self._share / total if total else 0.0
        with activity(label):
            yield lambda amount: self._move(amount * scale)

    def finish(self) -> None:
        """Count what no task has reported: a record that was refused or is up to date."""
        if self._left > _DONE:
            self._move(self._left)

    def _move(self, units: float) -> None:
        units = min(units, self._left)
        self._left -= units
        self._advance(units)


@contextmanager
def record_part(advance: Advance, units: float, name: str, tasks: int = 1) -> Iterator[RecordPart]:
    """A :class:`RecordPart` of the record ``name`` that is finished when the block ends, however it ends."""
    part = RecordPart(advance, units, tasks)
    try:
        with activity(name):
            yield part
    finally:
        part.finish()


_lock = threading.Lock()
_activities: list[str] = []


@contextmanager
def activity(text: str) -> Iterator[None]:
    """While the block runs, bars show ``text``: the record in progress, or what they wait for.

    It is one list for the whole process, so that what knows nothing of progress, such as a lock, can take part.
    """
    with _lock:
        _activities.append(text)
    try:
        yield
    finally:
        with _lock:
            _activities.remove(text)


def current_activity() -> str:
    """What began last and has not ended; empty if there is nothing."""
    with _lock:
        return _activities[-1] if _activities else ""
