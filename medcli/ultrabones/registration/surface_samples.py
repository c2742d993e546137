"""What a cloud is registered to: bones with samples of their surface and a grid that names the nearest sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.made_with import fingerprint
from medcli.ultrabones.geometry.bone_surface import Surface

SAMPLE_MM = 1.6
"""Mean distance of neighbouring samples."""
PAIR_MM = 7.5
"""Edge of the cubes of which each gives one sample for hypotheses."""
_CELL_MM = 2.5
_MARGIN_MM = 21.0
_MOST_SAMPLES, _MOST_COARSE, _MOST_CELLS = 60_000, 2_600, 1_500_000


@dataclass(frozen=True)
class BoneTarget:
    """Bones of one CT, prepared for registrations.

    Attributes:
        surfaces: the bones with their exact distance trees.
        points, normals: (S, 3) samples of all surfaces and their outward unit normals.
        coarse: rows of the samples that hypotheses start from.
        grid: (X, Y, Z) int32, row of the sample nearest to a cell's centre.
        origin: (3,) low corner of the grid.
        cell_mm: edge of a cell.
    """

    surfaces: tuple[Surface, ...]
    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    coarse: NDArray[np.int64]
    grid: NDArray[np.int32]
    origin: NDArray[np.float64]
    cell_mm: float

    @staticmethod
    def of(surfaces: Sequence[Surface]) -> BoneTarget:
        """Prepare bones; the same for the same meshes."""
        points, normals = _samples(surfaces)
        low, high = points.min(axis=0) - _MARGIN_MM, points.max(axis=0) + _MARGIN_MM
        cell = max(_CELL_MM, float(np.cbrt(np.prod(high - low) / _MOST_CELLS)))
        grid = _nearest_samples(points, low, cell, np.ceil((high - low) / cell).astype(int))
        return BoneTarget(tuple(surfaces), points, normals, _coarse(points), grid, low, cell)

    @property
    def digest(self) -> str:
        """A short text that changes when any triangle does."""
        return fingerprint(*(surface.triangles.astype("<f8").tobytes() for surface in self.surfaces))

    @property
    def search(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32], NDArray[np.float64], float]:
        """What the kernels take: points, normals, grid, origin, cell."""
        return self.points, self.normals, self.grid, self.origin, self.cell_mm


def _nearest_samples(
    points: NDArray[np.float64], low: NDArray[np.float64], cell: float, shape: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Row of a sample near each cell: the one most central in the nearest cell that holds any."""
    from scipy.ndimage import distance_transform_edt

    cells = np.floor((points - low) / cell).astype(np.int64)
    aside = np.linalg.norm((points - low) / cell - cells - 0.5, axis=1)
    order = np.argsort(-aside, kind="stable")  # written last, so kept: the most central
    own = np.full(tuple(shape), -1, np.int32)
    own[tuple(cells[order].T)] = order
    nearest = distance_transform_edt(own < 0, return_distances=False, return_indices=True)
    return np.ascontiguousarray(own[tuple(nearest)])


def _samples(surfaces: Sequence[Surface]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Samples spread evenly over all surfaces (a low-discrepancy sequence along the triangles) and their normals."""
    triangles = np.concatenate([surface.triangles for surface in surfaces])
    across = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    area = np.linalg.norm(across, axis=1) / 2
    if not area.sum() > 0:
        raise ValueError("the meshes have no area")
    count = int(np.clip(area.sum() / SAMPLE_MM**2, 500, _MOST_SAMPLES))
    place = (np.arange(count) + 0.5) / count * area.sum()
    chosen = np.minimum(np.searchsorted(np.cumsum(area), place, side="right"), len(area) - 1)
    step = np.arange(count)[:, None] * np.array([0.7548776662466927, 0.5698402909980532])
    share = (0.5 + step) % 1.0
    share = np.where(share.sum(axis=1, keepdims=True) > 1, 1 - share, share)
    corner = triangles[chosen, 0]
    points = corner + share[:, :1] * (triangles[chosen, 1] - corner) + share[:, 1:] * (triangles[chosen, 2] - corner)
    return points, across[chosen] / np.maximum(2 * area[chosen, None], 1e-30) * _outward(surfaces)[chosen, None]


def _outward(surfaces: Sequence[Surface]) -> NDArray[np.float64]:
    """1 for each triangle of a surface that encloses a positive volume, -1 for one that is turned inside out."""
    signs = []
    for surface in surfaces:
        a, b, c = np.moveaxis(surface.triangles - surface.triangles.mean(axis=(0, 1)), 1, 0)
        volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum()
        signs.append(np.full(len(surface.triangles), -1.0 if volume < 0 else 1.0))
    return np.concatenate(signs)


def _coarse(points: NDArray[np.float64]) -> NDArray[np.int64]:
    edge = PAIR_MM
    while True:
        cells = np.floor((points - points.min(axis=0)) / edge).astype(np.int64)
        _, rows = np.unique(cells, axis=0, return_index=True)
        if len(rows) <= _MOST_COARSE:
            return np.sort(rows)
        edge *= 1.1
