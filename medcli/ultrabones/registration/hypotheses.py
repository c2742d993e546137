"""All poses that a cloud may have, best first: starts, rough refinement, exact refinement; alike ones counted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.rigid_transforms import transform_points
from medcli.ultrabones.registration.clean_cloud import CleanCloud
from medcli.ultrabones.registration.global_start import start_poses
from medcli.ultrabones.registration.grid_refinement import refine_on_grid
from medcli.ultrabones.registration.surface_fit import SurfaceFit, fit_to_surface
from medcli.ultrabones.registration.surface_samples import BoneTarget

COST_CAP_MM = 2.0
"""The cost of a pose is the mean of the points' distances, each at most this, as a share of it."""
APART_MM = 5.0
"""Poses count as different when they move the points apart by more than this (root mean square)."""
CELL_MM = 10.0
"""Errors of points in one cube of this size are taken as one error."""
MOST_HYPOTHESES = 3
_FEW, _MANY, _EXACT = 150, 800, 1_000
_FIRST, _SECOND, _ROUGH_ROUNDS = 80, 6, 10


@dataclass(frozen=True)
class Hypothesis:
    """A pose and its cost, 0 to 1."""

    fit: SurfaceFit
    cost: float


def find_hypotheses(
    cloud: CleanCloud, target: BoneTarget, seed: int = 0, most: int = MOST_HYPOTHESES
) -> list[Hypothesis]:
    """Different poses of a cloud, best first; at least one, at most ``most``.

    The points that each stage looks at, and the pairs that starts come from, are drawn with ``seed``.
    """
    generator = np.random.default_rng([seed, 5])
    starts = start_poses(cloud.points, cloud.normals, target, seed)
    if not len(starts):
        starts = _centred(cloud.points, target)
    few, many, exact = (_draw(cloud.points, count, generator) for count in (_FEW, _MANY, _EXACT))
    poses, costs = refine_on_grid(starts, few, target, (25.0, 6.0), 14, 8.0)
    poses = poses[different(poses, costs, few, 4.0, _FIRST)]
    poses, costs = refine_on_grid(poses, many, target, (8.0, 3.0), 20, 4.0)
    poses = poses[different(poses, costs, few, APART_MM, _SECOND)]
    return refine_exactly(poses, cloud, target, exact, most)


def refine_exactly(
    poses: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    cloud: CleanCloud,
    target: BoneTarget,
    points: NDArray[np.float64] | None = None,
    most: int = MOST_HYPOTHESES,
) -> list[Hypothesis]:
    """Hypotheses from poses near their optima, best first; ``points``: a part of the cloud for a first round."""
    found = np.asarray(poses)
    if points is not None:
        rough = [fit_to_surface(pose, points, target.surfaces, _ROUGH_ROUNDS) for pose in found]
        costs = np.array([cost_of(fit) for fit in rough])
        found = np.stack([fit.pose for fit in rough])
        found = found[different(found, costs, cloud.points, APART_MM, most)]
    fits = [fit_to_surface(pose, cloud.points, target.surfaces) for pose in found]
    costs, found = np.array([cost_of(fit) for fit in fits]), np.stack([fit.pose for fit in fits])
    kept = different(found, costs, cloud.points, APART_MM, len(found))
    return [Hypothesis(fits[row], float(costs[row])) for row in kept]


def cost_of(fit: SurfaceFit) -> float:
    """Mean distance of the points, each at most ``COST_CAP_MM``, as a share of it."""
    return float(np.minimum(fit.distances, COST_CAP_MM).mean() / COST_CAP_MM)


def different(
    poses: NDArray[np.float64], costs: NDArray[np.float64], points: NDArray[np.float64], apart_mm: float, most: int
) -> NDArray[np.int64]:
    """Rows of the best poses (K, 4, 4) that move points (N, 3) apart from each other by more than ``apart_mm``."""
    some = points[:: max(1, len(points) // 30)]
    moved = np.einsum("kij,nj->kni", poses[:, :3, :3], some) + poses[:, None, :3, 3]
    kept: list[int] = []
    for row in np.argsort(costs, kind="stable"):
        apart = np.sqrt(((moved[kept] - moved[row]) ** 2).sum(axis=2).mean(axis=1))
        if np.all(apart > apart_mm):
            kept.append(int(row))
        if len(kept) == most:
            break
    return np.array(kept, np.int64)


def lead_of(better: SurfaceFit, other: SurfaceFit, points: NDArray[np.float64]) -> float:
    """By how many of its standard errors the first pose explains points (N, 3) better than the second.

    The capped distances are compared cube by cube (10 mm), since the errors of neighbouring points are not independent:
    mean difference over the cubes, divided by its standard error.
    """
    gain = np.minimum(other.distances, COST_CAP_MM) - np.minimum(better.distances, COST_CAP_MM)
    cells = cells_of(points)
    mean = np.bincount(cells, gain) / np.bincount(cells)
    error = mean.std(ddof=1) / np.sqrt(len(mean)) if len(mean) > 1 else np.inf
    return float(np.clip(mean.mean() / max(error, 1e-9), -99.0, 99.0)) if np.isfinite(error) else 0.0


def cells_of(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of the 10 mm cube of each point (N, 3), (N,)."""
    cells = np.floor((points - points.min(axis=0)) / CELL_MM).astype(np.int64)
    _, index = np.unique(cells, axis=0, return_inverse=True)
    return np.asarray(index.ravel(), np.int64)


def mirrored(cloud: CleanCloud) -> CleanCloud:
    """The cloud's mirror image: to lay it on the bones is to lay the cloud on the mirror image of the bones."""
    flip = np.array([-1.0, 1.0, 1.0])
    points, normals = np.ascontiguousarray(cloud.points * flip), np.ascontiguousarray(cloud.normals * flip)
    return CleanCloud(points, normals, cloud.given, cloud.outliers, cloud.voxel_mm)


def displacement_between(one: NDArray[np.float64], other: NDArray[np.float64], points: NDArray[np.float64]) -> float:
    """Root mean square by which two poses move points (N, 3) apart."""
    apart = transform_points(one, points) - transform_points(other, points)
    return float(np.sqrt((apart**2).sum(axis=1).mean()))


def _centred(points: NDArray[np.float64], target: BoneTarget) -> NDArray[np.float64]:
    pose = np.eye(4)
    pose[:3, 3] = target.points.mean(axis=0) - points.mean(axis=0)
    return pose[None]


def _draw(points: NDArray[np.float64], count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    return np.ascontiguousarray(points[generator.permutation(len(points))[:count]])
