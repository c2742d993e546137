"""The table that a training prints: one row an epoch, at most 80 columns wide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_GAP = "  "
_LR_WIDTH, _LEFT_WIDTH, _LEAST_WIDTH = 7, 8, 7
_MARK = "*"
_LEGEND = f"{_MARK} best so far"
_MOST_DECIMALS = 4


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        metric: its column in ``metrics.csv``.
        above, title: the two lines of its header; the unit, if there is one, is in the second.
    """

    metric: str
    above: str
    title: str

    @property
    def width(self) -> int:
        """Characters of its widest cell."""
        return max(_LEAST_WIDTH, len(self.above), len(self.title))


class EpochTable:
    """Lines of the table, one call an epoch.

    Args:
        columns: of the training, in their order; one without a value in an epoch shows ``-``.
        epochs: of the whole run.
        repeat_every: rows after which the header is repeated, for a screen that scrolls; 0: it is printed once.
    """

    def __init__(self, columns: Sequence[Column], epochs: int, repeat_every: int = 0) -> None:
        self.columns, self.epochs, self.repeat_every = columns, epochs, repeat_every
        self._rows = 0
        self._epoch_width = max(2 * len(str(epochs)) + 1, len("epoch"))

    def lines(self, row: Mapping[str, float], is_best: bool) -> list[str]:
        """The row of an epoch, below a header where one is due.

        Args:
            row: as in ``metrics.csv``.
            is_best: it is the best so far, and is marked.
        """
        due = self._rows == 0 or (self.repeat_every and self._rows % self.repeat_every == 0)
        self._rows += 1
        return [*(self._header() if due else []), self._row(row, is_best)]

    def _header(self) -> list[str]:
        width = self._epoch_width + len(_GAP) + _LR_WIDTH
        above = [_LEGEND.ljust(width), *(column.above.rjust(column.width) for column in self.columns)]
        titles = ["epoch".rjust(self._epoch_width), "lr".rjust(_LR_WIDTH)]
        titles += [*(column.title.rjust(column.width) for column in self.columns), "left".rjust(_LEFT_WIDTH)]
        return [_GAP.join(above).rstrip(), _GAP.join(titles)]

    def _row(self, row: Mapping[str, float], is_best: bool) -> str:
        cells = [f"{row['epoch']:.0f}/{self.epochs}".rjust(self._epoch_width), f"{row['lr']:.2g}".rjust(_LR_WIDTH)]
        cells += [figure(row.get(column.metric, math.nan), column.width) for column in self.columns]
        cells.append(time_left(row.get("seconds_left", math.nan)).rjust(_LEFT_WIDTH))
        return _GAP.join(cells) + (f" {_MARK}" if is_best else "")


def figure(value: float, width: int) -> str:
    """A number with four decimals, or as many as fit; ``-`` for one that is none."""
    if not math.isfinite(value):
        return "-".rjust(width)
    texts = (f"{value:.{decimals}f}" for decimals in range(_MOST_DECIMALS, -1, -1))
    return next((text for text in texts if len(text) <= width), f"{value:.0e}").rjust(width)


def time_left(seconds: float) -> str:
    """``12:05`` or ``1:02:33``; from 100 hours on in days."""
    if not math.isfinite(seconds):
        return "-"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 100:
        return f"{hours / 24:.0f} days"
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
