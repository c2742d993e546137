"""One pool of threads for work whose kernels and codecs release the interpreter lock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4  # items submitted for each worker: enough to keep it busy, few enough to bound the memory
_of_thread = threading.local()
interrupted = threading.Event()
"""Set by a command that Ctrl-C ends: items end where they look, and what runs for longer than a second is left."""
_LONGEST_WAIT_S = 1.0
_LOOK_S = 0.2
"""Seconds after which a wait looks for Ctrl-C, which on Windows ends no wait."""
_left: list[Future[Any]] = []


class _StoppedError(BaseException):
    """Ends an item whose result nobody waits for; no handler of an item's own errors takes it."""


def end_if_stopped() -> None:
    """Leave an item of this module's pools by an exception once its caller has stopped; elsewhere, do nothing.

    For steps of items that take seconds, at places where no file is half written: Ctrl-C waits for running items.
    """
    stopped = getattr(_of_thread, "stopped", None)
    if stopped is not None and (stopped.is_set() or interrupted.is_set()):
        raise _StoppedError


def has_left_items() -> bool:
    """Whether items of an interrupted command still run, as those that compile for the first time: they write nothing
    under a final name, but Python would wait for them."""
    return any(not item.done() for item in _left)


class _Pool(ThreadPoolExecutor):
    """A pool whose items see when their caller has left the block."""

    def __init__(self, workers: int) -> None:
        self.stopped = threading.Event()
        super().__init__(workers, initializer=lambda: setattr(_of_thread, "stopped", self.stopped))

    def stop(self, submitted: Iterable[Future[Any]]) -> None:
        """Drop what has not begun, tell what runs, and wait for it; once interrupted, for a second."""
        self.stopped.set()
        self.shutdown(wait=False, cancel_futures=True)
        running = [item for item in submitted if item.running()]
        if interrupted.is_set():
            _left.extend(wait(running, _LONGEST_WAIT_S).not_done)
        else:
            self.shutdown(wait=True)


def run_in_threads(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in the order in which they finish.

    Items are taken as workers become free, so an endless or huge iterable is fine. When the caller stops early (an
    exception, Ctrl-C), pending items are dropped; running ones are completed, or end at :func:`end_if_stopped`.
    """
    remaining = iter(items)
    pool, pending = _Pool(workers), set[Future[Result]]()
    try:
        pending.update(pool.submit(function, item) for item in islice(remaining, _AHEAD * workers))
        while pending:
            finished, pending = wait(pending, _LOOK_S, FIRST_COMPLETED)
            pending.update(pool.submit(function, item) for item in islice(remaining, len(finished)))
            for future in finished:
                yield future.result()
    finally:
        pool.stop(pending)


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Like :func:`run_in_threads`, in the order of ``items``."""
    remaining = iter(items)
    pool, pending = _Pool(workers), deque[Future[Result]]()
    try:
        pending.extend(pool.submit(function, item) for item in islice(remaining, _AHEAD * workers))
        while pending:
            if not wait([pending[0]], _LOOK_S).done:
                continue
            yield pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(remaining, 1))
    finally:
        pool.stop(pending)
