"""Closed triangle meshes built from grids and rings of points: slabs, lofts, blocks, pegs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcli.core.mesh import Mesh

Array = NDArray[np.float64]


def peg(foot: tuple[float, float, float], radius: float, height: float, up: bool) -> Mesh:
    """A round peg along y with a rounded end, its foot at ``foot``."""
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    bend = np.linspace(0, 0.95, 6) * np.pi / 2
    radii = np.concatenate([[radius] * 6, 0.85 * radius * np.cos(bend)])
    heights = np.concatenate([np.linspace(0, height - radius, 6), height - radius + radius * np.sin(bend)])
    direction = 1.0 if up else -1.0
    rings = [
        np.stack([r * np.cos(angles), np.full(32, h * direction), r * np.sin(angles)], 1)
        for r, h in zip(radii, heights, strict=True)
    ]
    return loft(np.stack(rings) + np.array(foot))


def loft(rings: Array) -> Mesh:
    """A closed body from rings of points (R, N, 3), its two ends closed by fans to their centres."""
    count, around = rings.shape[:2]
    index = np.arange(count * around).reshape(count, around)
    following = np.roll(index, -1, axis=1)
    quads = np.stack([index[:-1], following[:-1], following[1:], index[1:]], axis=-1).reshape(-1, 4)
    first, last = count * around, count * around + 1
    caps = [
        np.stack([following[0], index[0], np.full(around, first)], axis=1),
        np.stack([index[-1], following[-1], np.full(around, last)], axis=1),
    ]
    vertices = np.concatenate([rings.reshape(-1, 3), rings[[0, -1]].mean(axis=1)])
    return _outward(vertices, np.concatenate([_split(quads), *caps]))


def slab(outer: Array, inner: Array, cells: NDArray[np.bool_]) -> Mesh:
    """A closed slab between two grids of points (R, C, 3) over the marked cells (R - 1, C - 1).

    Marked cells must not touch at a corner only.
    """
    rows, columns = outer.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], axis=-1)[cells]
    count = rows * columns
    starts, ends = quads.ravel(), np.roll(quads, -1, axis=1).ravel()
    is_border = ~np.isin(starts * count + ends, ends * count + starts)
    a, b = starts[is_border], ends[is_border]
    walls = np.stack([b, a, a + count, b + count], axis=1)
    faces = _split(np.concatenate([quads, quads[:, ::-1] + count, walls]))
    return _outward(np.concatenate([outer.reshape(-1, 3), inner.reshape(-1, 3)]), faces)


def blocks(x: Array, y: Array, z: Array, filled: NDArray[np.bool_]) -> Mesh:
    """The surface of the filled cells of an irregular grid with lines at ``x``, ``y``, ``z``."""
    padded = np.pad(filled, 1)
    points, quads = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1), []
    index = np.arange(points[..., 0].size).reshape(points.shape[:3])
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    for axis in range(3):
        others = [(axis + 1) % 3, (axis + 2) % 3]
        for step in (-1, 1):
            for cell in np.argwhere(padded & ~np.roll(padded, -step, axis)):
                corners = np.repeat((cell - 1)[None], 4, axis=0)
                corners[:, others] += square[::step]
                corners[:, axis] += step > 0
                quads.append(index[tuple(corners.T)])
    return _outward(points.reshape(-1, 3), _split(np.array(quads)))


def _split(quads: NDArray[np.int64]) -> NDArray[np.int64]:
    """Quadrilaterals (Q, 4) as triangles (2 Q, 3)."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _outward(vertices: Array, faces: NDArray[np.int64]) -> Mesh:
    """The mesh of one closed body: faces turned outwards, vertices without faces left out."""
    used, renumbered = np.unique(faces, return_inverse=True)
    mesh = Mesh(vertices[used], renumbered.reshape(-1, 3).astype(np.int64))
    return mesh if mesh.volume > 0 else Mesh(mesh.vertices, mesh.faces[:, ::-1].copy())
