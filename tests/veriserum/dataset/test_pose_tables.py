"""Poses as numbers and as matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medcli.veriserum.dataset.pose_tables import matrices_of, pose_matrices, pose_numbers, unit_problem

POSES = np.array([[3.0, -8, 381, 20, 5, 80], [4, -9, 380, 25, 4, 85], [5, -9, 379, -170, 3, 88]])
METRES = POSES * np.array([1e-3, 1e-3, 1e-3, 1, 1, 1])
RADIANS = POSES * np.array([1, 1, 1, *[np.pi / 180] * 3])


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


@pytest.mark.parametrize(
    ("poses", "words"),
    [
        (METRES, ["metres"]),
        (METRES * np.array([100, 100, 100, 1, 1, 1]), ["centimetres"]),
        (RADIANS, ["radians"]),
        (METRES * RADIANS / POSES, ["metres", "radians"]),
        (POSES, []),
        (RADIANS[:2], []),
        (np.vstack([RADIANS, [0, 0, 0, np.nan, 0, 0]]), ["radians"]),
        (POSES * np.array([1, 1, 1, 0, 0, 0]), []),
    ],
)
def test_radians_and_metres_are_recognised(poses: np.ndarray, words: list[str]) -> None:
    found = unit_problem(poses)
    assert [word for word in ("metres", "centimetres", "radians") if f"look like {word}" in found] == words
    assert bool(found) == bool(words)
