"""Point clouds: their files, thinning, and how far they lie from bone surfaces. Millimetres throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.files import replacing, write_bytes
from medcli.core.threads import map_in_threads
from medcli.ultrabones.geometry.bone_surface import Surface

PUBLISHED_SAMPLES = 1_000_000
"""Random points on the mesh in the published metric."""
SEEN_WITHIN_MM = 1.0
_PER_TASK = 50_000


@dataclass(frozen=True)
class DistanceSummary:
    """Distances of points to a surface, millimetres."""

    mean: float
    median: float
    percentile_95: float
    maximum: float

    @staticmethod
    def of(distances: NDArray[np.float64]) -> DistanceSummary:
        median, high = np.percentile(distances, [50, 95])
        return DistanceSummary(float(distances.mean()), float(median), float(high), float(distances.max()))


def surface_distances(
    points: NDArray[np.float64], surfaces: Sequence[Surface], workers: int = 1
) -> NDArray[np.float64]:
    """Exact distance of each point (N, 3) to the nearest triangle of any surface, (N,)."""

    def measure(span: tuple[int, int]) -> NDArray[np.float64]:
        part = points[slice(*span)]
        return np.asarray(np.min([surface.distances(part) for surface in surfaces], axis=0))

    spans = pairwise([*range(0, len(points), _PER_TASK), len(points)])
    return np.concatenate([np.empty(0), *map_in_threads(measure, spans, workers)])


def sample_surface(surface: Surface, count: int, seed: int) -> NDArray[np.float64]:
    """Random points on a surface, (count, 3), evenly over its area."""
    rng = np.random.default_rng(seed)
    edges = surface.triangles[:, 1:] - surface.triangles[:, :1]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    chosen = np.searchsorted(np.cumsum(area), rng.random(count) * area.sum(), side="right")
    chosen = np.minimum(chosen, len(area) - 1)
    share = rng.random((count, 2))
    outside = share.sum(axis=1) > 1
    share[outside] = 1 - share[outside]
    return np.asarray(surface.triangles[chosen, 0] + np.einsum("ij,ijk->ik", share, edges[chosen]))


def published_distance(
    points: NDArray[np.float64], surfaces: Sequence[Surface], seed: int = 0, workers: int = 1
) -> float:
    """Mean distance of points to the nearest of a million random points on the surfaces: the published metric.

    It reads more than the exact distance, by the gaps between the random points.
    """
    from scipy.spatial import cKDTree

    areas = np.array([surface.area for surface in surfaces])
    counts = np.round(PUBLISHED_SAMPLES * areas / areas.sum()).astype(int)
    samples = [sample_surface(s, n, seed + i) for i, (s, n) in enumerate(zip(surfaces, counts, strict=True))]
    distances, _ = cKDTree(np.concatenate(samples)).query(points, workers=workers)
    return float(np.mean(distances))


def seen_share(
    surface: Surface, points: NDArray[np.float64], within_mm: float = SEEN_WITHIN_MM, seed: int = 0, workers: int = 1
) -> float:
    """Share of a surface's area that has a point within ``within_mm``, from 100,000 random places on it."""
    from scipy.spatial import cKDTree

    if len(points) == 0:
        return 0.0
    tree = cKDTree(thin(points, within_mm / 10)[0])
    distances, _ = tree.query(sample_surface(surface, 100_000, seed), distance_upper_bound=within_mm, workers=workers)
    return float(np.isfinite(distances).mean())


def thin(points: NDArray[np.float64], voxel_mm: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """One point a voxel, the first that falls into it; and the rows kept, ascending."""
    if len(points) == 0 or voxel_mm <= 0:
        return points, np.arange(len(points))
    _, first = np.unique(cube_numbers(points, voxel_mm), return_index=True)
    kept = np.sort(first)
    return points[kept], kept


def cube_numbers(points: NDArray[np.float64], edge_mm: float) -> NDArray[np.int64]:
    """The cube that each point (N, 3) falls into, (N,): a number that grows with x, then y, then z."""
    cells = np.floor((points - points.min(axis=0)) / edge_mm).astype(np.int64)
    shape = cells.max(axis=0) + 1
    return np.asarray((cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2])


def without_outliers(mean_distance: NDArray[np.float64], deviations: float) -> NDArray[np.bool_]:
    """Which points are kept by the mean distance of each to its neighbours, (N,): statistical outliers are not.

    A point is one where that mean exceeds the mean over all points by more than so many standard deviations (Rusu et
    al. 2008, as in the Point Cloud Library).
    """
    return np.asarray(mean_distance <= mean_distance.mean() + deviations * mean_distance.std())


def write_xyz(path: Path, points: NDArray[np.float64]) -> None:
    """One point a line, ``x y z`` with four decimals, as the published reconstructions are written."""
    with replacing(path) as part, part.open("w", encoding="ascii", newline="\n") as file:
        for first in range(0, len(points), _PER_TASK):
            chunk = points[first : first + _PER_TASK]
            file.write(("%.4f %.4f %.4f\n" * len(chunk)) % tuple(chunk.ravel().tolist()))


def write_ply(
    path: Path,
    points: NDArray[np.float64],
    distances: NDArray[np.float64],
    colours: NDArray[np.uint8],
    normals: NDArray[np.float64] | None = None,
) -> None:
    """Binary PLY: points (N, 3), their distance (N,) to the bone as the property ``distance``, and colour (N, 3).

    Normals (N, 3) follow the coordinates as ``nx ny nz``, where they are given.
    """
    normal: list[tuple[str, str, int]] = [] if normals is None else [("normal", "<f4", 3)]
    vertices = np.zeros(len(points), [("xyz", "<f4", 3), *normal, ("distance", "<f4"), ("colour", "u1", 3)])
    vertices["xyz"], vertices["distance"], vertices["colour"] = points, distances, colours
    if normals is not None:
        vertices["normal"] = normals
    names = ("x", "y", "z", *(() if normals is None else ("nx", "ny", "nz")), "distance")
    properties = [f"property float {name}" for name in names]
    properties += [f"property uchar {name}" for name in ("red", "green", "blue")]
    lines = ["ply", "format binary_little_endian 1.0", "comment millimetres, CT coordinates"]
    lines += [f"element vertex {len(points)}", *properties, "end_header", ""]
    write_bytes(path, "\n".join(lines).encode("ascii") + vertices.tobytes())
