"""Exact distances to meshes, against brute force and against shapes with known distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcli.core.mesh import Mesh, merge_vertices
from medcli.ultrabones.geometry.bone_surface import Surface
from tests.support.solids import ball, brute_distances, random_triangles, tube


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 60))
def test_distances_equal_brute_force(seed: int, count: int) -> None:
    triangles = random_triangles(seed, count)
    surface = Surface.from_mesh(merge_vertices(triangles))
    points = np.random.default_rng(seed).uniform(-25, 25, (200, 3))
    points[:20] = triangles.reshape(-1, 3)[np.arange(20) % (3 * count)]
    assert np.abs(surface.distances(points) - brute_distances(points, triangles)).max() < 1e-9


def test_distances_far_from_the_origin_keep_their_precision() -> None:
    triangles = random_triangles(3, 80) + np.array([180.0, 330.0, 1500.0])
    points = np.random.default_rng(3).uniform(-25, 25, (500, 3)) + np.array([180.0, 330.0, 1500.0])
    surface = Surface.from_mesh(merge_vertices(triangles))
    assert np.abs(surface.distances(points) - brute_distances(points, triangles)).max() < 1e-9


def test_a_limit_cuts_distances_off() -> None:
    surface = Surface.from_mesh(ball())
    points = np.random.default_rng(0).uniform(-30, 30, (2000, 3))
    exact, cut = surface.distances(points), surface.distances(points, 3.0)
    assert np.array_equal(cut, np.minimum(exact, 3.0))
    assert 0 < (exact < 3).sum() < len(points)


def test_distances_to_a_ball_and_a_tube() -> None:
    points = np.random.default_rng(1).uniform(-20, 20, (3000, 3))
    radius = np.linalg.norm(points, axis=1)
    assert np.abs(Surface.from_mesh(ball(12.0)).distances(points) - np.abs(radius - 12)).max() < 0.002
    beside = np.hypot(points[:, 0], points[:, 1])
    tube_distance = Surface.from_mesh(tube(10.0, 200.0)).distances(points)
    assert np.abs(tube_distance - np.abs(beside - 10)).max() < 0.001


def test_the_tree_holds_every_triangle_once_and_encloses_it() -> None:
    mesh = ball(around=30, along=17)
    surface = Surface.from_mesh(mesh)
    assert sorted(map(tuple, surface.triangles.reshape(-1, 9))) == sorted(map(tuple, mesh.triangles.reshape(-1, 9)))
    first_leaf = (len(surface.boxes) - 1) // 2
    for leaf, (start, end) in enumerate(zip(surface.starts[:-1], surface.starts[1:], strict=True)):
        assert 1 <= end - start <= 4
        corners, node = surface.triangles[start:end].reshape(-1, 3), first_leaf + leaf
        while True:
            assert (corners >= surface.boxes[node, :3]).all()
            assert (corners <= surface.boxes[node, 3:]).all()
            if node == 0:
                break
            node = (node - 1) // 2


def test_a_mesh_without_triangles_is_refused() -> None:
    with pytest.raises(ValueError, match="no triangle"):
        Surface.from_mesh(Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64)))


@pytest.mark.parametrize("limit", [0.7, 3.0, 60.0])
def test_plane_distances_are_the_distances_of_its_points(limit: float) -> None:
    from medcli.core.rigid_transforms import rigid_transform, transform_points

    surface = Surface.from_mesh(ball(around=40, along=20))
    plane = rigid_transform((-15, -14, 3), (10, -20, 30), "xyz")
    grid = surface.plane_distances(plane, (61, 45), 0.5, limit)
    rows, columns = np.mgrid[0:61, 0:45]
    points = np.stack([columns * 0.5, rows * 0.5, np.zeros(rows.shape)], axis=-1).reshape(-1, 3)
    exact = surface.distances(transform_points(plane, points)).reshape(61, 45)
    known = np.isfinite(grid)
    assert np.array_equal(known, exact < limit)
    assert np.abs(grid[known] - exact[known]).max() < 1e-9
    assert known.any()
