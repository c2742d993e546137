"""How long to wait, how often to try again."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from medcli.core.progress import activity
from medcli.transfer.protocol import Busy, Fault, Stopped

LEAST_BYTES_PER_MINUTE = 6_000
"""Eight connections of a telephone modem bring eight times as much."""
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RetryPolicy:
    """Limits of waiting, in seconds, and of trying.

    Attributes:
        tries: attempts without progress before a file is given up; fewer than ``least_bytes_per_minute`` are none.
        first_wait_s: pause after the first failure; it doubles with each further one.
        longest_wait_s: longest pause of our own choosing.
        longest_obeyed_s: longest ``Retry-After`` that is waited for; a server that asks for more is taken as absent.
        connect_s: how long a connection may take to open.
        stall_s: how long a connection may send nothing.
        least_bytes_per_minute: a connection that brings fewer is given up.
        shortest_slow_s: waiting after which that is judged; never before a connection may have sent nothing.
    """

    tries: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_obeyed_s: float = 300.0
    connect_s: float = 15.0
    stall_s: float = 30.0
    least_bytes_per_minute: int = LEAST_BYTES_PER_MINUTE
    shortest_slow_s: float = 60.0

    @property
    def slow_after_s(self) -> float:
        return max(self.shortest_slow_s, self.stall_s)

    def pause_s(self, failures: int, fault: Fault) -> float | None:
        """Pause after the ``failures``-th failure in a row, or None to give up."""
        if not fault.retry or failures >= self.tries:
            return None
        asked = fault.retry_after_s if isinstance(fault, Busy) else None
        if asked is not None:
            return asked + random.uniform(0, 0.1) if asked <= self.longest_obeyed_s else None
        # Half fixed, half random: workers that failed together do not come back together.
        longest = min(self.longest_wait_s, self.first_wait_s * 2 ** (failures - 1))
        return float(longest * random.uniform(0.5, 1.0))

    def call(self, action: Callable[[], T], stop: threading.Event | None = None) -> T:
        """Call ``action`` until it succeeds; raises its last fault when the policy gives up."""
        stop = stop or threading.Event()
        failures = 0
        while True:
            try:
                return action()
            except Fault as fault:
                failures += 1
                self.wait(failures, fault, stop)

    def wait(self, failures: int, fault: Fault, stop: threading.Event) -> None:
        """Sleep before the next try, or raise ``fault`` when there is none; :class:`Stopped` ends the sleep."""
        pause = self.pause_s(failures, fault)
        if pause is None:
            raise fault
        if pause >= 5:
            log.info("%s; trying again in %.0f s", fault, pause)
        else:
            log.debug("%s; trying again in %.1f s", fault, pause)
        with activity(f"waiting {pause:.0f} s for the server: {fault}"):
            stopped = stop.wait(pause)
        if stopped:
            raise Stopped
