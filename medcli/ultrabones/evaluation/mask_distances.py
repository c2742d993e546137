"""Exact distances between thin masks, compiled; each has a slow twin in the tests.

A distance to a mask is found in two steps: the distance along the column (one sweep down, one up), then, only for the
pixels that ask, a scan outwards along the row that stops as soon as no farther column can be nearer. Masks of bone
surfaces are thin, so few pixels ask and the scans are short; a whole distance transform would do both for every pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medcli.core.compiled import njit

FAR = 1 << 14
"""Column distance (pixels) that stands for "no mask pixel in this column"; no frame is that high."""
NOWHERE = FAR * FAR
"""Squared distance to an empty mask."""


@njit()
def column_distance(mask: Any) -> Any:
    """Distance (rows, columns) int32 of each pixel to the nearest True along its column, ``FAR`` where none is."""
    height, width = mask.shape
    distance = np.empty((height, width), np.int32)
    for column in range(width):
        distance[0, column] = 0 if mask[0, column] else FAR
    for row in range(1, height):
        for column in range(width):
            distance[row, column] = 0 if mask[row, column] else min(distance[row - 1, column] + 1, FAR)
    for row in range(height - 2, -1, -1):
        for column in range(width):
            distance[row, column] = min(distance[row, column], distance[row + 1, column] + 1)
    return distance


@njit()
def squared_distance_at(columns: Any, row: int, column: int) -> int:
    """Squared distance of one pixel to the mask whose :func:`column_distance` is ``columns``."""
    width = columns.shape[1]
    best = columns[row, column] * columns[row, column]
    step = 1
    while step * step < best:
        left, right = column - step, column + step
        if left < 0 and right >= width:
            break
        if left >= 0:
            best = min(best, step * step + columns[row, left] * columns[row, left])
        if right < width:
            best = min(best, step * step + columns[row, right] * columns[row, right])
        step += 1
    return int(best)


@njit()
def positions(mask: Any) -> Any:
    """Flat indices (int64, ascending) of the True pixels; looks at eight pixels at a time, since few are."""
    flat = mask.ravel().view(np.uint8)
    whole = len(flat) // 8
    words = flat[: 8 * whole].view(np.uint64)
    found = np.empty(np.count_nonzero(flat), np.int64)
    count = 0
    for word in range(whole):
        if words[word] != 0:
            for index in range(8 * word, 8 * word + 8):
                if flat[index] != 0:
                    found[count] = index
                    count += 1
    for index in range(8 * whole, len(flat)):
        if flat[index] != 0:
            found[count] = index
            count += 1
    return found


@njit()
def squared_distances(source: Any, target: Any) -> Any:
    """Squared distance (pixels², int64) of each True pixel of ``source``, in row order, to ``target``.

    All are :data:`NOWHERE` or more when ``target`` is empty.
    """
    columns = column_distance(target)
    asking = positions(source)
    width = source.shape[1]
    found = np.empty(len(asking), np.int64)
    for i in range(len(asking)):
        found[i] = squared_distance_at(columns, asking[i] // width, asking[i] % width)
    return found


@njit()
def dilate(mask: Any, radius: int) -> Any:
    """Pixels no farther than ``radius`` pixels (Euclidean) from a True pixel."""
    height, width = mask.shape
    result = np.zeros((height, width), np.bool_)
    reach = np.empty(radius + 1, np.int64)
    for down in range(radius + 1):
        reach[down] = int(np.sqrt(radius * radius - down * down))
    for index in positions(mask):
        row, column = index // width, index % width
        for other in range(max(row - radius, 0), min(row + radius + 1, height)):
            half = reach[abs(other - row)]
            result[other, max(column - half, 0) : min(column + half + 1, width)] = True
    return result
