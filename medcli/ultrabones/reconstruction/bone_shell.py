"""A surface through a cloud with normals: open where bone was seen, or closed by the smoothest continuation.

Both are level sets on a grid of half a millimetre, turned into triangles by scikit-image's marching cubes (extra
``surface``):

- open: the distance to the planes of the nearest points, weighted by a Gaussian (Hoppe et al. 1992; Kolluri 2008),
  within 1 mm of the points; nothing is invented;
- watertight: the indicator function whose gradient is the field of normals (Poisson surface reconstruction, Kazhdan
  2005), solved by a Fourier transform. The side that no probe saw is a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.core.mesh import Mesh
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.reconstruction.point_cloud import (
    SEEN_WITHIN_MM,
    DistanceSummary,
    sample_surface,
    surface_distances,
    thin,
)

OPEN, WATERTIGHT = "open", "watertight"
STEP_MM = 0.5
REACH_MM, RIM_MM = 1.5, 1.0
SMOOTHING_MM = 1.0
_NEAREST = 16
_PAD_MM = 10.0
_MOST_CELLS = 60_000_000
_LEAST_POINTS = 50
_SAMPLES = 50_000

Vectors = NDArray[np.float64]


@dataclass(frozen=True)
class ShellFit:
    """A surface and its distances to the CT, millimetres, from random places on either.

    Attributes:
        kind: ``open`` or ``watertight``.
        faces: triangles.
        to_ct: from the surface to the CT meshes.
        from_ct: from the CT meshes to the surface, where a point of the cloud is within 1 mm; None if nowhere.
        from_ct_all_mm: mean of the same from all of the CT meshes, seen or not.
        file: its name, an STL file.
    """

    kind: str
    faces: int
    to_ct: DistanceSummary
    from_ct: DistanceSummary | None
    from_ct_all_mm: float
    file: str


def make_shell(points: Vectors, normals: Vectors, kind: str, workers: int = 1) -> Mesh:
    """A surface through points (N, 3) with normals (N, 3) that point outwards.

    Raises:
        DataError: too few points for a surface, or too far apart for the grid.
    """
    from scipy.spatial import cKDTree
    from skimage import measure

    marching_cubes: Any = measure.marching_cubes
    sample, rows = thin(points, STEP_MM)
    if len(sample) < _LEAST_POINTS:
        raise DataError(
            f"a surface needs {quantity(_LEAST_POINTS, 'point')} at least {STEP_MM:g} mm apart, there are {len(sample)}"
        )
    margin = _PAD_MM if kind == WATERTIGHT else REACH_MM + 2 * STEP_MM
    low = sample.min(axis=0) - margin
    shape = tuple(int(n) for n in np.ceil((sample.max(axis=0) + margin - low) / STEP_MM) + 1)
    if np.prod(shape, dtype=np.float64) > _MOST_CELLS:
        size = " x ".join(f"{n * STEP_MM:.0f}" for n in shape)
        raise DataError(
            f"the cloud measures {size} mm: too large for a surface",
            "remove stray points: --outlier-sd 2 --radius-mm 3",
        )
    if kind == WATERTIGHT:
        field, level = _indicator(sample, normals[rows], low, shape)
        vertices, faces, _, _ = marching_cubes(field, level)
    else:
        tree = cKDTree(sample)
        signed, near = _plane_distances(sample, normals[rows], low, shape, tree, workers)
        vertices, faces, _, _ = marching_cubes(signed, 0.0, mask=near)
        faces = faces[_is_of_points(vertices, faces, near, low, tree)]
    mesh = Mesh(low + vertices.astype(np.float64) * STEP_MM, faces.astype(np.int64))
    return Mesh(mesh.vertices, mesh.faces[:, ::-1]) if _points_inwards(mesh, sample, normals[rows]) else mesh


def measure_shell(
    mesh: Mesh, kind: str, file: str, points: Vectors, bones: Sequence[Surface], seed: int, workers: int = 1
) -> ShellFit:
    """Distances of a surface to the CT meshes, both ways."""
    from scipy.spatial import cKDTree

    shell = Surface.from_mesh(mesh, file)
    to_ct = surface_distances(sample_surface(shell, _SAMPLES, seed), bones, workers)
    areas = np.array([bone.area for bone in bones])
    counts = np.ceil(_SAMPLES * areas / areas.sum()).astype(int)
    places = np.concatenate([sample_surface(b, int(n), seed) for b, n in zip(bones, counts, strict=True)])
    back = surface_distances(places, [shell], workers)
    seen = np.isfinite(
        cKDTree(thin(points, SEEN_WITHIN_MM / 10)[0]).query(places, distance_upper_bound=SEEN_WITHIN_MM)[0]
    )
    from_ct = DistanceSummary.of(back[seen]) if seen.any() else None
    return ShellFit(kind, len(mesh.faces), DistanceSummary.of(to_ct), from_ct, float(back.mean()), file)


def _plane_distances(
    sample: Vectors, normals: Vectors, low: Vectors, shape: tuple[int, ...], tree: Any, workers: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Signed distance on the grid, and where it holds: within reach of a point."""
    from scipy.ndimage import distance_transform_edt

    far = np.ones(shape, bool)
    far[tuple(np.round((sample - low) / STEP_MM).astype(np.int64).T)] = False
    near = distance_transform_edt(far) <= REACH_MM / STEP_MM
    places = low + np.argwhere(near) * STEP_MM
    distance, index = tree.query(places, k=min(_NEAREST, len(sample)), workers=workers)
    weight = np.exp(-0.5 * ((distance - distance[:, :1]) / SMOOTHING_MM) ** 2)
    above = ((places[:, None] - sample[index]) * normals[index]).sum(axis=2)
    field = np.full(shape, REACH_MM, np.float32)
    field[near] = (weight * above).sum(axis=1) / weight.sum(axis=1)
    return field, near


def _is_of_points(
    vertices: Vectors, faces: NDArray[np.int32], near: NDArray[np.bool_], low: Vectors, tree: Any
) -> NDArray[np.bool_]:
    """Which faces lie where the field holds, and not beyond the rim of the points."""
    from scipy.ndimage import map_coordinates

    holds = map_coordinates(near.astype(np.float32), vertices.T, order=1) > 0.999
    distance = tree.query(low + vertices * STEP_MM)[0]
    return np.asarray((holds & (distance <= RIM_MM))[faces].all(axis=1))


def _indicator(
    sample: Vectors, normals: Vectors, low: Vectors, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], float]:
    """The function whose gradient is the smoothed field of normals, and its level at the points."""
    from scipy import fft
    from scipy.ndimage import gaussian_filter, map_coordinates

    size = tuple(fft.next_fast_len(n, real=True) for n in shape)
    cells = tuple(np.round((sample - low) / STEP_MM).astype(np.int64).T)
    density = np.zeros(size)
    np.add.at(density, cells, 1.0)
    share = (
        1.0 / gaussian_filter(density, SMOOTHING_MM / STEP_MM)[cells]
    )  # so that every part of the surface weighs alike
    waves = [*(fft.fftfreq(n, STEP_MM) for n in size[:2]), fft.rfftfreq(size[2], STEP_MM)]
    k = np.meshgrid(*(2 * np.pi * wave for wave in waves), indexing="ij", sparse=True)
    squared = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    total: NDArray[np.complex128] = np.zeros(squared.shape, np.complex128)
    for axis in range(3):
        field = np.zeros(size)
        np.add.at(field, cells, normals[:, axis] * share)
        total += 1j * k[axis] * fft.rfftn(field)
    total *= -np.exp(-0.5 * squared * SMOOTHING_MM**2)
    squared[0, 0, 0] = 1.0
    total /= squared
    found = fft.irfftn(total, size)
    return found, float(map_coordinates(found, ((sample - low) / STEP_MM).T, order=1).mean())


def _points_inwards(mesh: Mesh, sample: Vectors, normals: Vectors) -> bool:
    """Whether most faces near the points turn their back to the points' normals."""
    from scipy.spatial import cKDTree

    corners = mesh.triangles
    distance, index = cKDTree(sample).query(corners.mean(axis=1))
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return bool(((across * normals[index]).sum(axis=1)[distance <= REACH_MM]).sum() < 0)
