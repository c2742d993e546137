"""Work on threads: every item once, bounded look-ahead, and a quick end."""

from __future__ import annotations

import _thread
import itertools
import signal
import threading
import time
from collections.abc import Callable

import pytest

from medcli.core import threads
from medcli.core.threads import end_if_stopped, map_in_threads, run_in_threads

Run = Callable[..., object]
BOTH = pytest.mark.parametrize("run", [run_in_threads, map_in_threads])


@BOTH
def test_every_item_once(run: Run) -> None:
    assert sorted(run(lambda item: item * 2, range(100), 4)) == list(range(0, 200, 2))  # type: ignore[call-overload]
    assert list(run(str, [], 4)) == []  # type: ignore[call-overload]


def test_map_keeps_the_order_of_the_items() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.05 if item == 0 else 0)
        return item

    assert list(map_in_threads(slow_first, range(20), 4)) == list(range(20))
    assert next(iter(run_in_threads(slow_first, range(20), 4))) != 0


@BOTH
def test_an_endless_stream_is_drawn_as_workers_become_free(run: Run) -> None:
    drawn = itertools.count()
    results = run(lambda item: item, drawn, 2)
    assert len({next(results) for _ in range(5)}) == 5  # type: ignore[call-overload]
    results.close()  # type: ignore[attr-defined]
    assert next(drawn) < 30


@BOTH
def test_an_exception_comes_out_and_what_has_not_begun_is_dropped(run: Run) -> None:
    begun, lock = [], threading.Lock()

    def fail_at_three(item: int) -> int:
        with lock:
            begun.append(item)
        if item == 3:
            raise KeyError("three")
        time.sleep(0.01)
        return item

    with pytest.raises(KeyError, match="three"):
        list(run(fail_at_three, range(1000), 2))  # type: ignore[call-overload]
    assert len(begun) < 50


@BOTH
def test_running_items_end_where_they_look_once_the_caller_stopped(run: Run) -> None:
    ended = []

    def endless(item: int) -> int:
        while item:
            try:
                end_if_stopped()
            except BaseException:
                ended.append(item)
                raise
            time.sleep(0.001)
        return item

    results = run(endless, range(100), 3)
    assert next(results) == 0  # type: ignore[call-overload]
    results.close()  # type: ignore[attr-defined]
    assert set(ended) <= {1, 2, 3, 4}
    assert len(ended) >= 2
    end_if_stopped()  # outside a pool: nothing


@BOTH
def test_ctrl_c_is_heard_while_an_item_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows it ends no wait, as on no system it does here: the wait has to look for it."""
    monkeypatch.setattr(threads, "interrupted", threading.Event())  # earlier commands of this process may have been
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    given_up = threading.Event()

    def work_on(item: int) -> None:
        while not given_up.is_set():
            end_if_stopped()
            time.sleep(0.01)

    threading.Timer(0.3, _thread.interrupt_main).start()
    giving_up = threading.Timer(20, given_up.set)
    giving_up.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(run(work_on, [1], 1))  # type: ignore[call-overload]
    finally:
        signal.signal(signal.SIGINT, before)
    assert not given_up.is_set()
    giving_up.cancel()
