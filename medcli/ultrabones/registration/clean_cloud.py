"""Thin and de-noise a cloud before it is registered: cubes, statistical outliers, normals that agree in their sense."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.ultrabones.reconstruction.point_cloud import cube_numbers, without_outliers

VOXEL_MM = 1.5
MOST_POINTS = 4_000
"""Points that a registration works on; larger clouds are thinned with larger cubes."""
NEIGHBOURS = 16
OUTLIER_DEVIATIONS = 2.0
SPARSE = 0.1
_NORMAL_NEIGHBOURS = 24


@dataclass(frozen=True)
class CleanCloud:
    """A thinned cloud.

    Attributes:
        points: (N, 3) millimetres.
        normals: (N, 3) unit normals, in one sense over each connected part (which one is not known).
        given: points that came.
        outliers: thinned points that were left out as statistical outliers.
        voxel_mm: edge of the cubes.
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    given: int
    outliers: int
    voxel_mm: float


def clean_cloud(points: NDArray[np.float64]) -> CleanCloud:
    """Thin points (N, 3) to their means in cubes, leave sparse cubes and outliers out, and estimate normals.

    Statistical outliers are judged by the mean distance to the 16 nearest neighbours and two standard deviations.
    """
    from scipy.spatial import cKDTree

    voxel = VOXEL_MM
    thinned, sparse = _cube_means(points, voxel)
    while len(thinned) > MOST_POINTS * 1.15:
        voxel *= max(1.1, float(np.sqrt(len(thinned) / MOST_POINTS)))
        thinned, sparse = _cube_means(points, voxel)
    count = min(NEIGHBOURS, len(thinned) - 1)
    apart = np.asarray(cKDTree(thinned).query(thinned, count + 1)[0])[:, 1:].mean(axis=1)
    keep = without_outliers(apart, OUTLIER_DEVIATIONS)
    kept = np.ascontiguousarray(thinned[keep])
    return CleanCloud(kept, _normals(kept), len(points), int(np.count_nonzero(~keep)) + sparse, voxel)


def _cube_means(points: NDArray[np.float64], edge: float) -> tuple[NDArray[np.float64], int]:
    """The mean of the points in each cube, (M, 3), in the order of the cubes; and how many sparse cubes were left out.

    In a dense cloud (every pixel of a mask) a cube that holds less than a tenth of what the cube of the median point
    holds is a stray one; else strays, each in a cube of its own, would outnumber the bone.
    """
    _, index = np.unique(cube_numbers(points, edge), return_inverse=True)
    number = np.bincount(index)
    dense = number >= SPARSE * np.median(number[index])
    means = np.stack([np.bincount(index, points[:, axis])[dense] / number[dense] for axis in range(3)], axis=1)
    return means, int(np.count_nonzero(~dense))


def _normals(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit normals of the local planes; turned along a spanning tree so that neighbours agree (Hoppe et al. 1992)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
    from scipy.spatial import cKDTree

    count = min(_NORMAL_NEIGHBOURS, len(points))
    near = np.asarray(cKDTree(points).query(points, count)[1])
    local = points[near] - points[near].mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", local, local))
    normals = vectors[:, :, 0].copy()
    links = min(9, count)
    start, end = np.repeat(np.arange(len(points)), links - 1), near[:, 1:links].ravel()
    weight = 1.01 - np.abs(np.einsum("ij,ij->i", normals[start], normals[end]))
    tree = minimum_spanning_tree(coo_matrix((weight, (start, end)), shape=(len(points),) * 2).tocsr())
    tree = tree + tree.T
    parts, label = connected_components(tree, directed=False)
    for part in range(parts):
        order, before = breadth_first_order(tree, int(np.argmax(label == part)), directed=False)
        for place in order[1:]:
            if normals[place] @ normals[before[place]] < 0:
                normals[place] *= -1
    return np.ascontiguousarray(normals)
