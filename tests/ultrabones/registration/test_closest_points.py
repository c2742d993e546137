"""Nearest points of several surfaces: against every triangle, plainly."""

from __future__ import annotations

import numpy as np

from medcli.core.mesh import Mesh
from medcli.synthetic.ultrasound.label_rules import segment_distance_squared
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.registration.closest_points import closest_points


def soup(seed: int) -> Mesh:
    vertices = np.random.default_rng(seed).normal(0, 20, (90, 3))
    return Mesh(vertices, np.arange(90).reshape(-1, 3))


def test_points_owners_and_normals_are_those_of_the_nearest_triangle() -> None:
    meshes = [soup(1), soup(2)]
    points = np.random.default_rng(3).normal(0, 30, (200, 3))
    nearest, normals, owner = closest_points(points, [Surface.from_mesh(mesh) for mesh in meshes])
    by_mesh = np.stack(
        [
            np.stack([segment_distance_squared(np.tile(point, (30, 1)), mesh.triangles).min() for point in points])
            for mesh in meshes
        ]
    )
    assert np.allclose(np.linalg.norm(points - nearest, axis=1), np.sqrt(by_mesh.min(axis=0)), atol=1e-9)
    assert np.array_equal(owner, by_mesh.argmin(axis=0))
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    on_it = [
        segment_distance_squared(np.tile(point, (30, 1)), meshes[k].triangles).min()
        for point, k in zip(nearest, owner, strict=True)
    ]
    assert max(on_it) < 1e-16


def test_beyond_the_limit_there_is_no_owner() -> None:
    nearest, normals, owner = closest_points(np.array([[500.0, 0, 0]]), [Surface.from_mesh(soup(1))], 10.0)
    assert owner.tolist() == [-1]
    assert np.array_equal(nearest, [[500.0, 0, 0]])
    assert not normals.any()
