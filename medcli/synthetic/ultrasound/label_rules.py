"""Labels of synthetic frames by the dataset's rule, computed plainly: every candidate pixel against every triangle.

The labelling commands have a fast kernel of their own; this one shares no code with it, so each can test the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BAND_MM = 0.1
"""A pixel is bone surface when the surface is nearer than this in three dimensions (strictly)."""


def analytic_full_label(
    triangles_mm: NDArray[np.float64], spacing_mm: float, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Pixels whose centres are less than 0.1 mm away from the nearest triangle.

    Args:
        triangles_mm: (F, 3, 3) in the image's frame: x along columns, y along rows, z out of the image.
        spacing_mm: edge of a pixel.
        shape: rows, columns.

    Returns:
        (rows, columns) uint8, 0 or 255.
    """
    label = np.zeros(shape, np.uint8)
    low, high = triangles_mm.min(axis=1), triangles_mm.max(axis=1)
    size_mm = np.array([shape[1], shape[0]]) * spacing_mm
    near = (low[:, 2] <= BAND_MM) & (high[:, 2] >= -BAND_MM)
    near &= np.all((low[:, :2] <= size_mm + BAND_MM) & (high[:, :2] >= -BAND_MM), axis=1)
    if near.any():
        owner, columns, rows = _pixels_in_boxes(low[near], high[near], spacing_mm, shape)
        zero = np.zeros(len(columns))
        points = np.stack([(columns + 0.5) * spacing_mm, (rows + 0.5) * spacing_mm, zero], axis=1)
        hit = segment_distance_squared(points, triangles_mm[near][owner]) < BAND_MM**2
        label[rows[hit], columns[hit]] = 255
    return label


def analytic_partial_label(full: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The first run of label pixels along each column from the probe (row 0): what the probe can see."""
    on = full > 0
    row = np.arange(len(full))[:, None]
    first = np.where(on.any(axis=0), on.argmax(axis=0), len(full))
    ended = ~on & (row >= first)
    end = np.where(ended.any(axis=0), ended.argmax(axis=0), len(full))
    return np.where((row >= first) & (row < end), np.uint8(255), np.uint8(0))


def segment_distance_squared(points: NDArray[np.float64], triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distance of point i (N, 3) to triangle i (N, 3, 3); returns (N,)."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    best = np.minimum(_to_segment(points, a, b), np.minimum(_to_segment(points, b, c), _to_segment(points, c, a)))
    normal = np.cross(b - a, c - a)
    inside = np.ones(len(points), bool)
    for start, end in ((a, b), (b, c), (c, a)):
        inside &= _dot(np.cross(end - start, points - start), normal) >= 0
    area = _dot(normal, normal)
    inside &= area > 0
    height = _dot(points - a, normal)
    return np.where(inside, height**2 / np.where(area > 0, area, 1.0), best)


def _pixels_in_boxes(
    low: NDArray[np.float64], high: NDArray[np.float64], spacing_mm: float, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Triangle, column and row of each pixel in the box around each triangle, widened by the band."""
    limit = np.array([shape[1], shape[0]])
    first = np.clip(np.floor((low[:, :2] - BAND_MM) / spacing_mm).astype(np.int64), 0, limit)
    last = np.clip(np.ceil((high[:, :2] + BAND_MM) / spacing_mm).astype(np.int64), 0, limit)
    extent = np.maximum(last - first, 0)
    counts = extent.prod(axis=1)
    owner = np.repeat(np.arange(len(low)), counts)
    inner = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    width = np.maximum(extent[owner, 0], 1)
    return owner, first[owner, 0] + inner % width, first[owner, 1] + inner // width


def _to_segment(
    points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    along = end - start
    length = _dot(along, along)
    fraction = np.clip(_dot(points - start, along) / np.where(length > 0, length, 1.0), 0, 1)
    apart = points - start - fraction[:, None] * along
    return _dot(apart, apart)


def _dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("ij,ij->i", a, b))
