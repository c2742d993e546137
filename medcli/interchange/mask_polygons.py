"""Masks as polygons that lose no pixel, however thin a mask is.

A contour through the centres of pixels, as OpenCV gives it, has no area where a mask is one pixel wide. Here it runs
inside the mask between the centres and the edges of its pixels, so that whatever is filled by the centres of pixels is
the mask again. A piece with a hole, such as the closed outline of a bone, is cut through the hole into pieces without.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

_PARTS = 3
"""Each pixel becomes so many along each side: the centre of the outer ones lies a sixth of a pixel inside its edge."""


def mask_polygons(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The polygons (N, 2) of a mask (rows, columns): x, y in pixels, where pixel (c, r) covers [c, c + 1) x [r, r + 1).

    Each is simply connected, and they do not overlap; a mask without a pixel has none.
    """
    return [_outline(piece) + corner for piece, corner in _pieces(mask, (0, 0))]


def _pieces(mask: NDArray[np.bool_], corner: tuple[int, int]) -> Iterator[tuple[NDArray[np.bool_], tuple[int, int]]]:
    """Connected parts without holes, each cropped to its box, with the box's corner (x, y)."""
    count, numbers, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    for number in range(1, count):
        x, y, width, height = (int(value) for value in boxes[number, :4])
        part = numbers[y : y + height, x : x + width] == number
        at = (corner[0] + x, corner[1] + y)
        column = _column_of_hole(part)
        if column is None:
            yield part, at
            continue
        yield from _pieces(part[:, :column], at)
        yield from _pieces(part[:, column:], (at[0] + column, at[1]))


def _column_of_hole(part: NDArray[np.bool_]) -> int | None:
    """A column that cuts the first hole of a connected part; None where it has none."""
    contours, tree = cv2.findContours(part.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for contour, (_, _, _, parent) in zip(contours, tree[0] if tree is not None else (), strict=True):
        if parent >= 0:  # through the pixels around a hole
            columns = contour[:, 0, 0]
            return int((int(columns.min()) + int(columns.max()) + 1) // 2)
    return None


def _outline(part: NDArray[np.bool_]) -> NDArray[np.float64]:
    fine = part.astype(np.uint8).repeat(_PARTS, axis=0).repeat(_PARTS, axis=1)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.asarray((contours[0][:, 0].astype(np.float64) + 0.5) / _PARTS)
