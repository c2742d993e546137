"""Points spread evenly over a mesh, and the plane by which it is most nearly its own mirror image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.mesh import Mesh

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

Array = NDArray[np.float64]
_POINTS, _MIRRORED, _FEW = 20_000, 2_000, 400
_ROBUST_MM = 0.3
"""Distances beyond this count less: an asymmetric flange or keel must not tilt the plane."""


@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """Points on a surface.

    Attributes:
        points: (N, 3) mm, as many per area everywhere.
        normals: (N, 3), outwards.
    """

    points: Array
    normals: Array

    @staticmethod
    def of(mesh: Mesh, count: int = _POINTS) -> SurfaceSamples:
        """Draw points of a mesh, the same ones each time."""
        triangles = mesh.triangles
        cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        doubled_area = np.linalg.norm(cross, axis=1)
        random = np.random.default_rng(0)
        # One point in each equal step of the summed area: more even than independent draws.
        steps = (np.arange(count) + random.random(count)) / count * doubled_area.sum()
        face = np.minimum(np.searchsorted(np.cumsum(doubled_area), steps), len(triangles) - 1)
        u, v = np.sqrt(random.random(count)), random.random(count)
        weights = np.stack([1 - u, u * (1 - v), u * v], axis=1)
        points = np.einsum("nk,nkj->nj", weights, triangles[face])
        return SurfaceSamples(points, cross[face] / np.maximum(doubled_area[face], 1e-12)[:, None])

    @cached_property
    def tree(self) -> cKDTree:
        """For the nearest point."""
        from scipy.spatial import cKDTree

        return cKDTree(self.points)

    def where(self, chosen: NDArray[np.bool_]) -> SurfaceSamples:
        """Those that are marked."""
        return SurfaceSamples(self.points[chosen], self.normals[chosen])

    def principal_axes(self) -> Array:
        """(3, 3) rows: directions of decreasing spread."""
        axes: Array = np.linalg.svd(self.points - self.points.mean(axis=0), full_matrices=False)[2]
        return axes


@dataclass(frozen=True)
class SymmetryPlane:
    """A plane ``normal . p = offset_mm``, and the mean distance between the surface and its mirror image.

    The mean leaves out the worst fifth of the surface.
    """

    normal: Array
    offset_mm: float
    residual_mm: float


def best_symmetry_plane(samples: SurfaceSamples) -> SymmetryPlane:
    """The one with the best mirror image, of the planes near the principal axes: symmetric bodies have it there."""
    coarse = [symmetry_plane(samples, axis, count=_FEW) for axis in samples.principal_axes()]
    return symmetry_plane(samples, min(coarse, key=lambda one: one.residual_mm).normal)


def symmetry_plane(
    samples: SurfaceSamples, start: Array, perpendicular_to: Array | None = None, count: int = _MIRRORED
) -> SymmetryPlane:
    """The plane near ``start`` (its normal) by which the surface is most nearly its own mirror image.

    Args:
        samples: of the surface.
        start: (3,) unit vector; the plane through the middle with this normal is improved.
        perpendicular_to: (3,), a direction that the plane contains.
        count: points that are mirrored.
    """
    from scipy.optimize import least_squares

    one, other = perpendicular(start) if perpendicular_to is None else (np.cross(perpendicular_to, start), None)
    middle = samples.points.mean(axis=0)
    step = max(1, len(samples.points) // count)
    points = samples.points[::step] - middle

    def plane(numbers: Array) -> tuple[Array, float]:
        normal = start + np.tan(numbers[0]) * one
        if other is not None:
            normal = normal + np.tan(numbers[2]) * other
        return normal / np.linalg.norm(normal), float(numbers[1])

    def distances(numbers: Array) -> Array:
        normal, offset = plane(numbers)
        mirrored = points - 2 * (points @ normal - offset)[:, None] * normal + middle
        nearest: Any = samples.tree.query(mirrored)[1]
        away = mirrored - samples.points[nearest]
        return np.asarray((away * samples.normals[nearest]).sum(axis=1))

    begin = np.zeros(2 if other is None else 3)
    found = least_squares(distances, begin, loss="soft_l1", f_scale=_ROBUST_MM, x_scale="jac", max_nfev=40)
    normal, offset = plane(found.x)
    away = np.sort(np.abs(distances(found.x)))
    return SymmetryPlane(normal, float(offset + middle @ normal), float(away[: int(0.8 * len(away))].mean()))


def fit_plane_normal(points: Array, near: Array) -> Array:
    """Unit normal of the plane through points (N, 3) by least squares, on the side of ``near``."""
    normal: Array = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][2]
    return normal * (1.0 if normal @ near >= 0 else -1.0)


def perpendicular(direction: Array) -> tuple[Array, Array]:
    """Two unit vectors that form a right angle with a direction and each other."""
    one = np.cross(direction, np.eye(3)[np.argmin(np.abs(direction))])
    one /= np.linalg.norm(one)
    return one, np.cross(direction, one)
