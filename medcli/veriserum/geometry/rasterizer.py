"""The rasteriser of :mod:`medcli.veriserum.geometry.biplane`.

Corners are snapped to 1/65536 pixel and edges are tested in whole numbers with the top-left rule, so that a pixel on an
edge that two triangles share belongs to exactly one of them. Snapping moves a corner in all its triangles, so a
closed mesh stays closed: at every pixel the triangles facing the source and those facing away balance exactly, without
streaks or leaks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medcli.core.compiled import njit

_STEPS = 65536
"""Steps per pixel. With the factor 2^16, edge functions of images and meshes 2^13 pixels wide stay below 2^62."""
_FARTHEST = float(1 << 13)
"""Corners are clipped to this distance in pixels; beyond it they are outside every image."""


@njit()
def project_corners(matrix: Any, vertices: Any, corners: Any, inverse_depth: Any) -> float:
    """Project and snap vertices.

    Args:
        matrix: (3, 4) float64, millimetres to (column w, row w, w) with w the depth from the source.
        vertices: (V, 3) float64, millimetres.
        corners: (V, 2) int64, written: column and row in 1/65536 pixel.
        inverse_depth: (V,) float64, written: 1 / w.

    Returns:
        the smallest depth; not positive when a vertex is level with the source or behind it (the output is then
        undefined).
    """
    nearest = np.inf
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        depth = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
        nearest = min(nearest, depth)
        if depth <= 0.0:
            return float(depth)
        inverse_depth[i] = 1.0 / depth
        for axis in range(2):
            value = matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2] * z + matrix[axis, 3]
            value = min(max(value / depth, -_FARTHEST), _FARTHEST)
            corners[i, axis] = np.int64(np.floor(value * _STEPS + 0.5))
    return nearest


@njit()
def add_triangles(corners: Any, inverse_depth: Any, faces: Any, signed: bool, image: Any) -> None:
    """Add to each pixel the depth of every triangle over it.

    Args:
        corners: (V, 2) int64, column and row in 1/65536 pixel.
        inverse_depth: (V,) float64, one over the depth, which varies linearly over a projected triangle.
        faces: (F, 3) int64.
        signed: subtract where a triangle faces the source (the ray enters), add where it faces away (the ray leaves);
            otherwise add everywhere.
        image: (H, W) float64, added to.
    """
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        area = _edge(corners[a, 0], corners[a, 1], corners[b, 0], corners[b, 1], corners[c, 0], corners[c, 1])
        # Rows run down, so a triangle that is counter-clockwise seen from the source has a negative area here.
        if area > 0:
            _add_triangle(corners, inverse_depth, (a, b, c), area, 1.0, image)
        elif area < 0:
            _add_triangle(corners, inverse_depth, (a, c, b), -area, -1.0 if signed else 1.0, image)


@njit()
def along_rays(depths: Any, first_mm: Any, pixel_mm: float, distance_mm: float, lengths: Any) -> None:
    """Turn differences of depth, measured along the plane's normal, into lengths along each pixel's ray.

    Args:
        depths: (H, W) float64, millimetres.
        first_mm: (2,) position of the first pixel on the detector, right and up from the principal point.
        pixel_mm: pixel size; rows run down.
        distance_mm: from the source to the detector.
        lengths: (H, W) float32, written.
    """
    for row in range(depths.shape[0]):
        up = first_mm[1] - row * pixel_mm
        for column in range(depths.shape[1]):
            depth = depths[row, column]
            if depth != 0.0:
                right = first_mm[0] + column * pixel_mm
                depth *= np.sqrt(1.0 + (right * right + up * up) / (distance_mm * distance_mm))
            lengths[row, column] = depth


@njit()
def _add_triangle(corners: Any, inverse_depth: Any, triangle: Any, area: int, sign: float, image: Any) -> None:
    """Add ``sign`` times the depth where the triangle (three vertex numbers, positive area) covers a pixel's centre."""
    a, b, c = triangle
    ax, ay, bx, by, cx, cy = corners[a, 0], corners[a, 1], corners[b, 0], corners[b, 1], corners[c, 0], corners[c, 1]
    # The pixels whose centres can be inside: rounded up from the smallest, down from the largest corner.
    first_column = max(-(-min(ax, bx, cx) // _STEPS), 0)
    last_column = min(max(ax, bx, cx) // _STEPS, image.shape[1] - 1)
    first_row = max(-(-min(ay, by, cy) // _STEPS), 0)
    last_row = min(max(ay, by, cy) // _STEPS, image.shape[0] - 1)
    x, y = first_column * _STEPS, first_row * _STEPS
    row_a, row_b, row_c = _edge(bx, by, cx, cy, x, y), _edge(cx, cy, ax, ay, x, y), _edge(ax, ay, bx, by, x, y)
    right_a, right_b, right_c = (by - cy) * _STEPS, (cy - ay) * _STEPS, (ay - by) * _STEPS
    down_a, down_b, down_c = (cx - bx) * _STEPS, (ax - cx) * _STEPS, (bx - ax) * _STEPS
    least_a, least_b, least_c = _least(bx, by, cx, cy), _least(cx, cy, ax, ay), _least(ax, ay, bx, by)
    # Inside, at_b / area and at_c / area are weights between 0 and 1: the depth stays between those of the corners,
    base = inverse_depth[a]
    slope_b, slope_c = (inverse_depth[b] - base) / area, (inverse_depth[c] - base) / area
    for row in range(first_row, last_row + 1):
        at_a, at_b, at_c = row_a, row_b, row_c
        entered = False
        for column in range(first_column, last_column + 1):
            if at_a >= least_a and at_b >= least_b and at_c >= least_c:
                image[row, column] += sign / (base + at_b * slope_b + at_c * slope_c)
                entered = True
            elif entered:
                break
            at_a, at_b, at_c = at_a + right_a, at_b + right_b, at_c + right_c
        row_a, row_b, row_c = row_a + down_a, row_b + down_b, row_c + down_c


@njit()
def _edge(ax: int, ay: int, bx: int, by: int, x: int, y: int) -> int:
    """Twice the area of (a, b, point): positive inside a triangle of positive area."""
    return (bx - ax) * (y - ay) - (by - ay) * (x - ax)


@njit()
def _least(ax: int, ay: int, bx: int, by: int) -> int:
    """Smallest edge value inside: 0 on top and left edges, else 1, since the neighbour across owns the edge."""
    is_top = ay == by and bx > ax
    is_left = by < ay
    return 0 if is_top or is_left else 1
