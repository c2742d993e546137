"""Compiled loops over the triangles of a mesh: exact distances through a tree of boxes.

The tree is a complete binary tree in heap order (children of node i: 2 i + 1 and 2 i + 2). ``boxes`` is (nodes, 6), low
and high corner; leaf number j holds the triangles ``starts[j]`` to ``starts[j + 1]``, sorted beforehand.
All coordinates are millimetres, float64.
"""

from __future__ import annotations

import numpy as np

from medcli.core.compiled import njit

_STACK = 64  # deeper than any tree over fewer than 2^60 triangles


@njit(inline="always")
def _segment_squared(px, py, pz, ax, ay, az, bx, by, bz):
    """Squared distance of a point to the segment a-b."""
    ux, uy, uz = bx - ax, by - ay, bz - az
    wx, wy, wz = px - ax, py - ay, pz - az
    length = ux * ux + uy * uy + uz * uz
    along = ux * wx + uy * wy + uz * wz
    if along > 0.0 and length > 0.0:
        share = min(along / length, 1.0)
        wx -= share * ux
        wy -= share * uy
        wz -= share * uz
    return wx * wx + wy * wy + wz * wz


@njit()
def triangle_squared(px, py, pz, t):
    """Squared distance of a point to a triangle ``t`` (3, 3); also right for triangles without area.

    The foot of the perpendicular counts when it lies inside all three edges, else the nearest edge does.
    """
    ax, ay, az = t[0, 0], t[0, 1], t[0, 2]
    bx, by, bz = t[1, 0], t[1, 1], t[1, 2]
    cx, cy, cz = t[2, 0], t[2, 1], t[2, 2]
    ux, uy, uz = bx - ax, by - ay, bz - az
    vx, vy, vz = cx - ax, cy - ay, cz - az
    wx, wy, wz = px - ax, py - ay, pz - az
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    area = nx * nx + ny * ny + nz * nz
    if area > 0.0:
        # barycentric coordinates of the foot, times ``area``
        beta = (wy * vz - wz * vy) * nx + (wz * vx - wx * vz) * ny + (wx * vy - wy * vx) * nz
        gamma = (uy * wz - uz * wy) * nx + (uz * wx - ux * wz) * ny + (ux * wy - uy * wx) * nz
        if beta >= 0.0 and gamma >= 0.0 and beta + gamma <= area:
            height = wx * nx + wy * ny + wz * nz
            return height * height / area
    return min(
        _segment_squared(px, py, pz, ax, ay, az, bx, by, bz),
        _segment_squared(px, py, pz, bx, by, bz, cx, cy, cz),
        _segment_squared(px, py, pz, cx, cy, cz, ax, ay, az),
    )


@njit(inline="always")
def box_squared(px, py, pz, boxes, node):
    dx = max(boxes[node, 0] - px, 0.0, px - boxes[node, 3])
    dy = max(boxes[node, 1] - py, 0.0, py - boxes[node, 4])
    dz = max(boxes[node, 2] - pz, 0.0, pz - boxes[node, 5])
    return dx * dx + dy * dy + dz * dz


@njit()
def nearest_squared(px, py, pz, triangles, boxes, starts, limit_squared, stack_node, stack_squared):
    """Squared distance to the nearest triangle, or ``limit_squared`` when none is nearer.

    ``stack_node`` (64,) int64 and ``stack_squared`` (64,) float64 are working space.
    """
    first_leaf = (len(boxes) - 1) // 2
    best = limit_squared
    node, size = 0, 0
    squared = box_squared(px, py, pz, boxes, 0)
    while True:
        if squared < best:
            if node < first_leaf:
                left = 2 * node + 1
                near = box_squared(px, py, pz, boxes, left)
                far = box_squared(px, py, pz, boxes, left + 1)
                node = left
                if far < near:
                    near, far = far, near
                    node = left + 1
                if far < best:
                    stack_node[size] = 2 * left + 1 - node  # the other child
                    stack_squared[size] = far
                    size += 1
                squared = near
                continue
            leaf = node - first_leaf
            for k in range(starts[leaf], starts[leaf + 1]):
                best = min(best, triangle_squared(px, py, pz, triangles[k]))
        if size == 0:
            return best
        size -= 1
        node, squared = stack_node[size], stack_squared[size]


@njit()
def point_distances(points, triangles, boxes, starts, limit):
    """Distance of each point (N, 3) to the nearest triangle, at most ``limit``; (N,)."""
    stack_node, stack_squared = np.empty(_STACK, np.int64), np.empty(_STACK, np.float64)
    distances = np.empty(len(points))
    for i in range(len(points)):
        squared = nearest_squared(
            points[i, 0], points[i, 1], points[i, 2],
            triangles, boxes, starts, limit * limit, stack_node, stack_squared,
        )  # fmt: skip
        distances[i] = np.sqrt(squared)
    return distances


@njit()
def grid_distances(origin, step_u, step_v, shape, triangles, boxes, starts, limit):
    """Distance to the nearest triangle of points on a plane grid; (rows, columns), ``inf`` from ``limit`` on.

    Point (r, c) is ``origin + c step_u + r step_v``. A distance changes by no more than the way between two points, so
    one evaluation at the middle of a tile of 8 x 8 points passes over most of the grid.
    """
    tile = 8
    stack_node, stack_squared = np.empty(_STACK, np.int64), np.empty(_STACK, np.float64)
    rows, columns = shape
    distances = np.full((rows, columns), np.inf)
    half_u, half_v = 0.5 * (tile - 1) * step_u, 0.5 * (tile - 1) * step_v
    reach = np.sqrt(((np.abs(half_u) + np.abs(half_v)) ** 2).sum())
    for r0 in range(0, rows, tile):
        for c0 in range(0, columns, tile):
            middle = origin + c0 * step_u + r0 * step_v + half_u + half_v
            bound = (limit + reach) ** 2
            squared = nearest_squared(
                middle[0], middle[1], middle[2], triangles, boxes, starts, bound, stack_node, stack_squared
            )
            if squared >= bound:
                continue
            for r in range(r0, min(r0 + tile, rows)):
                for c in range(c0, min(c0 + tile, columns)):
                    px = origin[0] + c * step_u[0] + r * step_v[0]
                    py = origin[1] + c * step_u[1] + r * step_v[1]
                    pz = origin[2] + c * step_u[2] + r * step_v[2]
                    squared = nearest_squared(
                        px, py, pz, triangles, boxes, starts, limit * limit, stack_node, stack_squared
                    )
                    if squared < limit * limit:
                        distances[r, c] = np.sqrt(squared)
    return distances
