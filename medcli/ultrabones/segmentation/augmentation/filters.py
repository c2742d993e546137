"""Image filters of the augmentation, and thickening of labels, on whole batches and on any device.

Images are (B, 1, H, W) float32 in [0, 1].
"""

from __future__ import annotations

import logging
import math
from functools import lru_cache
from importlib.util import find_spec

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medcli.core.errors import printable
from medcli.training.devices import widest_float

logger = logging.getLogger(__name__)

MEDIAN_SIDE = 7
"""Side of the median's window: radius 3."""
_MEDIAN_CHUNK = 16
"""Frames whose 49 shifted copies stand in GPU memory at once: 16 x 49 x 256 x 256 x 1 byte = 51 MB."""


@lru_cache(maxsize=1)
def kernels_work() -> bool:
    """Whether the GPU here runs the kernels of :mod:`.kernels`: found out with the smallest of them.

    They need Triton, which PyTorch brings along on Linux only, a C compiler, and a GPU that Triton knows.
    """
    if find_spec("triton") is None:
        return False
    try:
        from medcli.ultrabones.segmentation.augmentation.kernels import thicken_by_kernel

        thicken_by_kernel(torch.zeros((1, 1, 8, 8), dtype=torch.bool, device="cuda"), 1)
    except Exception as error:  # whatever Triton, its compiler and the driver raise
        logger.warning("labels and images are augmented without Triton, more slowly: %s", printable(str(error)[:200]))
        return False
    return True


def gaussian_blur_3x3(images: Tensor, sigmas: Tensor) -> Tensor:
    """Blur with a 3 x 3 Gaussian of each frame's own standard deviation (B,) in pixels; the edge is mirrored."""
    neighbour = torch.exp(-0.5 / sigmas.to(widest_float(sigmas.device)) ** 2)
    side = (neighbour / (1 + 2 * neighbour)).float().view(-1, 1, 1, 1)
    padded = functional.pad(images, (1, 1, 1, 1), mode="reflect")
    across = torch.lerp(padded[..., 1:-1], (padded[..., :-2] + padded[..., 2:]) / 2, 2 * side)
    return torch.lerp(across[..., 1:-1, :], (across[..., :-2, :] + across[..., 2:, :]) / 2, 2 * side)


def equalize(images: Tensor) -> Tensor:
    """Equalise each frame's histogram of 256 grey values, as PIL and torchvision define it.

    With h the counts and s = (pixels - count of the highest value present) // 255, value v becomes
    min((sum of h below v + s // 2) // s, 255); an image with s = 0 stays as it is.
    """
    levels = to_levels(images)
    frames = len(levels)
    keys = levels.view(frames, -1).long()
    offset = torch.arange(frames, device=levels.device)[:, None] * 256
    counts = torch.bincount((keys + offset).view(-1), minlength=frames * 256).view(frames, 256)
    below = counts.cumsum(1) - counts
    pixels = keys.shape[1]
    highest = counts.gather(1, keys.amax(1, keepdim=True))
    step = torch.div(pixels - highest, 255, rounding_mode="floor")
    table = torch.div(below + step // 2, step.clamp(min=1), rounding_mode="floor").clamp_(0, 255)
    table = torch.where(step == 0, torch.arange(256, device=levels.device), table)
    return table.gather(1, keys).view(levels.shape).float().div_(255)


def median_7x7(images: Tensor) -> Tensor:
    """Median of the 7 x 7 neighbourhood of each pixel, in 256 grey values; the edge is repeated.

    The frames have 256 grey values; working in them makes the result half a grey value coarse where another operation
    has made values in between.
    """
    levels = to_levels(images, nearest=True)
    if levels.device.type == "cpu":
        blurred = [cv2.medianBlur(frame[0], MEDIAN_SIDE) for frame in levels.numpy()]
        return torch.from_numpy(np.stack(blurred))[:, None].float().div_(255)
    return torch.cat([_median_of_copies(chunk) for chunk in torch.split(levels, _MEDIAN_CHUNK)]).float().div_(255)


def to_levels(images: Tensor, nearest: bool = False) -> Tensor:
    """[0, 1] to 256 grey values, uint8: in equal bins as torchvision does, or to the nearest value."""
    return ((images * 255 + 0.5) if nearest else (images * (256 - 1e-3))).to(torch.uint8)


def thicken_batch(labels: Tensor, radius_px: int) -> Tensor:
    """Pixels within ``radius_px`` (Euclidean, at most) of a label pixel: dilation by the disk dx² + dy² <= r².

    Args:
        labels: (B, 1, H, W) bool.
    """
    if labels.device.type == "cuda" and kernels_work():
        from medcli.ultrabones.segmentation.augmentation.kernels import thicken_by_kernel

        return thicken_by_kernel(labels, radius_px)
    return thicken_by_shifts(labels, radius_px)


def thicken_by_shifts(labels: Tensor, radius_px: int) -> Tensor:
    """:func:`thicken_batch` in torch operations alone."""
    thick = labels.clone()
    half_widths = [math.isqrt(radius_px**2 - dy**2) for dy in range(radius_px + 1)]
    widened = labels
    width = 0
    for dy in reversed(range(radius_px + 1)):  # the rows furthest away are the narrowest
        while width < half_widths[dy]:
            width += 1
            widened = _or_shifted(widened, labels, width, dim=-1)
        thick = _or_shifted(thick, widened, dy, dim=-2)
    return thick


def _or_shifted(target: Tensor, source: Tensor, distance: int, dim: int) -> Tensor:
    """``target`` or ``source`` moved by ``distance`` pixels both ways along ``dim``; a new tensor."""
    result = target.clone()
    size = source.shape[dim]
    if distance == 0:
        return result.logical_or_(source)
    kept = size - distance
    if kept > 0:
        result.narrow(dim, distance, kept).logical_or_(source.narrow(dim, 0, kept))
        result.narrow(dim, 0, kept).logical_or_(source.narrow(dim, distance, kept))
    return result


def _median_of_copies(levels: Tensor) -> Tensor:
    """(b, 1, H, W) uint8: the 25th of the 49 shifted copies."""
    reach = MEDIAN_SIDE // 2
    height, width = levels.shape[-2:]
    padded = functional.pad(levels.float(), (reach,) * 4, mode="replicate").to(torch.uint8)
    copies = [
        padded[..., row : row + height, column : column + width]
        for row in range(MEDIAN_SIDE)
        for column in range(MEDIAN_SIDE)
    ]
    return torch.stack(copies).median(dim=0).values
