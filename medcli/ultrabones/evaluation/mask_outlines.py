"""Outlines of masks and their distances, for the surface Dice of Nikolov et al. (J Med Internet Res 23 (2021) e26151).

As in the authors' code, the outline runs through the corners of pixels: a corner belongs to it where the four pixels
around it are not alike, and stands for the length of the line that separates them: 1 where it is straight, half a
diagonal where one pixel differs from the three others, a whole one where two opposite pixels do. Beyond the image's
edge there is no mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.compiled import njit
from medcli.ultrabones.evaluation.mask_distances import squared_distances

_HALF_DIAGONAL = 0.5**0.5
_LENGTHS = np.array([0, 1, 1, 1, 1, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 0]) * _HALF_DIAGONAL
_LENGTHS[[0b0011, 0b1100, 0b0101, 0b1010]] = 1.0


@dataclass(frozen=True)
class OutlineDistances:
    """From the outline of one mask to that of another, pixels.

    Attributes:
        squared: (N,) squared distance of each corner of the outline to the nearest corner of the other's.
        lengths: (N,) length that each corner stands for.
    """

    squared: NDArray[np.int64]
    lengths: NDArray[np.float64]

    def length_within(self, tolerance_px: float) -> float:
        """Length of the outline that is at most ``tolerance_px`` away from the other."""
        return float(self.lengths[self.squared <= tolerance_px**2].sum())


def outline_distances(
    one: NDArray[np.bool_], other: NDArray[np.bool_]
) -> tuple[OutlineDistances, OutlineDistances] | None:
    """Distances between the outlines of two masks (H, W), there and back; None where both masks are empty.

    Distances to the outline of an empty mask exceed every image.
    """
    both = one | other
    rows, columns = (np.flatnonzero(both.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    codes = [_corner_codes(np.ascontiguousarray(mask[part])) for mask in (one, other)]
    corners = [(code != 0) & (code != 0b1111) for code in codes]
    lengths = [_LENGTHS[code[corner]] for code, corner in zip(codes, corners, strict=True)]
    return (
        OutlineDistances(squared_distances(corners[0], corners[1]), lengths[0]),
        OutlineDistances(squared_distances(corners[1], corners[0]), lengths[1]),
    )


@njit()
def _corner_codes(mask: Any) -> Any:
    """Which of the four pixels around each corner (H + 1, W + 1) are True, a bit each; uint8."""
    height, width = mask.shape
    codes = np.zeros((height + 1, width + 1), np.uint8)
    for row in range(height):
        for column in range(width):
            if mask[row, column]:
                codes[row, column] |= 8
                codes[row, column + 1] |= 4
                codes[row + 1, column] |= 2
                codes[row + 1, column + 1] |= 1
    return codes
