"""Normals of a cloud that a sweep saw, pointing from the bone towards the probe."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.ultrabones.reconstruction.point_cloud import thin

SAMPLE_MM = 0.5
RADII_MM = (2.0, 4.0, 8.0)
"""Of the neighbourhood that a plane is fitted to: the first that is no mere line."""
_LEAST_BREADTH = 0.05
"""Second over first variance of a neighbourhood that is no line (breadth over length: 0.22)."""


def estimate_normals(points: NDArray[np.float64], towards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit normals (N, 3) of points (N, 3), on the side of ``towards`` (N, 3), the direction to the probe.

    A plane is fitted to the neighbours of one point a cube of 0.5 mm; the other points take the nearest one's normal.
    Where frames are so far apart that neighbours form a line, the normal is that of the line within the image plane.
    """
    from scipy.spatial import cKDTree

    if not len(points):
        return np.zeros((0, 3))
    sample, rows = thin(points, SAMPLE_MM)
    tree, up = cKDTree(sample), towards[rows]
    normals, todo = np.zeros_like(sample), np.arange(len(sample))
    for radius in RADII_MM:
        variances, axes = np.linalg.eigh(_covariances(sample, tree.query_ball_point(sample[todo], radius)))
        is_plane = variances[:, 1] > _LEAST_BREADTH * variances[:, 2]
        normals[todo[is_plane]] = axes[is_plane, :, 0]
        last_axis, todo = axes[~is_plane, :, 2], todo[~is_plane]
        if not len(todo):
            break
    if len(todo):
        along = (up[todo] * last_axis).sum(axis=1, keepdims=True)
        normals[todo] = up[todo] - along * last_axis
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(lengths > 1e-9, normals / np.maximum(lengths, 1e-9), up)
    normals *= np.where((normals * up).sum(axis=1) < 0, -1.0, 1.0)[:, None]
    return np.asarray(normals[tree.query(points)[1]])


def _covariances(sample: NDArray[np.float64], neighbours: Any) -> NDArray[np.float64]:
    """(N, 3, 3) of each list of neighbours."""
    counts = np.array([len(one) for one in neighbours])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    near = sample[np.concatenate([np.asarray(one, np.int64) for one in neighbours])]
    centres = np.add.reduceat(near, starts) / counts[:, None]
    apart = near - np.repeat(centres, counts, axis=0)
    return np.asarray(np.add.reduceat(apart[:, :, None] * apart[:, None, :], starts) / counts[:, None, None])
