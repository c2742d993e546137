"""The search for the lowest objective."""

from __future__ import annotations

import numpy as np

from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.pose_refinement import pose_optimizer
from medcli.ultrabones.pose_refinement.distance_field import DistanceField
from tests.support.solids import tube


def test_the_search_stays_within_bounds_and_finds_the_bottom_of_a_bowl() -> None:
    """With J smooth (one near pixel, no reward to gain) the marker's cost alone pulls back to the start."""
    field = DistanceField.around([Surface.from_mesh(tube(5.0, 20.0, 40, 5))])
    points, weights = np.array([[5.0, 0, 0]]), np.array([1.0])
    draws = np.random.default_rng(0).standard_normal((60, 20, 6))
    start = np.zeros(6)
    best, lowest = pose_optimizer.search(start, 0.05, 0.4, draws, points, weights, *field.arrays)
    assert np.abs(best).max() <= 0.05
    assert lowest == pose_optimizer.objective(best, start, points, weights, *field.arrays)
    assert lowest < 3.0
    assert pose_optimizer.objective(start + 0.04, start, points, weights, *field.arrays) > 100
