"""Distances to a mask, as far as they are needed: exact, and the same in any number of threads."""

from __future__ import annotations

from typing import Any

from medcli.core.compiled import njit


@njit()
def bounded_squared_distances(seen: Any, reach: int, along: Any, distances: Any) -> None:
    """Squared distance of each pixel to the nearest pixel of a mask, exact up to ``reach``.

    Args:
        seen: (H, W) bool.
        reach: pixels; farther pixels get more than its square.
        along: (H, W) int64, work space: distances along the row.
        distances: (H, W) int64, written.
    """
    rows, columns = seen.shape
    far = reach + 1
    for i in range(rows):
        last = far
        for j in range(columns):
            last = 0 if seen[i, j] else min(last + 1, far)
            along[i, j] = last
        last = far
        for j in range(columns - 1, -1, -1):
            last = 0 if seen[i, j] else min(last + 1, far)
            along[i, j] = min(along[i, j], last)
    for i in range(rows):
        for j in range(columns):
            distances[i, j] = far * far
        for k in range(max(i - reach, 0), min(i + reach + 1, rows)):
            square = (i - k) * (i - k)
            for j in range(columns):
                distances[i, j] = min(distances[i, j], square + along[k, j] * along[k, j])
