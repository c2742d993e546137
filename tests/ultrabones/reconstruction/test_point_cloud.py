"""Point clouds: thinning, distances and samples."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.reconstruction import point_cloud
from medcli.ultrabones.reconstruction.point_cloud import (
    published_distance,
    sample_surface,
    seen_share,
    surface_distances,
    thin,
)
from tests.support.solids import ball, brute_distances


def test_thinning_keeps_the_first_point_of_each_voxel() -> None:
    points = np.random.default_rng(0).uniform(0, 5, (2000, 3))
    kept, rows = thin(points, 1.0)
    cells = [tuple(cell) for cell in np.floor(points - points.min(axis=0)).astype(int)]
    assert rows.tolist() == sorted({cell: row for row, cell in reversed(list(enumerate(cells)))}.values())
    assert np.array_equal(kept, points[rows])
    assert np.array_equal(thin(points, 0.0)[0], points)


def test_distances_of_a_cloud_equal_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point_cloud, "_PER_TASK", 37)
    meshes = [ball(5.0, 12, 7), ball(3.0, 9, 5)]
    points = np.random.default_rng(0).uniform(-8, 8, (200, 3))
    expected = np.min([brute_distances(points, mesh.triangles) for mesh in meshes], axis=0)
    found = surface_distances(points, [Surface.from_mesh(mesh) for mesh in meshes], workers=2)
    assert np.abs(found - expected).max() < 1e-9


def test_samples_lie_evenly_on_the_surface() -> None:
    surface = Surface.from_mesh(ball(10.0, 60, 30))
    samples = sample_surface(surface, 20_000, 0)
    assert surface.distances(samples).max() < 1e-9
    upper = (samples[:, 2] > 5).mean()  # a cap of a quarter of the area
    assert upper == pytest.approx(0.25, abs=0.01)
    assert published_distance(samples[:100] * 1.2, [surface]) == pytest.approx(2.0, abs=0.05)


def test_the_seen_share_is_an_area() -> None:
    surface = Surface.from_mesh(ball(10.0, 60, 30))
    samples = sample_surface(surface, 60_000, 1)
    assert seen_share(surface, samples[samples[:, 2] > 0], within_mm=0.2) == pytest.approx(0.5, abs=0.02)
    assert seen_share(surface, np.empty((0, 3))) == 0
