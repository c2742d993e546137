"""Windows of an image about an implant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh
from medcli.veriserum.geometry.biplane import Camera, ImageGrid

Image = NDArray[Any]
Matrix = NDArray[np.float64]

_LEAST_PIXELS = 12
"""Minimum extent of an implant in pixels along each side."""


def window_about(
    camera: Camera, mesh: Mesh, around: Sequence[Matrix], whole: ImageGrid, margin: int
) -> tuple[ImageGrid, tuple[int, int]]:
    """The part of the image about the implant at some poses, and its first column and row.

    Raises:
        DataError: it is not in the image, or too small.
    """
    places = [mesh.vertices @ pose[:3, :3].T + pose[:3, 3] for pose in around]
    pixels = whole.to_pixels(camera.project(np.concatenate(places)))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    seen = np.minimum(high, whole.columns) - np.maximum(low, 0)
    if not np.all(seen >= _LEAST_PIXELS):
        raise DataError("the implant is not in the image at its start pose; is the pose in millimetres, in this frame?")
    first = np.floor(np.maximum(low, 0)).astype(int) - margin
    last = np.ceil(np.minimum(high, whole.columns)).astype(int) + margin
    grid = whole.cropped(int(first[0]), int(first[1]), int(last[0] - first[0]), int(last[1] - first[1]))
    return grid, (int(first[0]), int(first[1]))


def resized_image(image: Image, size: int) -> Image:
    image = image.astype(np.float32)
    if image.shape == (size, size):
        return image
    shrinks = image.shape[0] > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def cropped_image(image: Image, first: tuple[int, int], grid: ImageGrid) -> Image:
    """The window of an image, extended by its edge pixels."""
    columns = np.clip(first[0] + np.arange(grid.columns), 0, image.shape[1] - 1)
    rows = np.clip(first[1] + np.arange(grid.rows), 0, image.shape[0] - 1)
    return np.ascontiguousarray(image[rows[:, None], columns])
