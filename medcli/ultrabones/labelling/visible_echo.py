"""The part of a visible label that returns an echo in the frame's own image (``--visible-rule echo``).

Along a column the first run of the section is what the beam meets first, but not always what it shows: a wall parallel
to the beam, a side in the shadow of another bone or an edge of the transducer without contact return nothing. Bone that
is seen is bright, and dark below, since it reflects nearly all of the sound. Both are asked of every pixel, then of the
columns together:

- bright: the smoothed grey value (Gaussian of 0.15 mm) within 0.8 mm above or below is at least 80. The 0.8 mm are for
  the error of tracking, which is about half a millimetre;
- shadow: the mean from 1.5 to 6 mm below is at most 0.5 of that value (not asked where less than 1 mm of
  image is below);
- gaps of up to 1 mm between columns that pass are filled, and pieces narrower than 1 mm are dropped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.compiled import njit
from medcli.ultrabones.pose_refinement.echo_distance import smooth_columns

SMOOTHING_MM = 0.15
SEARCH_MM = 0.8
LEAST_GREY = 80.0
"""Of 60, 80, 100 and 120: 80 keeps faint ridges and drops walls between tissue and shadow, in frames looked at. Of the
far walls, which cannot be seen, it keeps 1.1 % (60: 3.4 %), of the first runs 68 % (60: 74 %, 100: 61 %)."""
SHADOW_FROM_MM, SHADOW_TO_MM = 1.5, 6.0
MOST_SHADOW = 0.5
"""Mean grey value of the shadow over that of the echo."""
LEAST_SHADOW_MM = 1.0
LEAST_WIDTH_MM = 1.0


def echo_part(seen: NDArray[np.uint8], grey: NDArray[np.uint8], spacing_mm: float) -> NDArray[np.uint8]:
    """Those pixels of a label (rows, columns) of 0 and 255 that return an echo in the frame ``grey`` of its size."""
    smooth, sums = smooth_columns(grey, SMOOTHING_MM / spacing_mm)
    lengths = (SEARCH_MM, SHADOW_FROM_MM, SHADOW_TO_MM, LEAST_SHADOW_MM)
    found = _echoes(seen, smooth, sums, *(round(length / spacing_mm) for length in lengths), LEAST_GREY, MOST_SHADOW)
    passed, there = np.asarray(found.any(axis=0)), np.asarray(seen.any(axis=0))
    columns = _joined(passed, there, max(round(LEAST_WIDTH_MM / spacing_mm), 1))
    filled = columns & ~passed
    return np.where((found & columns) | ((seen > 0) & filled), seen, 0).astype(np.uint8)


def _joined(passed: NDArray[np.bool_], there: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Columns (W,) that pass, with gaps of up to ``width`` filled where there is a label, without narrower pieces."""
    kept = passed.copy()
    for first, last in _runs(~passed):
        if first > 0 and last < len(passed) and last - first <= width:
            kept[first:last] = there[first:last]
    for first, last in _runs(kept):
        if last - first < width:
            kept[first:last] = False
    return kept


def _runs(columns: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], columns, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


@njit()
def _echoes(
    seen: Any,
    smooth: Any,
    sums: Any,
    reach: int,
    shadow_from: int,
    shadow_to: int,
    least: int,
    bright: float,
    dark: float,
) -> Any:
    """Which True pixels of ``seen`` are bright and shadowed; ``sums`` (rows + 1, columns) are sums down the columns."""
    rows, columns = seen.shape
    found = np.zeros((rows, columns), np.bool_)
    for v in range(rows):
        for u in range(columns):
            if seen[v, u] == 0:
                continue
            at = v
            for other in range(max(v - reach, 0), min(v + reach + 1, rows)):
                if smooth[other, u] > smooth[at, u]:
                    at = other
            if smooth[at, u] < bright:
                continue
            first, last = min(at + shadow_from, rows), min(at + shadow_to, rows)
            if last - first >= least and sums[last, u] - sums[first, u] > dark * smooth[at, u] * (last - first):
                continue
            found[v, u] = True
    return found
