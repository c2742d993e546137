"""The surface of a bone: a triangle mesh with a tree of boxes, for exact distances in millimetres."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcli.core.mesh import Mesh
from medcli.ultrabones.geometry import triangle_tree as kernels

_LEAF = 4  # triangles in a leaf, at most


@dataclass(frozen=True)
class Surface:
    """A bone's surface.

    Attributes:
        name: the bone, for people.
        triangles: (F, 3, 3) float64: triangle (sorted along the tree), corner, xyz in millimetres.
        boxes: (nodes, 6) float64: low and high corner of each node, heap order.
        starts: (leaves + 1,) int64: first triangle of each leaf.
    """

    name: str
    triangles: NDArray[np.float64]
    boxes: NDArray[np.float64]
    starts: NDArray[np.int64]

    @staticmethod
    def from_mesh(mesh: Mesh, name: str = "bone") -> Surface:
        """Sort the mesh's triangles into a tree of boxes (medians of the longest side, level by level)."""
        triangles = np.ascontiguousarray(mesh.triangles, dtype=np.float64)
        if len(triangles) == 0:
            raise ValueError(f"mesh {name} has no triangle")
        low, high = triangles.min(axis=1), triangles.max(axis=1)
        middle = (low + high) / 2
        depth = max(0, math.ceil(math.log2(len(triangles) / _LEAF)))
        order = np.arange(len(triangles))
        levels = []
        for level in range(depth + 1):
            starts = np.arange(2**level + 1) * len(triangles) // 2**level
            box_low = np.minimum.reduceat(low[order], starts[:-1])
            box_high = np.maximum.reduceat(high[order], starts[:-1])
            levels.append(np.hstack([box_low, box_high]))
            if level < depth:
                segment = np.repeat(np.arange(2**level), np.diff(starts))
                longest = np.argmax(box_high - box_low, axis=1)[segment]
                order = order[np.lexsort((middle[order, longest], segment))]
        return Surface(name, triangles[order], np.vstack(levels), starts.astype(np.int64))

    @property
    def tree(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """What the kernels take: triangles, boxes, starts."""
        return self.triangles, self.boxes, self.starts

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(2, 3): smallest and largest coordinates in millimetres."""
        return np.asarray(self.boxes[0].reshape(2, 3))

    @property
    def area(self) -> float:
        """Square millimetres."""
        edges = self.triangles[:, 1:] - self.triangles[:, :1]
        return float(np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1).sum() / 2)

    def distances(self, points: ArrayLike, limit_mm: float = math.inf) -> NDArray[np.float64]:
        """Exact distance in millimetres of points (N, 3) to the nearest triangle, (N,); ``limit_mm`` where farther."""
        points = np.ascontiguousarray(points, dtype=np.float64).reshape(-1, 3)
        return np.asarray(kernels.point_distances(points, *self.tree, float(limit_mm)))

    def plane_distances(
        self, plane_to_ct: NDArray[np.float64], shape: tuple[int, int], step_mm: float, limit_mm: float
    ) -> NDArray[np.float64]:
        """Exact distances of the points (c step, r step, 0) of a plane, (rows, columns) millimetres.

        Args:
            plane_to_ct: (4, 4), rigid.
            shape: rows and columns of the grid.
            step_mm: distance of neighbouring points.
            limit_mm: ``inf`` is returned where no triangle is nearer.
        """
        origin, step_u, step_v = plane_to_ct[:3, 3], plane_to_ct[:3, 0] * step_mm, plane_to_ct[:3, 1] * step_mm
        corner, along_u, along_v = (np.ascontiguousarray(vector) for vector in (origin, step_u, step_v))
        return np.asarray(kernels.grid_distances(corner, along_u, along_v, shape, *self.tree, limit_mm))
