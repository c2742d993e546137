"""Which epoch of a run is its best, and when a run has stopped improving: ``--monitor`` and ``--early-stop``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medcli.core.errors import UsageError, quantity

EARLY_STOP = "early stop"
"""How the reason begins for which a run ended before its last epoch."""


@dataclass(frozen=True)
class Monitor:
    """A figure of the validation that ``--monitor`` can choose.

    Attributes:
        metric: its column in ``metrics.csv``.
        about: what it is, for the help.
        higher_is_better: otherwise the lowest value is the best.
    """

    metric: str
    about: str
    higher_is_better: bool = False

    @property
    def option(self) -> str:
        """What ``--monitor`` calls it: ``in-plane`` for ``val_in_plane_mm``."""
        return re.sub(r"^val_|_(mm|deg)$", "", self.metric).replace("_", "-")

    def best_of(self, history: Sequence[Mapping[str, float]]) -> int | None:
        """Position of the best epoch, of equal ones the first; None where there is no epoch.

        An epoch without a value (no bone detected: no distance) is best only where no epoch has one, and then the
        first.
        """
        return min(range(len(history)), key=lambda place: self._badness(history[place]), default=None)

    def is_reached(self, row: Mapping[str, float]) -> bool:
        """Whether an epoch has a value to be the best by: not without one, nor of a score that is still 0."""
        is_missing, badness = self._badness(row)
        return not is_missing and not (self.higher_is_better and badness >= 0)

    def epochs_without_improvement(self, history: Sequence[Mapping[str, float]]) -> int:
        """Epochs since the best one; 0 until an epoch has a value."""
        best = self.best_of(history)
        if best is None or self._badness(history[best])[0]:
            return 0
        return len(history) - 1 - best

    def reason_to_stop(self, history: Sequence[Mapping[str, float]], early_stop: int | None) -> str:
        """Why the run ends after the last epoch of ``history``; empty where it continues."""
        if early_stop is None or self.epochs_without_improvement(history) < early_stop:
            return ""
        return f"{EARLY_STOP}: {self.option} has not improved for {quantity(early_stop, 'epoch')}"

    def _badness(self, row: Mapping[str, float]) -> tuple[bool, float]:
        value = row.get(self.metric, math.nan)
        if not math.isfinite(value):
            return True, 0.0
        return False, -value if self.higher_is_better else value


def check_monitor(monitors: Mapping[str, Monitor], name: str, early_stop: int | None) -> None:
    """Make sure that there is such a figure, and that the epochs to wait for it are a positive number.

    Raises:
        UsageError: names the option, what came, and what is expected.
    """
    if name not in monitors:
        raise UsageError(f"--monitor '{name}' is not one of {', '.join(monitors)}")
    if early_stop is not None and early_stop < 1:
        raise UsageError(f"--early-stop {early_stop} is not a positive number of epochs")
