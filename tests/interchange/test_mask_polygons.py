"""Polygons that give the mask back, pixel by pixel, by two programs that are not ours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Outline

from medcli.interchange.mask_polygons import mask_polygons


def filled(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """By matplotlib: the pixels whose centre is inside one of the polygons."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    inside = [Outline(np.vstack([one, one[:1]])).contains_points(centres) for one in polygons]
    return np.any([np.zeros(len(centres), bool), *inside], axis=0).reshape(shape)


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_polygons_fill_exactly_the_mask(mask: np.ndarray) -> None:
    polygons = mask_polygons(mask)
    assert np.array_equal(filled(polygons, mask.shape), mask)
    run_lengths = pytest.importorskip("pycocotools.mask")
    if polygons:
        coded = run_lengths.frPyObjects([one.ravel().tolist() for one in polygons], *mask.shape)
        assert np.array_equal(run_lengths.decode(run_lengths.merge(coded)).astype(bool), mask)


def test_a_line_of_one_pixel_and_a_ring_survive() -> None:
    mask = np.zeros((30, 40), bool)
    np.fill_diagonal(mask[:, :30], True)
    rows, columns = np.mgrid[:30, :40]
    ring = np.abs(np.hypot(rows - 14, columns - 30) - 7) < 0.6
    assert len(mask_polygons(mask)) == 1  # one piece, though its pixels touch at corners only
    assert len(mask_polygons(ring)) == 2  # cut through its hole
    assert np.array_equal(filled(mask_polygons(mask | ring), mask.shape), mask | ring)
