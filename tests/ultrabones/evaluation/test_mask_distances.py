"""Distances between masks against SciPy's whole distance transform."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from medcli.ultrabones.evaluation.mask_distances import NOWHERE, column_distance, dilate, squared_distances

masks = st.integers(0, 2**32 - 1).map(
    lambda seed: (lambda r: r.random((r.integers(1, 40), r.integers(1, 40))) < r.choice([0, 0.01, 0.1, 0.5]))(
        np.random.default_rng(seed)
    )
)


@given(masks, st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_distances_equal_the_whole_distance_transform(target: np.ndarray, seed: int) -> None:
    source = np.random.default_rng(seed).random(target.shape) < 0.3
    found = squared_distances(source, target)
    if target.any():
        np.testing.assert_array_equal(np.sqrt(found), distance_transform_edt(~target)[source])
        np.testing.assert_array_equal(column_distance(target) == 0, target)
    else:
        assert (found >= NOWHERE).all()


@given(masks, st.integers(0, 7))
@settings(max_examples=100, deadline=None)
def test_dilation_is_by_a_euclidean_disk(mask: np.ndarray, radius: int) -> None:
    expected = distance_transform_edt(~mask) <= radius if mask.any() else np.zeros_like(mask)
    np.testing.assert_array_equal(dilate(mask, radius), expected)
