"""Bounded distances to a mask against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medcli.veriserum.registration.distance_kernel import bounded_squared_distances


@pytest.mark.parametrize("share", [0.002, 0.05, 1.0])
def test_distances_are_exact_up_to_the_reach_and_larger_beyond(share: float) -> None:
    reach, seen = 6, np.random.default_rng(3).uniform(size=(40, 57)) < share
    along, squares = np.empty(seen.shape, np.int64), np.empty(seen.shape, np.int64)
    bounded_squared_distances(seen, reach, along, squares)
    expected = ndimage.distance_transform_edt(~seen)
    near = expected <= reach
    np.testing.assert_array_equal(squares[near], np.round(expected[near] ** 2))
    assert (squares[~near] > reach**2).all()
