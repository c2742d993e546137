"""The plain label rules on shapes with known sections."""

from __future__ import annotations

import numpy as np

from medcli.synthetic.ultrasound.label_rules import (
    analytic_full_label,
    analytic_partial_label,
    segment_distance_squared,
)


def test_distance_to_triangles_equals_dense_sampling() -> None:
    random = np.random.default_rng(0)
    triangles = random.normal(size=(40, 3, 3))
    points = random.normal(size=(40, 3)) * 1.5
    u, v = np.meshgrid(np.linspace(0, 1, 400), np.linspace(0, 1, 400))
    weights = np.stack([1 - u, u * (1 - v), u * v], axis=-1).reshape(-1, 3)
    sampled = [np.linalg.norm(weights @ t - p, axis=1).min() for t, p in zip(triangles, points, strict=True)]
    exact = np.sqrt(segment_distance_squared(points, triangles))
    assert np.all(exact <= np.array(sampled) + 1e-12)
    np.testing.assert_allclose(exact, sampled, atol=2e-2)


def test_full_label_of_a_plane_is_a_band() -> None:
    """A wall across the image at x = 5 mm: the label is where |x - 5| < 0.1, whatever the tilt of the rest."""
    wall = np.array([[[5, -50, -9], [5, 50, -9], [5, 0, 90]]], float)
    label = analytic_full_label(wall, 0.05, (20, 200))
    centres = (np.arange(200) + 0.5) * 0.05
    np.testing.assert_array_equal(label > 0, np.broadcast_to(np.abs(centres - 5) < 0.1, (20, 200)))


def test_partial_label_is_the_first_run_of_each_column() -> None:
    full = np.array([[0, 255, 0], [255, 255, 0], [0, 0, 0], [255, 255, 0]], np.uint8)
    np.testing.assert_array_equal(
        analytic_partial_label(full), np.array([[0, 255, 0], [255, 255, 0], [0, 0, 0], [0, 0, 0]], np.uint8)
    )
