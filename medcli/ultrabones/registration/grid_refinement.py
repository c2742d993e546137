"""Refine many poses at once, roughly: point-to-plane with the samples that a grid names as nearest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcli.core.compiled import njit
from medcli.ultrabones.registration.surface_samples import BoneTarget


def refine_on_grid(
    poses: NDArray[np.float64],
    points: NDArray[np.float64],
    target: BoneTarget,
    band_mm: tuple[float, float],
    rounds: int,
    cap_mm: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Poses (K, 4, 4) of points (N, 3) after ``rounds`` of robust least squares, and their costs (K,).

    Args:
        band_mm: first and last width of the robust weight (Tukey's); it narrows geometrically.
        cap_mm: the cost is the mean of the distances, each at most this, divided by it: 0 to 1.
    """
    if not len(poses):
        return poses, np.empty(0)
    widths = np.geomspace(*band_mm, rounds)
    refined = np.ascontiguousarray(poses).copy()
    costs = _refine_all(refined, np.ascontiguousarray(points), *target.search, widths, cap_mm)
    return refined, costs


@njit()
def _refine_all(poses, points, samples, normals, grid, origin, cell, widths, cap):
    costs = np.empty(len(poses))
    centre = np.array([points[:, 0].mean(), points[:, 1].mean(), points[:, 2].mean()])
    for number in range(len(poses)):
        pose = poses[number]
        for width in widths:
            _step(pose, points, centre, samples, normals, grid, origin, cell, width)
        total = 0.0
        for i in range(len(points)):
            x, y, z, s = nearest_sample(pose, points[i], grid, origin, cell)
            value = cap
            if s >= 0:
                dx, dy, dz = x - samples[s, 0], y - samples[s, 1], z - samples[s, 2]
                plane = normals[s, 0] * dx + normals[s, 1] * dy + normals[s, 2] * dz
                aside = np.sqrt(max(dx * dx + dy * dy + dz * dz - plane * plane, 0.0))
                value = min(np.sqrt(plane * plane + max(aside - cell, 0.0) ** 2), cap)
            total += value / cap
        costs[number] = total / len(points)
    return costs


@njit(inline="always")
def nearest_sample(pose, point, grid, origin, cell):
    """A point moved by a pose (4, 4), and the row of the sample that the grid names there; -1 outside the grid."""
    x = pose[0, 0] * point[0] + pose[0, 1] * point[1] + pose[0, 2] * point[2] + pose[0, 3]
    y = pose[1, 0] * point[0] + pose[1, 1] * point[1] + pose[1, 2] * point[2] + pose[1, 3]
    z = pose[2, 0] * point[0] + pose[2, 1] * point[1] + pose[2, 2] * point[2] + pose[2, 3]
    i, j, k = int((x - origin[0]) / cell), int((y - origin[1]) / cell), int((z - origin[2]) / cell)
    if (
        x < origin[0]
        or y < origin[1]
        or z < origin[2]
        or i >= grid.shape[0]
        or j >= grid.shape[1]
        or k >= grid.shape[2]
    ):
        return x, y, z, -1
    return x, y, z, grid[i, j, k]


@njit()
def _step(pose, points, centre, samples, normals, grid, origin, cell, width):
    """One damped Gauss-Newton step of the six parameters, about the moved centre."""
    normal_matrix, right = np.zeros((6, 6)), np.zeros(6)
    turned = np.empty(3)
    for row in range(3):
        turned[row] = pose[row, 0] * centre[0] + pose[row, 1] * centre[1] + pose[row, 2] * centre[2] + pose[row, 3]
    jacobian = np.empty(6)
    for i in range(len(points)):
        x, y, z, s = nearest_sample(pose, points[i], grid, origin, cell)
        if s < 0:
            continue
        dx, dy, dz = x - samples[s, 0], y - samples[s, 1], z - samples[s, 2]
        squared = dx * dx + dy * dy + dz * dz
        if squared >= width * width:
            continue
        weight = (1.0 - squared / (width * width)) ** 2
        a, b, c = normals[s, 0], normals[s, 1], normals[s, 2]
        residual = a * dx + b * dy + c * dz
        px, py, pz = x - turned[0], y - turned[1], z - turned[2]
        jacobian[0], jacobian[1], jacobian[2] = py * c - pz * b, pz * a - px * c, px * b - py * a
        jacobian[3], jacobian[4], jacobian[5] = a, b, c
        for row in range(6):
            right[row] -= weight * residual * jacobian[row]
            for column in range(6):
                normal_matrix[row, column] += weight * jacobian[row] * jacobian[column]
    for row in range(6):
        normal_matrix[row, row] *= 1.0 + 1e-3
        normal_matrix[row, row] += 1e-6 + (1e-3 * len(points) if row >= 3 else 1.0)
    step = np.linalg.solve(normal_matrix, right)
    angle = np.sqrt((step[:3] ** 2).sum())
    limit = 0.2
    if angle > limit:
        step *= limit / angle
    apply_motion(pose, step, turned)


@njit()
def apply_motion(pose, step, about):
    """Turn a pose (4, 4) about a point by the rotation vector ``step[:3]`` (radians); move it by ``step[3:]``, mm."""
    angle = np.sqrt((step[:3] ** 2).sum())
    rotation = np.eye(3)
    if angle > 1e-14:
        x, y, z = step[0] / angle, step[1] / angle, step[2] / angle
        c, s = np.cos(angle), np.sin(angle)
        k = 1.0 - c
        rotation[0] = np.array([c + x * x * k, x * y * k - z * s, x * z * k + y * s])
        rotation[1] = np.array([y * x * k + z * s, c + y * y * k, y * z * k - x * s])
        rotation[2] = np.array([z * x * k - y * s, z * y * k + x * s, c + z * z * k])
    turned = np.zeros((3, 4))
    for row in range(3):
        for column in range(4):
            for inner in range(3):
                value = pose[inner, column] - (about[inner] if column == 3 else 0.0)
                turned[row, column] += rotation[row, inner] * value
        turned[row, 3] += about[row] + step[3 + row]
    pose[:3] = turned
