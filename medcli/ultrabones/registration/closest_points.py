"""The nearest point of a bone's surface, and the normal of its triangle: exact, through the tree of boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medcli.core.compiled import njit
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.triangle_tree import box_squared, triangle_squared

_STACK = 64


def closest_points(
    points: NDArray[np.float64], surfaces: Sequence[Surface], limit_mm: float = np.inf
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Nearest surface point of each of points (N, 3).

    Returns:
        (N, 3) nearest points; (N, 3) unit normals of their triangles; (N,) number of the surface, -1 where none is
        nearer than ``limit_mm`` (then the point itself is returned, with a normal of zeros).
    """
    points = np.ascontiguousarray(points, np.float64)
    nearest, normals = points.copy(), np.zeros_like(points)
    squared, owner = np.full(len(points), float(limit_mm) ** 2), np.full(len(points), -1)
    for number, surface in enumerate(surfaces):
        _update(points, *surface.tree, number, nearest, normals, squared, owner)
    return nearest, normals, owner


@njit()
def _update(points, triangles, boxes, starts, number, nearest, normals, squared, owner):
    """Replace the nearest points found so far where this surface has a nearer one."""
    nodes, far = np.empty(_STACK, np.int64), np.empty(_STACK, np.float64)
    first_leaf = (len(boxes) - 1) // 2
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        best, found = squared[i], -1
        nodes[0], far[0], size = 0, box_squared(x, y, z, boxes, 0), 1
        while size > 0:
            size -= 1
            node = nodes[size]
            if far[size] >= best:
                continue
            if node >= first_leaf:
                for k in range(starts[node - first_leaf], starts[node - first_leaf + 1]):
                    value = triangle_squared(x, y, z, triangles[k])
                    if value < best:
                        best, found = value, k
                continue
            left = box_squared(x, y, z, boxes, 2 * node + 1)
            right = box_squared(x, y, z, boxes, 2 * node + 2)
            nearer = 1 if left <= right else 2
            nodes[size], far[size] = 2 * node + 3 - nearer, max(left, right)
            nodes[size + 1], far[size + 1] = 2 * node + nearer, min(left, right)
            size += 2
        if found >= 0:
            squared[i], owner[i] = best, number
            _foot(points[i], triangles[found], nearest[i], normals[i])


@njit()
def _foot(point, triangle, nearest, normal):
    """Write the nearest point of a triangle (3, 3) and its unit normal."""
    u, v = triangle[1] - triangle[0], triangle[2] - triangle[0]
    across = np.cross(u, v)
    area = np.sqrt((across * across).sum())
    if area > 0.0:
        normal[:] = across / area
        w = point - triangle[0]
        beta = (np.cross(w, v) * across).sum() / area**2
        gamma = (np.cross(u, w) * across).sum() / area**2
        if beta >= 0.0 and gamma >= 0.0 and beta + gamma <= 1.0:
            nearest[:] = triangle[0] + beta * u + gamma * v
            return
    best = np.inf
    for corner in range(3):
        start = triangle[corner]
        along = triangle[(corner + 1) % 3] - start
        length = (along * along).sum()
        share = 0.0
        if length > 0.0:
            share = min(max(((point - start) * along).sum() / length, 0.0), 1.0)
        foot = start + share * along
        apart = ((point - foot) ** 2).sum()
        if apart < best:
            best = apart
            nearest[:] = foot
