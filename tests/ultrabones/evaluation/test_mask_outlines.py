"""Outlines against a slow twin, written from the definition of Nikolov et al., and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from medcli.ultrabones.evaluation.mask_outlines import outline_distances
from medcli.ultrabones.evaluation.metrics import FrameComparison, surface_dice


def slow_surface_dice(one: np.ndarray, other: np.ndarray, tolerance_px: float) -> float:
    """Every corner of every pixel by itself, and whole distance transforms."""
    shape = one.shape[0] + 1, one.shape[1] + 1
    lengths = [np.zeros(shape), np.zeros(shape)]
    for mask, length in zip((one, other), lengths, strict=True):
        padded = np.pad(mask, 1)
        for row, column in np.ndindex(shape):
            window = padded[row : row + 2, column : column + 2]
            alike_side = (window[0] == window[1]).all() or (window[:, 0] == window[:, 1]).all()
            count = window.sum()
            if count in (1, 3):
                length[row, column] = np.sqrt(0.5)
            elif count == 2:
                length[row, column] = 1 if alike_side else 2 * np.sqrt(0.5)
    total = sum(length.sum() for length in lengths)
    near = 0.0
    for length, target in zip(lengths, lengths[::-1], strict=True):
        far = np.full(shape, np.inf) if not target.any() else distance_transform_edt(target == 0)
        near += length[far <= tolerance_px].sum()
    return near / total if total else np.nan


def measured(one: np.ndarray, other: np.ndarray, tolerance_px: float) -> float:
    return surface_dice(FrameComparison(one, other, 0.1, [], True), 0.1 * tolerance_px)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.2, 3.3, 9.9]))
@settings(max_examples=60, deadline=None)
def test_surface_dice_equals_its_slow_twin(seed: int, tolerance_px: float) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 30, 2))
    one, other = (random.random(shape) < random.choice([0, 0.02, 0.3, 0.9, 1]) for _ in range(2))
    expected = slow_surface_dice(one, other, tolerance_px)
    assert measured(one, other, tolerance_px) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_a_thick_band_about_a_thin_line_has_a_low_dice_and_a_high_surface_dice() -> None:
    line, band = np.zeros((60, 200), bool), np.zeros((60, 200), bool)
    line[29:31, 20:180], band[22:38, 20:180] = True, True
    assert 2 * (line & band).sum() / (line.sum() + band.sum()) == pytest.approx(2 / 9)
    assert measured(band, line, 7) == 1  # the edges of the band are 7 pixels from the line's
    assert measured(band, line, 6.9) < 0.6
    assert measured(np.roll(band, 20, axis=0), line, 7) < 0.2


def test_an_outline_is_as_long_as_the_rectangle_and_an_empty_mask_has_none() -> None:
    mask, nothing = np.zeros((12, 9), bool), np.zeros((12, 9), bool)
    mask[0:4, 3:9] = True  # at two edges of the image
    there, back = outline_distances(mask, nothing) or pytest.fail("one mask is not empty")
    assert there.lengths.sum() == pytest.approx(2 * (3 + 5) + 4 * np.sqrt(0.5))
    assert there.length_within(1000) == back.lengths.sum() == 0
    assert outline_distances(nothing, nothing) is None
