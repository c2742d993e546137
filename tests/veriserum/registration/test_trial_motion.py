"""Smoothing of a trial, and the intersection of two implants."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.core.mesh import Mesh
from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.veriserum.registration.inside_kernel import are_inside
from medcli.veriserum.registration.rigid_motion import moved
from medcli.veriserum.registration.trial_motion import Intersection, smoothed
from tests.support.ray_cast_knees import MESHES


def test_smoothing_weighs_by_the_standard_errors() -> None:
    random, middle = np.random.default_rng(0), np.array([3.0, -2, 5])
    times = np.arange(40.0)
    motion = np.stack([np.sin(times / 8), times / 10, np.cos(times / 9), times, np.sin(times / 7) * 5, 0 * times], 1)
    true = [moved(np.eye(4), one, middle) for one in motion]
    errors = np.where(times == 20, 3.0, 0.1)
    noise = random.normal(0, 1, (40, 6)) * errors[:, None]
    noisy = [moved(pose, one, middle) for pose, one in zip(true, noise, strict=True)]
    made = smoothed(times.tolist(), noisy, [np.eye(6) * error**2 for error in errors], middle)

    def off(poses: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        places = [((a - b) @ np.append(middle, 1))[:3] for a, b in zip(poses, true, strict=True)]
        angles = [rotation_angle_deg(a[:3, :3] @ b[:3, :3].T) for a, b in zip(poses, true, strict=True)]
        return np.linalg.norm(places, axis=1), np.array(angles)

    (before_mm, before_deg), (after_mm, after_deg) = off(noisy), off(made)
    assert after_mm.mean() < 0.7 * before_mm.mean()
    assert after_deg.mean() < 0.7 * before_deg.mean()
    assert after_mm[20] < 0.2 < before_mm[20]  # an uncertain frame follows its neighbours
    assert all(np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3)) for pose in made)
    assert smoothed([0, 1], noisy[:2], [np.eye(6)] * 2, middle) == noisy[:2]


def test_a_short_fast_motion_is_not_smoothed_away() -> None:
    """Generalised cross-validation takes this motion for a straight line: it moves the poses by 36 standard errors."""
    middle, error = np.zeros(3), 0.1
    path = np.array([0.0, 5.0, 20.0, 31.0, 28.0])  # degrees and millimetres
    poses = [moved(np.eye(4), np.full(6, one), middle) for one in path]
    made = smoothed([0, 1, 2, 3, 4], poses, [np.eye(6) * error**2] * 5, middle)
    away = [np.linalg.norm((a - b)[:3, 3]) for a, b in zip(made, poses, strict=True)]
    assert np.sqrt(np.mean(np.square(away)) / 3) <= 2.01 * error


def test_the_depth_of_an_intersection() -> None:
    mesh = MESHES[1]
    low, high = mesh.bounds
    apart, inside = np.eye(4), np.eye(4)
    apart[:3, 3] = 2 * (high - low)
    depth = Intersection(Mesh(mesh.vertices * 0.9, mesh.faces), mesh)
    assert depth.depth_mm(apart, np.eye(4)) == 0
    assert depth.depth_mm(inside, np.eye(4)) > 0.5
    sphere = _sphere(10)
    close = np.eye(4)
    close[0, 3] = 17
    assert Intersection(sphere, sphere).depth_mm(close, np.eye(4)) == pytest.approx(3, abs=0.3)


def test_points_inside_are_those_that_the_winding_number_says() -> None:
    points = np.random.default_rng(0).uniform(-12, 12, (300, 3))
    inside = np.zeros(300, bool)
    are_inside(points, _sphere(10).triangles, inside)
    winding = np.array([_winding_number(point, _sphere(10).triangles) for point in points[:60]])
    assert np.array_equal(inside[:60], winding > 0.5)
    assert 0 < np.count_nonzero(inside[:60]) < 60


def _winding_number(point: np.ndarray, triangles: np.ndarray) -> float:
    """Solid angle of the surface over that of a sphere (van Oosterom and Strackee 1983)."""
    a, b, c = np.moveaxis(triangles - point, 1, 0)
    la, lb, lc = (np.linalg.norm(one, axis=1) for one in (a, b, c))
    below = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
    return float(np.arctan2(np.einsum("ij,ij->i", a, np.cross(b, c)), below).sum() / (2 * np.pi))


def _sphere(radius: float) -> Mesh:
    """A closed sphere from a grid of angles."""
    polar, around = np.linspace(0.02, np.pi - 0.02, 40), np.linspace(0, 2 * np.pi, 60, endpoint=False)
    p, a = (one.ravel() for one in np.meshgrid(polar, around, indexing="ij"))
    vertices = radius * np.stack([np.cos(p), np.sin(p) * np.cos(a), np.sin(p) * np.sin(a)], axis=1)
    faces = []
    for i in range(39):
        for j in range(60):
            k = (j + 1) % 60
            faces += [[i * 60 + j, (i + 1) * 60 + j, i * 60 + k], [i * 60 + k, (i + 1) * 60 + j, (i + 1) * 60 + k]]
    for ring in (0, 39):  # both caps
        around_pole = [ring * 60 + j for j in range(60)]
        for j in range(1, 59):
            cap = [around_pole[0], around_pole[j], around_pole[j + 1]]
            faces.append(cap if ring == 0 else cap[::-1])
    mesh = Mesh(vertices, np.array(faces))
    assert mesh.is_watertight()
    return mesh if mesh.volume > 0 else Mesh(vertices, mesh.faces[:, ::-1].copy())
