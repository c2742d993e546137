"""Normals of clouds whose surface is known."""

from __future__ import annotations

import numpy as np

from medcli.ultrabones.reconstruction.cloud_normals import estimate_normals

RADIUS_MM = 15.0


def arcs(step_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """The upper side of a cylinder along y in frames ``step_mm`` apart, and its normals."""
    angle = np.linspace(-1.0, 1.0, 600)
    frames = np.arange(0, 40, step_mm)
    outwards = np.column_stack([np.sin(angle), np.zeros(len(angle)), np.cos(angle)])
    points = np.concatenate([RADIUS_MM * outwards + [0, y, 0] for y in frames])
    return points, np.tile(outwards, (len(frames), 1))


def worst_angle(points: np.ndarray, expected: np.ndarray) -> float:
    found = estimate_normals(points, np.tile([0.0, 0, 1], (len(points), 1)))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    return float(np.degrees(np.arccos(np.clip((found * expected).sum(axis=1), -1, 1))).max())


def test_normals_of_dense_and_sparse_frames() -> None:
    """In frames 12 mm apart the neighbours form lines; their normals lie in the image plane."""
    for step_mm, bound_deg in ((0.4, 5.0), (12.0, 20.0)):
        assert worst_angle(*arcs(step_mm)) < bound_deg


def test_normals_point_to_the_probe_from_either_side() -> None:
    points, expected = arcs(0.5)
    below = estimate_normals(points, np.tile([0.0, 0, -1], (len(points), 1)))
    assert ((below * expected).sum(axis=1) < 0).all()


def test_few_points() -> None:
    assert estimate_normals(np.empty((0, 3)), np.empty((0, 3))).shape == (0, 3)
    assert np.array_equal(estimate_normals(np.ones((2, 3)), np.array([[0.0, 0, 1]] * 2)), [[0, 0, 1]] * 2)
