"""Sample images and labels through one affine map a frame: a compiled kernel on the CPU, torch on a GPU.

Coordinates are pixels from the centre of the image, x right, y down; pixel (row 0, column 0) of a 256 x 256 image
lies at (-127.5, -127.5).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medcli.core.compiled import njit


def warp(images: Tensor, labels: Tensor, maps: Tensor, crops: Tensor) -> tuple[Tensor, Tensor]:
    """Sample images and labels once; 0 where the map or any crop leaves the image.

    Args:
        images: (B, 1, H, W) float32, sampled bilinearly, as if the image went on with zeros.
        labels: (B, 1, H, W) bool, sampled at the nearest pixel.
        maps: (B, 2, 3) float32, from a pixel of the result to where its value is taken from.
        crops: (B, C, 2, 3) float32, maps of the same kind; a pixel that one of them takes out of the image is lost.
    """
    if images.device.type != "cpu":
        return warp_by_torch(images, labels, maps, crops)
    parts = (images.contiguous(), labels.contiguous(), maps.contiguous(), crops.contiguous())
    warped, bones = _warp(*(part.numpy() for part in parts))
    return torch.from_numpy(warped), torch.from_numpy(bones)


def warp_by_torch(images: Tensor, labels: Tensor, maps: Tensor, crops: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`warp` in torch operations alone."""
    height, width = images.shape[-2:]
    x, y = _positions(maps, width, height)
    places = torch.stack([x / (width / 2), y / (height / 2)], dim=-1)
    images = functional.grid_sample(images, places, "bilinear", "zeros", align_corners=False)
    labels = functional.grid_sample(labels.float(), places, "nearest", "zeros", align_corners=False) > 0.5
    for crop in crops.unbind(1):
        x, y = _positions(crop, width, height)
        kept = ((x.abs_() < width / 2) & (y.abs_() < height / 2))[:, None]
        images, labels = images.mul_(kept), labels.logical_and_(kept)
    return images, labels


def _positions(maps: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Where ``maps`` (B, 2, 3) take the pixels of an image: x and y from its centre, (B, H, W) each."""
    columns = torch.arange(width, device=maps.device, dtype=maps.dtype) - (width - 1) / 2
    rows = torch.arange(height, device=maps.device, dtype=maps.dtype) - (height - 1) / 2
    along = maps[:, :, :1] * columns + maps[:, :, 2:]
    down = maps[:, :, 1:2] * rows
    x, y = (along[:, axis, None, :] + down[:, axis, :, None] for axis in (0, 1))
    return x, y


@njit()
def _warp(images: Any, labels: Any, maps: Any, crops: Any) -> Any:
    frames, _, height, width = images.shape
    warped = np.zeros_like(images)
    bones = np.zeros_like(labels)
    middle_x, middle_y = np.float32(0.5 * (width - 1)), np.float32(0.5 * (height - 1))
    for frame in range(frames):
        a, b, c = maps[frame, 0]
        d, e, f = maps[frame, 1]
        for row in range(height):
            y = np.float32(row) - middle_y
            start_x, start_y = b * y + c + middle_x, e * y + f + middle_y
            first, last = _kept(crops[frame], y, width, height)
            for column in range(first, last):
                x = np.float32(column) - middle_x
                source_x, source_y = a * x + start_x, d * x + start_y
                warped[frame, 0, row, column] = _bilinear(images[frame, 0], source_x, source_y)
                near_x, near_y = int(np.rint(source_x)), int(np.rint(source_y))
                if 0 <= near_x < width and 0 <= near_y < height:
                    bones[frame, 0, row, column] = labels[frame, 0, near_y, near_x]
    return warped, bones


@njit(inline="always")
def _bilinear(image: Any, x: Any, y: Any) -> Any:
    height, width = image.shape
    left, top = int(np.floor(x)), int(np.floor(y))
    share_x, share_y = x - np.float32(left), y - np.float32(top)
    one = np.float32(1)
    if 0 <= left < width - 1 and 0 <= top < height - 1:
        upper = image[top, left] * (one - share_x) + image[top, left + 1] * share_x
        lower = image[top + 1, left] * (one - share_x) + image[top + 1, left + 1] * share_x
        return upper * (one - share_y) + lower * share_y
    total = np.float32(0)
    for row, weight_y in ((top, one - share_y), (top + 1, share_y)):
        for column, weight_x in ((left, one - share_x), (left + 1, share_x)):
            if 0 <= row < height and 0 <= column < width:
                total += image[row, column] * weight_x * weight_y
    return total


@njit()
def _kept(crops: Any, y: Any, width: int, height: int) -> Any:
    """First column, and the one after the last, that every crop leaves inside the image in the row at ``y``."""
    low, high = -1e9, 1e9
    for crop in range(len(crops)):
        for axis, size in ((0, width), (1, height)):
            slope = float(crops[crop, axis, 0])
            offset = float(crops[crop, axis, 1] * y + crops[crop, axis, 2])
            half = 0.5 * size
            if slope == 0.0:
                if abs(offset) >= half:
                    return 0, 0
                continue
            ends = ((-half - offset) / slope, (half - offset) / slope)
            low, high = max(low, min(ends)), min(high, max(ends))
    middle = 0.5 * (width - 1)
    first = max(0, int(np.floor(max(low, -middle - 1.0) + middle)) + 1)
    last = min(width, int(np.ceil(min(high, middle + 1.0) + middle)))
    return first, max(first, last)
