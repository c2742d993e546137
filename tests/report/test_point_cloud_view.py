"""Points and meshes are reduced without losing their shape."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.report.point_cloud_view import MOST_FACES, MOST_POINTS, first_view, point_cloud, read_ply, simplify
from tests.support.report_folders import reconstruction
from tests.support.solids import tube


def test_a_simplified_mesh_keeps_its_shape() -> None:
    triangles = tube(10, 60).triangles
    vertices, faces = simplify(triangles, 2000)
    assert 200 < len(faces) <= 2000
    assert len(triangles) > 20_000
    around = np.hypot(vertices[:, 0], vertices[:, 1])[np.abs(vertices[:, 2]) < 25]
    assert np.all((around > 9.5) & (around < 10.01))
    assert len(np.unique(faces)) <= len(vertices)
    assert simplify(np.empty((0, 3, 3)))[1].shape == (0, 3)


def test_the_first_view_lies_along_the_longest_extent() -> None:
    points = np.random.default_rng(1).normal(size=(500, 3)) * [1, 30, 6]
    view = first_view(points)
    assert np.allclose(view @ view.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view) == pytest.approx(1)
    assert np.ptp(points @ view[0]) > np.ptp(points @ view[1]) > np.ptp(points @ view[2])


def test_embedded_points_are_accurate_and_limited_in_number() -> None:
    points = np.random.default_rng(0).uniform(-5, 5, (30_000, 3)) + np.array([100.0, 0, 0])
    values = np.linspace(0, 1, len(points))
    cloud = point_cloud(
        points, values, 0.5, tube(4, 10).triangles + np.array([100.0, 0, 0]), ("0", "0.5"), "alt", "caption"
    )
    packed = np.frombuffer(base64.b64decode(cloud.points), "<u2").reshape(-1, 3)
    back = packed / 65535 * np.array(cloud.size_mm) + np.array(cloud.low_mm)
    assert len(back) == MOST_POINTS
    nearest = np.abs(points[:, None] - back[None, :50]).max(axis=2).min(axis=0)
    assert nearest.max() < 0.01
    assert np.frombuffer(base64.b64decode(cloud.values), "u1").max() == 255
    faces = np.frombuffer(base64.b64decode(cloud.faces), "<u2").reshape(-1, 3)
    assert 0 < len(faces) <= MOST_FACES
    assert faces.max() < len(base64.b64decode(cloud.vertices)) / 6


def test_a_point_cloud_is_read_as_it_was_written(tmp_path: Path) -> None:
    reconstruction(tmp_path, points=50)
    (path,) = tmp_path.glob("*.ply")
    points, distances = read_ply(path)
    assert points.shape == (50, 3)
    assert np.allclose(np.hypot(points[:, 0], points[:, 1]), 8, atol=1e-5)
    assert 0 <= distances.min() <= distances.max() <= 0.4
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=re.escape(str(path))):
        read_ply(path)
