"""To 256 x 256 exactly as the published code does it: images bilinear and anti-aliased, labels nearest-exact.

Both work without torch. The image's weights are those of ``torchvision`` ``resize(..., antialias=True)`` on a float
tensor: a triangle as wide as one output pixel on either side, normalised, rows and columns one after the other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from medcli.ultrabones.registry import INPUT_SIZE


def resize_image(image: NDArray[np.uint8], size: int = INPUT_SIZE) -> NDArray[np.float32]:
    """Bilinear, anti-aliased: (H, W) uint8 to (size, size) float32, still 0 to 255 but not rounded."""
    height, width = image.shape
    return _resample(image, *_weights(height, size), *_weights(width, size))


def to_uint8(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round grey values 0 to 255 to the nearest whole one."""
    return (image + np.float32(0.5)).astype(np.uint8)


def resize_mask(mask: NDArray[np.uint8], size: int = INPUT_SIZE) -> NDArray[np.uint8]:
    """Nearest-exact: (H, W) to (size, size) uint8, 255 where the mask is 255 and else 0."""
    rows, columns = (nearest_exact(length, size) for length in mask.shape)
    return np.where(mask[rows[:, None], columns[None, :]] == 255, np.uint8(255), np.uint8(0))


@lru_cache(maxsize=32)
def nearest_exact(length: int, size: int) -> NDArray[np.int64]:
    """Source index (size,) of each output pixel: the one that holds the output pixel's centre."""
    return np.minimum((2 * np.arange(size, dtype=np.int64) + 1) * length // (2 * size), length - 1)


@lru_cache(maxsize=32)
def _weights(length: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """First source index (size,) and weights (size, taps) of each output pixel; unused taps weigh nothing."""
    scale = length / size
    reach = max(scale, 1.0)
    centre = scale * (np.arange(size) + 0.5)
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach + 0.5).astype(np.int64), length)
    source = first[:, None] + np.arange((last - first).max())
    weights = np.maximum(1 - np.abs((source + 0.5 - centre[:, None]) / reach), 0) * (source < last[:, None])
    first = np.minimum(first, length - weights.shape[1])  # so that every tap lies inside
    shifted = source[:, 0] - first
    for row in np.flatnonzero(shifted):
        weights[row] = np.roll(weights[row], shifted[row])
    return first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@njit(nogil=True, cache=True)
def _resample(image: Any, row_first: Any, row_weights: Any, column_first: Any, column_weights: Any) -> Any:
    size_rows, row_taps = row_weights.shape
    size_columns, column_taps = column_weights.shape
    height = image.shape[0]
    across = np.empty((height, size_columns), np.float32)
    for row in range(height):
        for column in range(size_columns):
            first = column_first[column]
            total = np.float32(0)
            for tap in range(column_taps):
                total += column_weights[column, tap] * np.float32(image[row, first + tap])
            across[row, column] = total
    result = np.zeros((size_rows, size_columns), np.float32)
    for row in range(size_rows):
        for tap in range(row_taps):
            weight = row_weights[row, tap]
            source = across[row_first[row] + tap]
            for column in range(size_columns):
                result[row, column] += weight * source[column]
    return result
