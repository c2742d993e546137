"""Cleaning of clouds: against distances computed one by one, and input that cannot be meant."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from medcli.core.errors import DataError, UsageError
from medcli.ultrabones.reconstruction.cleaning import LEAST_COMPANY, NEIGHBOURS, clean
from medcli.ultrabones.reconstruction.cleaning_options import Cleaning, check_cleaning
from medcli.ultrabones.reconstruction.point_cloud import thin


@pytest.fixture(scope="module")
def cloud() -> np.ndarray:
    """A dense sheet of 2,000 points, a group of 3 and 20 single ones away from it."""
    random = np.random.default_rng(0)
    sheet = np.column_stack([random.uniform(0, 30, (2000, 2)), random.normal(0, 0.1, 2000)])
    group = np.array([40.0, 40, 10]) + random.normal(0, 0.3, (3, 3))
    return np.concatenate([sheet, group, random.uniform([0, 0, 5], [30, 30, 40], (20, 3))])


def test_outliers_and_lonely_points_are_those_of_the_definition(cloud: np.ndarray) -> None:
    apart = np.sort(cdist(cloud, thin(cloud, 0.5)[0]), axis=1)
    mean = apart[:, :NEIGHBOURS].mean(axis=1)
    expected = np.flatnonzero(mean <= mean.mean() + 1.5 * mean.std())
    assert np.array_equal(clean(cloud, Cleaning(outlier_sd=1.5)), expected)
    assert len(expected) < len(cloud) - 10
    expected = np.flatnonzero(apart[:, LEAST_COMPANY] <= 2.0)
    assert np.array_equal(clean(cloud, Cleaning(radius_mm=2.0)), expected)
    assert set(expected) <= set(range(2000))


def test_a_dense_frame_is_not_its_own_company(cloud: np.ndarray) -> None:
    """A thousand pixels of one stray line within a millimetre stay lonely."""
    stray = np.array([15.0, 15, 30]) + np.linspace(0, 0.9, 1000)[:, None] * [1.0, 0, 0]
    kept = clean(np.concatenate([cloud, stray]), Cleaning(radius_mm=2.0))
    assert kept.max() < len(cloud)


def test_all_steps_together_keep_rows_in_order(cloud: np.ndarray) -> None:
    kept = clean(cloud, Cleaning(1.0, 2.0, 3.0))
    assert (np.diff(kept) > 0).all()
    assert 400 < len(kept) < len(thin(cloud, 1.0)[1]) <= 1000
    assert np.array_equal(clean(cloud, Cleaning()), np.arange(len(cloud)))
    assert clean(np.empty((0, 3)), Cleaning(1.0, 2.0, 3.0)).size == 0


@pytest.mark.parametrize(
    ("cleaning", "words"),
    [
        (Cleaning(radius_mm=0.003), "--radius-mm 0.003: within less than 0.5 mm"),
        (Cleaning(voxel_mm=0.0005), "--voxel-mm 0.0005 is far below"),
        (Cleaning(outlier_sd=-1), "--outlier-sd -1: expected a number of 0 or more"),
        (Cleaning(radius_mm=float("nan")), "--radius-mm nan: expected"),
        (Cleaning(voxel_mm=float("inf")), "--voxel-mm inf: expected"),
    ],
)
def test_numbers_that_cannot_be_meant(cleaning: Cleaning, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_cleaning(cleaning)


def test_points_that_are_not_finite_or_all_dropped(cloud: np.ndarray) -> None:
    bad = cloud.copy()
    bad[[3, 7]] = np.nan
    with pytest.raises(DataError, match="2 points of the cloud are not finite"):
        clean(bad, Cleaning())
    with pytest.raises(DataError, match="leaves none of 4 points"):
        clean(np.eye(4, 3) * 50, Cleaning(radius_mm=2.0))
