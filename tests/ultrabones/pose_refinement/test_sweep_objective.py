"""The smooth data term and its derivatives, and the published term of many frames at once."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.image_to_ct import image_to_ct
from medcli.ultrabones.pose_refinement import pose_optimizer
from medcli.ultrabones.pose_refinement.distance_field import DistanceField
from medcli.ultrabones.pose_refinement.refine_frame import RefineSettings, select_pixels
from medcli.ultrabones.pose_refinement.sweep_objective import BAND_MM, SweepPixels, published_terms, smooth_terms
from tests.support.solids import tube

S = 0.05392
POSE = np.array([181.2, 334.4, 1517.2, -97.2, -18.5, 123.8])


@pytest.fixture(scope="module")
def scene() -> tuple[SweepPixels, np.ndarray, DistanceField]:
    from medcli.core.rigid_transforms import rigid_transform

    mesh = tube(8.0, 20.0, 90, 11).transformed(image_to_ct(POSE) @ rigid_transform((25, 20, 0), (20, 10, 30), "xyz"))
    field = DistanceField.around([Surface.from_mesh(mesh)], BAND_MM, 0.4)
    rng = np.random.default_rng(0)
    rows, columns = (2 * rng.integers(0, limit, 4000) + 1 for limit in (400, 470))
    greys = rng.integers(10, 256, 4000)
    starts = np.array([0, 1500, 1500, 4000])
    pixels = SweepPixels(
        starts, columns.astype(np.int16), rows.astype(np.int16), greys.astype(np.uint8), np.full(3, S), np.ones(3)
    )
    return pixels, POSE + rng.uniform(-0.3, 0.3, (3, 6)), field


def test_the_published_term_is_that_of_one_frame(scene: tuple[SweepPixels, np.ndarray, DistanceField]) -> None:
    pixels, poses, field = scene
    found = published_terms(pixels, poses, np.array([True, True, False]), field)
    grey = np.zeros((405, 475))
    own = slice(0, 1500)
    grey[pixels.rows[own] // 2, pixels.columns[own] // 2] = pixels.greys[own] / 255
    kept, unique = select_pixels(grey, np.zeros(grey.shape), S, RefineSettings()), {}
    assert found[1] == found[2] == 0
    for column, row, value in zip(pixels.columns[own], pixels.rows[own], pixels.greys[own], strict=True):
        unique[(int(row), int(column))] = value  # the last of two draws of one pixel is in the image
    rows, columns = np.array(list(unique)).T
    single = SweepPixels(
        np.array([0, len(rows)]), columns.astype(np.int16), rows.astype(np.int16),
        np.array(list(unique.values()), np.uint8), np.full(1, S), np.ones(1),
    )  # fmt: skip
    expected = -pose_optimizer.objective(poses[0], poses[0], kept.points, kept.weights, *field.arrays)
    assert published_terms(single, poses[:1], np.array([True]), field)[0] == pytest.approx(expected)


@pytest.mark.parametrize("power", [1, 2])
def test_the_gradient_is_that_of_the_value(scene: tuple[SweepPixels, np.ndarray, DistanceField], power: int) -> None:
    pixels, poses, field = scene
    chosen = np.ones(3, np.bool_)
    found = smooth_terms(pixels, poses, chosen, field, power)
    assert found.value[1] == 0
    for component in range(6):
        step = np.zeros(6)
        step[component] = 1e-6
        after, before = (smooth_terms(pixels, poses + sign * step, chosen, field, power).value for sign in (1, -1))
        assert np.allclose((after - before) / 2e-6, found.gradient[:, component], rtol=1e-3, atol=5.0)
    assert (np.linalg.eigvalsh(found.curvature) > -1e-6).all()
    assert np.array_equal(smooth_terms(pixels, poses, chosen, field, power, workers=3).curvature, found.curvature)
