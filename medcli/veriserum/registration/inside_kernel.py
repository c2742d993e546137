"""Whether points lie inside a closed surface."""

from __future__ import annotations

from typing import Any

from medcli.core.compiled import njit

_X, _Y = 0.3141592, 0.2718281
"""Slope of the rays (x, y for each z): along no axis, so that they meet no edge of a typical surface."""


@njit()
def are_inside(points: Any, triangles: Any, inside: Any) -> None:
    """Count the triangles that the ray from each point crosses; odd: inside.

    Args:
        points: (N, 3) float64.
        triangles: (F, 3, 3) float64, corners of a closed surface.
        inside: (N,) bool, written.
    """
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        crossings = 0
        for f in range(triangles.shape[0]):
            # Sheared so that the ray runs along z: the corners relative to the point.
            az, bz, cz = triangles[f, 0, 2] - z, triangles[f, 1, 2] - z, triangles[f, 2, 2] - z
            if az < 0.0 and bz < 0.0 and cz < 0.0:
                continue
            ax, ay = triangles[f, 0, 0] - x - _X * az, triangles[f, 0, 1] - y - _Y * az
            bx, by = triangles[f, 1, 0] - x - _X * bz, triangles[f, 1, 1] - y - _Y * bz
            cx, cy = triangles[f, 2, 0] - x - _X * cz, triangles[f, 2, 1] - y - _Y * cz
            u, v, w = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
            if (u >= 0.0 and v >= 0.0 and w >= 0.0) or (u < 0.0 and v < 0.0 and w < 0.0):
                total = u + v + w
                if total != 0.0 and (u * az + v * bz + w * cz) / total > 0.0:
                    crossings += 1
        inside[i] = crossings % 2 == 1
