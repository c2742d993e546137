"""Meshes whose distances are known in closed form, and brute-force twins of the surface kernels."""

from __future__ import annotations

import numpy as np

from medcli.core.mesh import Mesh


def tube(radius_mm: float = 10.0, length_mm: float = 60.0, around: int = 720, along: int = 30) -> Mesh:
    """A closed cylinder about the z axis, centred at the origin."""
    angle = 2 * np.pi * np.arange(around) / around
    ring = np.stack([radius_mm * np.cos(angle), radius_mm * np.sin(angle)], axis=1)
    z = np.linspace(-length_mm / 2, length_mm / 2, along)
    side = np.concatenate([np.column_stack([ring, np.full(around, height)]) for height in z])
    vertices = np.vstack([side, [[0, 0, z[0]], [0, 0, z[-1]]]])
    here, there = np.arange(around), (np.arange(around) + 1) % around
    faces = []
    for level in range(along - 1):
        low, high = level * around, (level + 1) * around
        faces += [
            np.column_stack([low + here, low + there, high + there]),
            np.column_stack([low + here, high + there, high + here]),
        ]
    bottom, top = len(side), len(side) + 1
    last = (along - 1) * around
    faces += [np.column_stack([np.full(around, bottom), there, here])]
    faces += [np.column_stack([np.full(around, top), last + here, last + there])]
    return Mesh(vertices, np.vstack(faces).astype(np.int64))


def ball(radius_mm: float = 12.0, around: int = 360, along: int = 180) -> Mesh:
    """A closed sphere about the origin."""
    mesh = tube(1.0, 1.0, around, along - 1)
    polar = np.pi * np.arange(1, along) / along
    azimuth = np.arctan2(mesh.vertices[:-2, 1], mesh.vertices[:-2, 0]).reshape(along - 1, around)
    side = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(azimuth),
            np.sin(polar)[:, None] * np.sin(azimuth),
            -np.cos(polar)[:, None] * np.ones_like(azimuth),
        ],
        axis=-1,
    )
    return Mesh(radius_mm * np.vstack([side.reshape(-1, 3), [[0, 0, -1], [0, 0, 1]]]), mesh.faces)


def brute_distances(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Distance of each point (N, 3) to the nearest triangle (F, 3, 3), by trying all of them."""
    best = np.full(len(points), np.inf)
    for a, b, c in triangles:
        for start, end in ((a, b), (b, c), (c, a)):
            way = end - start
            length = way @ way
            share = np.clip((points - start) @ way / length, 0, 1) if length > 0 else np.zeros(len(points))
            best = np.minimum(best, np.linalg.norm(points - start - share[:, None] * way, axis=1))
        normal = np.cross(b - a, c - a)
        if normal @ normal > 0:
            normal = normal / np.linalg.norm(normal)
            inside = np.ones(len(points), bool)
            for start, end in ((a, b), (b, c), (c, a)):
                inside &= np.cross(end - start, points - start) @ normal >= 0
            best = np.where(inside, np.minimum(best, np.abs((points - a) @ normal)), best)
    return best


def random_triangles(seed: int, count: int) -> np.ndarray:
    """Triangles of many sizes, slivers and points among them, (count, 3, 3), in millimetres.

    Slivers are some micrometres wide: a normal of much thinner ones is itself known no better than to 1e-9, however the
    distance is computed.
    """
    random = np.random.default_rng(seed)
    middle = random.uniform(-20, 20, (count, 1, 3))
    triangles = middle + random.normal(size=(count, 3, 3)) * random.choice([0.1, 1, 8], (count, 1, 1))
    triangles[::7, 2] = triangles[::7, 0]  # no area: a segment
    triangles[::11] = triangles[::11, :1]  # no length: a point
    thin = triangles[::5]
    triangles[::5, 2] = 0.5 * (thin[:, 0] + thin[:, 1]) + 1e-3 * random.normal(size=(len(thin), 3))
    return triangles
