"""Rows of PNG files as they were before filtering, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def unfilter_rows(filtered: Any, image: Any, first: int) -> Any:
    """Undo the filters of 8-bit grey rows.

    Args:
        filtered: (N, W + 1) uint8, each row after its filter byte.
        image: (H, W) uint8; rows ``first`` to ``first + N - 1`` are written, the one above them must be there.

    Returns:
        the first filter that does not exist, 0 if there is none.
    """
    columns = image.shape[1]
    for n in range(len(filtered)):
        kind, row = filtered[n, 0], first + n
        left: Any = 0
        corner: Any = 0
        if kind == 0:
            image[row] = filtered[n, 1:]
        elif kind == 1:
            for column in range(columns):
                left = (left + filtered[n, column + 1]) & 255
                image[row, column] = left
        elif kind == 2:
            for column in range(columns):
                above = np.int64(image[row - 1, column]) if row else 0
                image[row, column] = (above + filtered[n, column + 1]) & 255
        elif kind == 3:
            for column in range(columns):
                above = np.int64(image[row - 1, column]) if row else 0
                left = (((left + above) >> 1) + filtered[n, column + 1]) & 255
                image[row, column] = left
        elif kind == 4:
            for column in range(columns):
                above = np.int64(image[row - 1, column]) if row else 0
                to_left, to_above = abs(above - corner), abs(left - corner)
                to_corner = abs(left + above - 2 * corner)
                if to_left <= to_above and to_left <= to_corner:
                    nearest = left
                else:
                    nearest = above if to_above <= to_corner else corner
                left, corner = (nearest + filtered[n, column + 1]) & 255, above
                image[row, column] = left
        else:
            return kind
    return 0
