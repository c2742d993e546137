"""The distance field against exact distances."""

from __future__ import annotations

import numpy as np

from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.pose_refinement.distance_field import DistanceField
from tests.support.solids import ball, tube


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
