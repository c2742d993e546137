"""Radians and metres are recognised; the poses of knees in degrees and millimetres are not."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.veriserum.dataset.pose_units import unit_problem

POSES = np.array([[3.0, -8, 381, 20, 5, 80], [4, -9, 380, 25, 4, 85], [5, -9, 379, -170, 3, 88]])
METRES = POSES * np.array([1e-3, 1e-3, 1e-3, 1, 1, 1])
RADIANS = POSES * np.array([1, 1, 1, *[np.pi / 180] * 3])


@pytest.mark.parametrize(
    ("poses", "words"),
    [
        (METRES, ["metres"]),
        (RADIANS, ["radians"]),
        (METRES * RADIANS / POSES, ["metres", "radians"]),
        (POSES, []),
        (RADIANS[:2], []),
        (np.vstack([RADIANS, [0, 0, 0, np.nan, 0, 0]]), ["radians"]),
        (POSES * np.array([1, 1, 1, 0, 0, 0]), []),
    ],
)
def test_units(poses: np.ndarray, words: list[str]) -> None:
    found = unit_problem(poses)
    assert [word for word in ("metres", "radians") if f"look like {word}" in found] == words
    assert bool(found) == bool(words)
