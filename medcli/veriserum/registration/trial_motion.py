"""What a tracked trial gives beside its poses: a smooth motion, and how far its components intersect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_smoothing_spline
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from medcli.core.mesh import Mesh

Matrix = NDArray[np.float64]
_LEAST_FRAMES = 5
"""Frames that a smoothing spline needs."""
_MOST_ERRORS = 2.0
"""Standard errors that smoothing may move the poses by, root mean square."""
_NO_SMOOTHING = 1e-12
_POINTS_PER_MM2, _MOST_POINTS = 4.0, 200_000


def smoothed(
    times: Sequence[float], poses: Sequence[Matrix], covariances: Sequence[Matrix], middle_mm: NDArray[np.float64]
) -> list[Matrix]:
    """Poses (4, 4) on a cubic smoothing spline through a trial, each weighted by its standard errors.

    The path of the implant's centre and the rotation vector about the mean rotation are smoothed, each number by
    itself; generalised cross-validation chooses how much (Craven and Wahba 1979), but not so much that the poses move
    by more than two standard errors (root mean square), which it does to short, fast motions. Fewer than five poses
    are returned as they are.

    Args:
        times: of the frames, increasing, in any unit.
        covariances: (6, 6) each, of the centre in mm and of the rotation in degrees, about the world's axes.
        middle_mm: (3,) the implant's centre, in its coordinates.
    """
    if len(poses) < _LEAST_FRAMES:
        return list(poses)
    centres = np.stack([pose[:3, :3] @ middle_mm + pose[:3, 3] for pose in poses])
    rotations = Rotation.from_matrix(np.stack([pose[:3, :3] for pose in poses]))
    mean = rotations.mean()
    numbers = np.concatenate([centres, (rotations * mean.inv()).as_rotvec(degrees=True)], axis=1)
    variances = np.stack([np.diag(one) for one in covariances])
    variances = np.where(np.isfinite(variances) & (variances > 0), variances, np.nan)
    for column in range(6):
        known = variances[:, column][np.isfinite(variances[:, column])]
        weights = 1 / np.nan_to_num(variances[:, column], nan=float(known.max()) if known.size else 1.0)
        numbers[:, column] = _smoothed_column(np.asarray(times, float), numbers[:, column], weights, bool(known.size))
    turned = (Rotation.from_rotvec(numbers[:, 3:], degrees=True) * mean).as_matrix()
    found = []
    for rotation, centre in zip(turned, numbers[:, :3], strict=True):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, centre - rotation @ middle_mm
        found.append(pose)
    return found


def _smoothed_column(
    times: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float64], is_limited: bool
) -> NDArray[np.float64]:
    """Values (N,) on a smoothing spline; ``weights`` are one over the variances, where ``is_limited``."""
    found = make_smoothing_spline(times, values, weights / weights.mean())(times)
    strength = float(np.ptp(times)) ** 3
    while is_limited and np.sqrt((weights * (found - values) ** 2).mean()) > _MOST_ERRORS:
        strength /= 4
        found = make_smoothing_spline(times, values, weights / weights.mean(), lam=strength)(times)
        if strength < _NO_SMOOTHING:
            return values
    return np.asarray(found)


class Intersection:
    """How deep vertices of one implant lie inside the other.

    A vertex is inside if a ray from it crosses the closed surface an odd number of times; its depth is the distance to
    the nearest of many points of the surface, about half a millimetre apart.
    """

    def __init__(self, inner: Mesh, outer: Mesh) -> None:
        self._vertices, self._triangles = inner.vertices, np.ascontiguousarray(outer.triangles)
        self._low, self._high = outer.bounds
        self._tree = cKDTree(_surface_points(self._triangles))

    def depth_mm(self, inner_pose: Matrix, outer_pose: Matrix) -> float:
        """The deepest vertex of ``inner`` below the surface of ``outer``, 0: they do not intersect; poses (4, 4)."""
        from medcli.veriserum.registration.inside_kernel import are_inside

        relative = np.linalg.inv(outer_pose) @ inner_pose
        places = self._vertices @ relative[:3, :3].T + relative[:3, 3]
        places = places[((places > self._low) & (places < self._high)).all(axis=1)]
        if len(places) == 0:
            return 0.0
        inside = np.zeros(len(places), np.bool_)
        are_inside(np.ascontiguousarray(places), self._triangles, inside)
        return float(np.max(self._tree.query(places[inside])[0])) if inside.any() else 0.0


def _surface_points(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of a surface (N, 3), about four for each square millimetre, drawn with a fixed seed."""
    random = np.random.default_rng(0)
    a, b, c = np.moveaxis(triangles, 1, 0)
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    count = int(min(_POINTS_PER_MM2 * areas.sum(), _MOST_POINTS)) + 1
    chosen = random.choice(len(areas), count, p=areas / areas.sum())
    first, second = random.uniform(size=(2, count, 1))
    root = np.sqrt(first)
    drawn = (1 - root) * a[chosen] + root * (1 - second) * b[chosen] + root * second * c[chosen]
    return np.concatenate([drawn, triangles.reshape(-1, 3)])
