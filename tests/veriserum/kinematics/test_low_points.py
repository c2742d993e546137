"""Low points of condyles whose lowest places are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medcli.veriserum.kinematics.low_points import as_columns, find_low_points, rolled

MAJOR, MINOR = 12.0, 20.0
CENTRES = np.array([[-22.0, 3.0, 0.0], [25.0, -2.0, 1.0]])


def tori(spacing_mm: float = 1.5) -> np.ndarray:
    """Vertices of two condyles: outer halves of tori about the medio-lateral axis, radii 20 and 32 mm below."""
    tube = np.linspace(-np.pi / 2, np.pi / 2, round(np.pi * MINOR / spacing_mm))
    around = np.linspace(0, 2 * np.pi, round(2 * np.pi * (MAJOR + MINOR) / spacing_mm), endpoint=False)
    a, b = np.meshgrid(tube, around + 0.01, indexing="ij")
    reach = MAJOR + MINOR * np.cos(a)
    one = np.stack([MINOR * np.sin(a), reach * np.sin(b), reach * np.cos(b)], axis=-1).reshape(-1, 3)
    return np.concatenate([one + centre for centre in CENTRES])


def lowest_of_torus(centre: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Where a plane perpendicular to z touches it: along the tray's normal in the torus's own frame."""
    down = pose[:3, :3].T @ np.array([0, 0, -1.0])
    ring = np.array([0, down[1], down[2]]) / np.hypot(down[1], down[2])
    return pose[:3, :3] @ (centre + MAJOR * ring + MINOR * down) + pose[:3, 3]


def poses(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    found = np.broadcast_to(np.eye(4), (count, 4, 4)).copy()
    angles = np.stack([random.uniform(-100, 20, count), *random.uniform(-6, 6, (2, count))], axis=1)
    found[:, :3, :3] = Rotation.from_euler("XYZ", angles, degrees=True).as_matrix()
    found[:, :3, 3] = random.uniform([-10, -10, 30], [10, 10, 50], (count, 3))
    return found


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_low_points_are_between_the_vertices(side: float) -> None:
    vertices, places = tori(), poses(40)
    places[7] = np.nan
    found = find_low_points(places, vertices, vertices[:, 0], np.full(40, side))
    medial, lateral = (0, 1) if side > 0 else (1, 0)  # right of a right knee is lateral
    expected = np.array([[lowest_of_torus(CENTRES[i], pose) for i in (medial, lateral)] for pose in places])
    known = np.arange(40) != 7
    assert np.isnan(found.places[7]).all()
    errors = np.abs(found.places - expected)[known]
    assert errors[..., 2].max() < 0.03, "height"
    assert np.sqrt((errors[..., :2] ** 2).mean(axis=(0, 1))).max() < 0.1, "along the tray; vertices are 1.5 mm apart"
    columns = as_columns(found.places, np.full(40, side))
    np.testing.assert_allclose(columns[known, 0], found.places[known, 0, 1])
    assert (columns[known, 1] < 0).all(), "medial is negative, lateral positive, for both sides"
    assert (columns[known, 4] > 0).all()


def test_a_displaced_condyle_rolls_as_its_curvature_says() -> None:
    """Compared with finding the low points again in the displaced pose."""
    vertices, places = tori(0.8), poses(6, seed=2)
    low = find_low_points(places, vertices, vertices[:, 0], np.ones(6))
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_euler("XYZ", [1.5, -1, 2], degrees=True).as_matrix()
    tilt[:3, 3] = [0.3, -0.4, 0.2]
    again = find_low_points(tilt @ places, vertices, vertices[:, 0], np.ones(6))
    found = rolled(low, np.broadcast_to(tilt, (1, 6, 4, 4)))[0]
    np.testing.assert_allclose(found[..., 2], again.places[..., 2], atol=0.03)
    np.testing.assert_allclose(found[..., :2], again.places[..., :2], atol=0.25)
    assert np.abs(again.places - low.places)[..., 1].max() > 0.5, "they did move"


def test_an_edge_is_its_own_low_point() -> None:
    x, y = np.meshgrid(np.linspace(1, 30, 30), np.linspace(-20, 20, 41))
    plate = np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("x", 10, degrees=True).as_matrix()
    found = find_low_points(pose[None], plate, plate[:, 0], np.ones(1))
    assert np.isnan(found.places[0, 0]).all(), "no vertex on the medial side"
    np.testing.assert_allclose(found.places[0, 1, 1:], pose[1:3, :3] @ [0, -20, 0], atol=1e-9)
    assert not found.stiffness.any()
