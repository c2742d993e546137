"""One pool of threads for work whose kernels and codecs release the interpreter lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4  # items submitted for each worker: enough to keep it busy, few enough to bound the memory


def run_in_threads(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in the order in which they finish.

    Items are taken as workers become free, so an endless or huge iterable is fine. When the caller stops early (an
    exception, Ctrl-C), pending items are dropped and running ones are completed.
    """
    remaining = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        pending: set[Future[Result]] = set()
        try:
            pending.update(pool.submit(function, item) for item in islice(remaining, _AHEAD * workers))
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                pending.update(pool.submit(function, item) for item in islice(remaining, len(finished)))
                for future in finished:
                    yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Like :func:`run_in_threads`, in the order of ``items``."""
    remaining = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        try:
            pending = deque(pool.submit(function, item) for item in islice(remaining, _AHEAD * workers))
            while pending:
                yield pending.popleft().result()
                pending.extend(pool.submit(function, item) for item in islice(remaining, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
