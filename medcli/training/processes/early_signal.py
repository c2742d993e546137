"""SIGUSR1 before the training starts: remembered, where it would otherwise end the process.

The libraries of a training take seconds to import, and a cluster may send the signal of its time limit meanwhile.
"""

from __future__ import annotations

import contextlib
import signal
from typing import Any


class EarlySignal:
    """Receives SIGUSR1 until :class:`medcli.training.processes.time_limit.TimeLimit` does, which asks what came.

    Attributes:
        came: the signal did.
    """

    def __init__(self) -> None:
        self.came = False

    def receive(self) -> None:
        """From here on, the signal comes here."""
        if hasattr(signal, "SIGUSR1"):  # Windows has none
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(signal.SIGUSR1, self)

    def __call__(self, number: int, frame: Any) -> None:
        self.came = True
