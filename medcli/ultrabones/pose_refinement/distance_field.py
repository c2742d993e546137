"""A block-sparse distance field near bone surfaces: what makes the objective of the pose refinement cheap.

Space is cut into cubes of 8 x 8 x 8 cells. Only cubes that come within ``band_mm`` of a surface are kept, each with its
9 x 9 x 9 exact distances at the cells' corners, so that one look-up never leaves its cube. Between corners the distance
is interpolated linearly; elsewhere it is known only to be larger than the band.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medcli.core.compiled import njit
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.triangle_tree import nearest_squared

CELLS = 8
CORNERS = CELLS + 1
_PER_TASK = 256  # cubes filled by one task


@dataclass(frozen=True)
class DistanceField:
    """Distances to the nearest of several surfaces, near those surfaces.

    Attributes:
        origin: (3,), the low corner of cube (0, 0, 0), millimetres.
        step_mm: length of a cell.
        band_mm: distances are exact at the corners of every cell that comes nearer than this.
        index: (X, Y, Z) int32: row of ``values`` of each cube, -1 where it is farther than the band.
        values: (cubes, 9, 9, 9) float32, millimetres.
    """

    origin: NDArray[np.float64]
    step_mm: float
    band_mm: float
    index: NDArray[np.int32]
    values: NDArray[np.float32]

    @staticmethod
    def around(
        surfaces: Sequence[Surface],
        band_mm: float = 0.5,
        step_mm: float = 0.2,
        workers: int = 1,
        places: NDArray[np.float64] | None = None,
        reach_mm: float = 0.0,
    ) -> DistanceField:
        """Fill a field around surfaces; the result does not depend on ``workers``.

        Args:
            places: (N, 3), millimetres: only what lies within ``reach_mm`` (along each axis) of one of these is
                filled. None fills all.
        """
        bounds = np.stack([surface.bounds for surface in surfaces])
        side = CELLS * step_mm
        origin = bounds[:, 0].min(axis=0) - band_mm - step_mm
        shape = np.ceil((bounds[:, 1].max(axis=0) + band_mm + step_mm - origin) / side).astype(np.int64)
        # a corner matters when its cell reaches into the band: within a cell's diagonal of it
        limit = float(np.float32(band_mm + step_mm * np.sqrt(3.0)))
        near = np.zeros(tuple(shape), np.bool_)
        for surface in surfaces:
            _mark_cubes(near, origin, side, surface.triangles, limit)
        if places is not None:
            near &= _cubes_around(places, origin, side, near.shape, reach_mm)
        cubes = np.argwhere(near)
        values = np.empty((len(cubes), CORNERS, CORNERS, CORNERS), np.float32)
        ranges = list(pairwise([*range(0, len(cubes), _PER_TASK), len(cubes)]))

        def fill(span: tuple[int, int]) -> None:
            part = values[slice(*span)]
            part[:] = limit
            for surface in surfaces:
                _fill_cubes(part, cubes[slice(*span)], origin, step_mm, *surface.tree)

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(fill, ranges))
        keep = values.min(axis=(1, 2, 3)) < limit
        index = np.full(tuple(shape), -1, np.int32)
        index[tuple(cubes[keep].T)] = np.arange(keep.sum())
        return DistanceField(origin, step_mm, band_mm, index, values[keep])

    @property
    def arrays(self) -> tuple[NDArray[np.float64], float, NDArray[np.int32], NDArray[np.float32]]:
        """What the kernels take: origin, step, index, values."""
        return self.origin, self.step_mm, self.index, self.values

    def distances(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Interpolated distances of points (N, 3), (N,) millimetres; ``inf`` where the field has no cube."""
        return np.asarray(_look_up_all(np.ascontiguousarray(points, dtype=np.float64), *self.arrays))


def _cubes_around(
    places: NDArray[np.float64], origin: NDArray[np.float64], side: float, shape: tuple[int, ...], reach_mm: float
) -> NDArray[np.bool_]:
    from scipy.ndimage import maximum_filter

    around = np.zeros(shape, np.bool_)
    cubes = np.clip(np.floor((places - origin) / side).astype(np.int64), 0, np.array(shape) - 1)
    around[tuple(cubes.T)] = True
    return np.asarray(maximum_filter(around, size=2 * int(np.ceil(reach_mm / side)) + 1, mode="constant"))


@njit(inline="always")
def interpolate_distance(gx, gy, gz, index, values):
    """Distance in millimetres at a point in cells from the origin, ``inf`` where the field has no cube."""
    if gx < 0.0 or gy < 0.0 or gz < 0.0:
        return np.inf
    ix, iy, iz = int(gx), int(gy), int(gz)
    bx, by, bz = ix >> 3, iy >> 3, iz >> 3
    if bx >= index.shape[0] or by >= index.shape[1] or bz >= index.shape[2]:
        return np.inf
    block = index[bx, by, bz]
    if block < 0:
        return np.inf
    fx, fy, fz = gx - ix, gy - iy, gz - iz
    i, j, k = ix & 7, iy & 7, iz & 7
    d00 = values[block, i, j, k] * (1.0 - fz) + values[block, i, j, k + 1] * fz
    d01 = values[block, i, j + 1, k] * (1.0 - fz) + values[block, i, j + 1, k + 1] * fz
    d10 = values[block, i + 1, j, k] * (1.0 - fz) + values[block, i + 1, j, k + 1] * fz
    d11 = values[block, i + 1, j + 1, k] * (1.0 - fz) + values[block, i + 1, j + 1, k + 1] * fz
    return (d00 * (1.0 - fy) + d01 * fy) * (1.0 - fx) + (d10 * (1.0 - fy) + d11 * fy) * fx


@njit()
def _look_up_all(points, origin, step, index, values):
    distances = np.empty(len(points))
    for i in range(len(points)):
        gx, gy, gz = (
            (points[i, 0] - origin[0]) / step,
            (points[i, 1] - origin[1]) / step,
            (points[i, 2] - origin[2]) / step,
        )
        distances[i] = interpolate_distance(gx, gy, gz, index, values)
    return distances


@njit()
def _mark_cubes(near, origin, side, triangles, limit):
    """Mark the cubes that the box of a triangle, widened by ``limit``, touches."""
    for k in range(len(triangles)):
        first, last = np.empty(3, np.int64), np.empty(3, np.int64)
        for axis in range(3):
            low = min(triangles[k, 0, axis], triangles[k, 1, axis], triangles[k, 2, axis]) - limit
            high = max(triangles[k, 0, axis], triangles[k, 1, axis], triangles[k, 2, axis]) + limit
            first[axis] = max(0, int((low - origin[axis]) / side))
            last[axis] = min(near.shape[axis] - 1, int((high - origin[axis]) / side))
        for x in range(first[0], last[0] + 1):
            for y in range(first[1], last[1] + 1):
                for z in range(first[2], last[2] + 1):
                    near[x, y, z] = True


@njit()
def _fill_cubes(values, cubes, origin, step, triangles, boxes, starts):
    """Lower ``values`` (cubes, 9, 9, 9) to the distances to these triangles.

    A distance changes by no more than the way between two points: the cube's middle bounds its corners from below, the
    corner before bounds the next one from above, and most of the search is saved.
    """
    stack_node, stack_squared = np.empty(64, np.int64), np.empty(64, np.float64)
    limit = float(values.max()) if len(values) else 0.0
    half = 0.5 * CELLS * step
    reach = limit + half * np.sqrt(3.0)
    for b in range(len(cubes)):
        x0 = origin[0] + cubes[b, 0] * CELLS * step
        y0 = origin[1] + cubes[b, 1] * CELLS * step
        z0 = origin[2] + cubes[b, 2] * CELLS * step
        squared = nearest_squared(
            x0 + half, y0 + half, z0 + half, triangles, boxes, starts, reach * reach, stack_node, stack_squared
        )
        if squared >= reach * reach:
            continue
        to_middle = np.sqrt(squared)
        before = limit
        for i in range(CORNERS):
            for j in range(CORNERS):
                for k in range(CORNERS):
                    x, y, z = i * step, j * step, k * step
                    way = np.sqrt((x - half) ** 2 + (y - half) ** 2 + (z - half) ** 2)
                    bound = min(limit, to_middle + way) + 1e-6
                    if k > 0:
                        bound = min(bound, before + step + 1e-6)
                    before = limit
                    if to_middle - way < limit:
                        squared = nearest_squared(
                            x0 + x, y0 + y, z0 + z, triangles, boxes, starts,
                            bound * bound, stack_node, stack_squared,
                        )  # fmt: skip
                        before = np.sqrt(squared)
                        values[b, i, j, k] = min(values[b, i, j, k], np.float32(before))
