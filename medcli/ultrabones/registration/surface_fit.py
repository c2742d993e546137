"""Trimmed point-to-surface Levenberg-Marquardt with exact distances, and how well its answer is determined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.rigid_transforms import transform_points
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.registration.closest_points import closest_points
from medcli.ultrabones.registration.grid_refinement import apply_motion

FAR_MM = 6.0
"""Points farther than this from every bone have no part in a step."""
LEAST_BAND_MM, MOST_BAND_MM = 1.5, 4.0
"""Limits of the distance from which a point is left out: three robust standard deviations within these."""
_ROUNDS = 25


@dataclass(frozen=True)
class SurfaceFit:
    """A pose after refinement.

    Attributes:
        pose: (4, 4), cloud to CT.
        distances: (N,) exact distance of each point of the thinned cloud, at most ``FAR_MM``.
        band_mm: points farther than this were left out.
        weights: (N,) of the last step, 0 for those left out.
        jacobian: (N, 6) change of the distance, for a rotation vector (radians, about ``centre``) and a shift (mm).
        centre: (3,) middle of the points with weight, in CT.
    """

    pose: NDArray[np.float64]
    distances: NDArray[np.float64]
    band_mm: float
    weights: NDArray[np.float64]
    jacobian: NDArray[np.float64]
    centre: NDArray[np.float64]


def fit_to_surface(
    start: NDArray[np.float64], points: NDArray[np.float64], surfaces: Sequence[Surface], rounds: int = _ROUNDS
) -> SurfaceFit:
    """Refine a pose (4, 4) of points (N, 3): Tukey's weights in a band set by the residuals, steps that descend."""
    pose, damping = start.copy(), 1e-3
    state = _linearise(pose, points, surfaces)
    for _ in range(rounds):
        j, w = state.jacobian, state.weights
        normal_matrix = (j * w[:, None]).T @ j
        right = -(j * w[:, None]).T @ state.distances
        scale = np.diag(np.diag(normal_matrix) + 1e-9)
        cost = _cost(state.distances, state.band_mm)
        for _ in range(6):
            step = np.linalg.solve(normal_matrix + damping * scale, right)
            trial = pose.copy()
            apply_motion(trial, step, state.centre)
            moved = _linearise(trial, points, surfaces)
            if _cost(moved.distances, state.band_mm) <= cost:
                damping = max(damping / 5, 1e-7)
                break
            damping *= 8
        else:
            break
        pose, state = trial, moved
        if np.abs(step[:3]).max() < 1e-5 and np.abs(step[3:]).max() < 1e-3:
            break
    return state


def _linearise(pose: NDArray[np.float64], points: NDArray[np.float64], surfaces: Sequence[Surface]) -> SurfaceFit:
    moved = transform_points(pose, points)
    nearest, normals, owner = closest_points(moved, surfaces, FAR_MM)
    apart = moved - nearest
    distances = np.where(owner >= 0, np.linalg.norm(apart, axis=1), FAR_MM)
    direction = np.where(distances[:, None] > 1e-6, apart / np.maximum(distances, 1e-6)[:, None], normals)
    near = distances[owner >= 0]
    middle = float(np.median(near[near < MOST_BAND_MM])) if np.any(near < MOST_BAND_MM) else MOST_BAND_MM
    band = float(np.clip(3 * 1.4826 * middle, LEAST_BAND_MM, MOST_BAND_MM))
    weights = np.where((owner >= 0) & (distances < band), (1 - (distances / band) ** 2) ** 2, 0.0)
    total = weights.sum()
    centre = (weights[:, None] * moved).sum(axis=0) / total if total > 0 else moved.mean(axis=0)
    jacobian = np.concatenate([np.cross(moved - centre, direction), direction], axis=1)
    return SurfaceFit(pose, distances, band, weights, jacobian, centre)


def _cost(distances: NDArray[np.float64], band: float) -> float:
    """Tukey's loss, 0 to 1, summed."""
    return float((1 - (1 - np.minimum(distances / band, 1.0) ** 2) ** 3).sum())
