"""Poses as numbers and as matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medcli.veriserum.dataset.pose_tables import matrices_of, pose_matrices, pose_numbers


def test_numbers_and_matrices_round_trip() -> None:
    numbers = np.random.default_rng(0).uniform([-50, -50, 300, -180, -80, -180], [50, 50, 500, 180, 80, 180], (4, 5, 6))
    np.testing.assert_allclose(pose_numbers(matrices_of(numbers)), numbers, atol=1e-9)
    assert pose_numbers(matrices_of(numbers[0, 0])).shape == (6,)


def test_the_rotation_about_z_comes_first() -> None:
    """Rz Rx Ry: rz rotates about the world's z for any other angles."""
    table = pd.DataFrame([[1, 2, 3, 90, 0, 0], [0, 0, 0, 90, 0, 30]], columns=["tx", "ty", "tz", "rz", "rx", "ry"])
    first, second = pose_matrices(table)
    np.testing.assert_allclose(first @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)
    np.testing.assert_allclose(second[:3, 1], first[:3, 1], atol=1e-12)
