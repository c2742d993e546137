"""Worker threads over a stream of jobs: what follows from a job, the first error, and the end."""

from __future__ import annotations

import threading
import time

import pytest

from medcli.transfer.protocol import Stopped
from medcli.transfer.worker_pool import Pool


def test_a_pool_does_following_jobs_and_raises_the_first_error() -> None:
    done: list[int] = []
    lock = threading.Lock()

    def job(number: int) -> list:
        with lock:
            done.append(number)
        return [lambda: job(number * 10)] if 0 < number < 10 else []

    Pool((lambda n=n: job(n) for n in range(10)), 3, threading.Event()).run()  # type: ignore[misc]
    assert sorted(done) == [*range(10), *range(10, 100, 10)]

    def fail() -> list:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        Pool(iter([fail] * 5), 2, threading.Event()).run()


def test_a_stopped_job_is_no_error_and_a_stopped_pool_draws_no_further_one() -> None:
    stop, drawn = threading.Event(), []

    def job(number: int) -> list:
        drawn.append(number)
        if number == 3:
            stop.set()
            raise Stopped
        time.sleep(0.001)
        return []

    Pool((lambda n=n: job(n) for n in range(1000)), 2, stop).run()  # type: ignore[misc]
    assert 3 in drawn
    assert len(drawn) < 20
