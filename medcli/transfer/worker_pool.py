"""Worker threads over a stream of jobs, with an end that is quick whatever ends it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from medcli.transfer.protocol import Stopped

Job = Callable[[], Sequence["Job"]]
"""Does its work and returns the jobs that follow from it, which are done before any other."""
_GRACE_S = 2.0


class Pool:
    """Runs jobs on ``workers`` threads; jobs are drawn one by one, so that the stream may be long.

    The threads are daemons: at Ctrl-C, one that waits for a silent server is not waited for in its turn. Nothing is
    lost by it, since a part or a finished file is as good after a kill.
    """

    def __init__(self, jobs: Iterable[Job], workers: int, stop: threading.Event) -> None:
        self.jobs = iter(jobs)
        self.workers = workers
        self.stop = stop
        self.following: deque[Job] = deque()
        self.active = 0
        self.changed = threading.Condition()
        self.error: BaseException | None = None

    def run(self) -> None:
        """Run all jobs; raises the first exception of one after the others have stopped."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.workers)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
                    if self.error:
                        break
        finally:
            self._end(threads)
        if self.error:
            raise self.error

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        if any(thread.is_alive() for thread in threads):
            self.stop.set()
        deadline = time.monotonic() + _GRACE_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (job := self._next()) is not None:
            following: Sequence[Job] = ()
            try:
                following = job()
            except Stopped:
                pass
            except BaseException as error:
                self.error = self.error or error
                self.stop.set()
            with self.changed:
                self.following.extend(following)
                self.active -= 1
                self.changed.notify_all()

    def _next(self) -> Job | None:
        with self.changed:
            while not self.stop.is_set():
                job = self.following.popleft() if self.following else next(self.jobs, None)
                if job is not None:
                    self.active += 1
                    return job
                if not self.active:
                    return None
                self.changed.wait(0.2)
            return None
