"""From a frame of any size to what the network sees, and back: the one place that training, evaluation,
prediction and export share.

The published pipeline: grey / 255, resized to 256 x 256 (bilinear, anti-aliased), normalised with the mean and
standard deviation of the training frames; labels resized with nearest-exact. Here the resized frame is rounded to
8 bits, so that 100,000 frames fit into 6.6 GB; it lies within half a grey level of the published value.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.image_formats.few_images import FewImages
from medcli.ultrabones.dataset.constants import IMAGE_MEAN, IMAGE_STD, INPUT_SIZE

if TYPE_CHECKING:
    import torch

_few = FewImages()


def resize_frame(grey: NDArray[np.uint8], size: int = INPUT_SIZE) -> NDArray[np.uint8]:
    """Resize a frame (H, W) to (size, size), bilinear and anti-aliased, rounded to 8 bits."""
    return round_grey(resize_frame_exactly(grey, size))


def round_grey(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey levels 0 to 255 as the nearest whole ones."""
    return (grey + np.float32(0.5)).astype(np.uint8)


def resize_frame_exactly(grey: NDArray[np.uint8], size: int = INPUT_SIZE) -> NDArray[np.float32]:
    """Resize a frame (H, W) to (size, size), bilinear and anti-aliased, float32 grey levels 0 to 255, not rounded.

    The filter is torchvision's ``resize(..., antialias=True)``: a triangle as wide as the scale, normalised to sum 1.
    Releases the interpreter lock, so that a pool of threads resizes on all cores.
    """
    if grey.ndim != 2 or grey.dtype != np.uint8:
        raise ValueError(f"frame must be (H, W) uint8, got {grey.shape} {grey.dtype}")
    if grey.shape == (size, size):
        return grey.astype(np.float32)
    rows, columns = _triangle_filter(grey.shape[0], size), _triangle_filter(grey.shape[1], size)
    if not _few.next_is_one():
        return np.asarray(_compiled_resize()(np.ascontiguousarray(grey), *rows, *columns))
    small = _filtered(np.ascontiguousarray(_filtered(grey, *rows).T), *columns).T
    return np.minimum(np.ascontiguousarray(small), np.float32(255.0))


def resize_label(label: NDArray[np.uint8], size: int = INPUT_SIZE) -> NDArray[np.uint8]:
    """Resize a label (H, W) to (size, size) by the nearest pixel, as torchvision's ``NEAREST_EXACT``."""
    if label.ndim != 2:
        raise ValueError(f"label must be (H, W), got {label.shape}")
    rows, columns = nearest_indices(label.shape[0], size), nearest_indices(label.shape[1], size)
    return np.ascontiguousarray(label[rows][:, columns])


@lru_cache(maxsize=64)
def nearest_indices(length: int, size: int) -> NDArray[np.int64]:
    """For each of ``size`` pixels the pixel of a line of ``length`` that holds its centre, (size,)."""
    scale = np.float32(length) / np.float32(size)  # float32, as torch computes it
    indices = np.floor((np.arange(size, dtype=np.float32) + np.float32(0.5)) * scale).astype(np.int64)
    return np.asarray(np.minimum(indices, length - 1))


def mask_at_size(
    probability: NDArray[np.float32], height: int, width: int, threshold: float = 0.5
) -> NDArray[np.uint8]:
    """Binary mask (height, width), 0 or 255, of a probability map (h, w): resized bilinearly, then > threshold.

    Pixel centres are aligned (as torch's ``align_corners=False``), so the mask lies on the frame without a shift.
    """
    return (resize_probability(probability, height, width) > threshold).view(np.uint8) * np.uint8(255)


def resize_probability(probability: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A probability map (h, w) at (height, width), bilinear, with pixel centres aligned."""
    if probability.shape == (height, width):
        return probability
    return np.asarray(cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def normalise(images: torch.Tensor, mean: float = IMAGE_MEAN, std: float = IMAGE_STD) -> torch.Tensor:
    """Grey values 0 to 255, (N, H, W) of any type, as the network's input (N, 1, H, W) float32."""
    return normalise_unit(images.float() * (1.0 / 255.0), mean, std).unsqueeze(1)


def normalise_unit(images: torch.Tensor, mean: float = IMAGE_MEAN, std: float = IMAGE_STD) -> torch.Tensor:
    """Values in [0, 1] as the network takes them, of the same shape."""
    return (images - mean) / std


@lru_cache(maxsize=64)
def _triangle_filter(length: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """First input pixel (size,) and weights (size, taps) of each output pixel of a line; unused taps are 0."""
    scale = length / size
    support = max(scale, 1.0)
    centres = scale * (np.arange(size) + 0.5)
    starts = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    ends = np.minimum((centres + support + 0.5).astype(np.int64), length)
    pixels = starts[:, None] + np.arange((ends - starts).max())
    weights = np.maximum(1.0 - np.abs(pixels + 0.5 - centres[:, None]) / support, 0.0)
    weights[pixels >= ends[:, None]] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    # Every start leaves space for all taps, so that no sum needs bounds.
    shifts = np.maximum(starts + weights.shape[1] - length, 0)
    for row in np.flatnonzero(shifts):
        weights[row] = np.roll(weights[row], shifts[row])
    return starts - shifts, weights.astype(np.float32)


def _filtered(lines: NDArray[Any], starts: NDArray[np.int64], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weighted sums over the first axis: from (length, width) to (size, width), in the order of the compiled ones."""
    total = np.zeros((starts.size, lines.shape[1]), np.float32)
    for tap in range(weights.shape[1]):
        total += weights[:, tap, None] * np.take(lines, starts + tap, axis=0)  # both release the interpreter lock
    return total


@lru_cache(maxsize=1)
def _compiled_resize() -> Any:
    from medcli.core.compiled import njit

    return njit()(_resize)


def _resize(frame: Any, row_starts: Any, row_weights: Any, column_starts: Any, column_weights: Any) -> Any:
    """Rows first (long runs of adjacent pixels), then columns of the one summed row, which stays in cache."""
    height, width = row_starts.size, column_starts.size
    resized = np.empty((height, width), np.float32)
    line = np.empty(frame.shape[1], np.float32)
    for row in range(height):
        line[:] = np.float32(0.0)
        for tap in range(row_weights.shape[1]):
            weight = row_weights[row, tap]
            if weight != 0.0:
                source = frame[row_starts[row] + tap]
                for column in range(line.size):
                    line[column] += weight * np.float32(source[column])
        for column in range(width):
            start = column_starts[column]
            total = np.float32(0.0)
            for tap in range(column_weights.shape[1]):
                total += column_weights[column, tap] * line[start + tap]
            resized[row, column] = min(total, np.float32(255.0))
    return resized
