"""Rows of PNG files as they were before filtering, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from medcli.core.compiled import njit


@njit()
def unfilter_rows(filtered: Any) -> Any:
    """Undo the filters of 8-bit grey rows.

    Args:
        filtered: (H, W + 1) uint8, each row after its filter byte (0 to 4).

    Returns:
        (H, W) uint8.
    """
    rows, columns = len(filtered), filtered.shape[1] - 1
    image = np.empty((rows, columns), np.uint8)
    for row in range(rows):
        kind = filtered[row, 0]
        left: Any = 0
        corner: Any = 0
        if kind == 0:
            image[row] = filtered[row, 1:]
        elif kind == 1:
            for column in range(columns):
                left = (left + filtered[row, column + 1]) & 255
                image[row, column] = left
        elif kind == 2:
            for column in range(columns):
                above = np.int64(image[row - 1, column]) if row else 0
                image[row, column] = (above + filtered[row, column + 1]) & 255
        elif kind == 3:
            for column in range(columns):
                above = np.int64(image[row - 1, column]) if row else 0
                left = (((left + above) >> 1) + filtered[row, column + 1]) & 255
                image[row, column] = left
        else:
            for column in range(columns):
                above = np.int64(image[row - 1, column]) if row else 0
                to_left, to_above = abs(above - corner), abs(left - corner)
                to_corner = abs(left + above - 2 * corner)
                if to_left <= to_above and to_left <= to_corner:
                    nearest = left
                else:
                    nearest = above if to_above <= to_corner else corner
                left, corner = (nearest + filtered[row, column + 1]) & 255, above
                image[row, column] = left
    return image
