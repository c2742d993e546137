"""Exact distances to meshes, against brute force and against shapes with known distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcli.core.mesh import Mesh, merge_vertices
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.pose_refinement.distance_field import DistanceField
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


def test_the_distance_field_knows_what_is_near() -> None:
    surfaces = [
        Surface.from_mesh(ball(7.0, 90, 45)),
        Surface.from_mesh(tube(4.0, 20.0, 60, 8).transformed(_shift(9.0))),
    ]
    field = DistanceField.around(surfaces, band_mm=0.5, step_mm=0.2)
    random = np.random.default_rng(0)
    corners = np.concatenate([surface.triangles[:, 0] for surface in surfaces])
    points = random.choice(corners, 20_000) + random.normal(0, 0.5, (20_000, 3))
    exact = np.min([surface.distances(points) for surface in surfaces], axis=0)
    found = field.distances(points)
    assert np.isfinite(found[exact < 0.5]).all()
    assert np.abs(found - exact)[exact < 0.5].max() < 0.2 * np.sqrt(3) / 2
    smooth = (exact > 0.3) & (exact < 0.5)
    assert np.median(np.abs(found - exact)[smooth]) < 0.002
    assert ((found < 0.5) != (exact < 0.5)).mean() < 0.003


def test_the_distance_field_is_exact_at_its_corners() -> None:
    surface = Surface.from_mesh(ball(5.0, 40, 20))
    field = DistanceField.around([surface], band_mm=0.5, step_mm=0.25)
    cube = np.argwhere(field.index >= 0)[7]
    corners = np.argwhere(np.ones((9, 9, 9)))
    points = field.origin + (cube * 8 + corners) * 0.25
    exact = surface.distances(points)
    limit = 0.5 + 0.25 * np.sqrt(3)
    values = field.values[field.index[tuple(cube)]][tuple(corners.T)]
    assert np.abs(values - np.minimum(exact, limit)).max() < 1e-5


def test_the_distance_field_does_not_depend_on_workers() -> None:
    surface = Surface.from_mesh(ball(10.0, 60, 30))
    one, three = (DistanceField.around([surface], workers=workers) for workers in (1, 3))
    assert one.values.tobytes() == three.values.tobytes()
    assert np.array_equal(one.index, three.index)


def test_points_outside_the_field_are_far() -> None:
    field = DistanceField.around([Surface.from_mesh(ball(5.0, 40, 20))])
    far = np.array([[0.0, 0, 0], [100, 0, 0], [-100, 0, 0], [0, 0, 1e6], [5.0, 0, 0]])
    assert np.isinf(field.distances(far)).tolist() == [True] * 4 + [False]


def _shift(x: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix
