"""Surfaces through clouds of a known shape."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.core.errors import DataError, MedcliError
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.reconstruction import cleaning_options
from medcli.ultrabones.reconstruction.bone_shell import make_shell, measure_shell
from tests.support.solids import ball

RADIUS_MM = 12.0


@pytest.fixture(scope="module")
def cap() -> tuple[np.ndarray, np.ndarray, Surface]:
    """The upper part of a ball as a one-sided view shows it, its normals, and the whole ball as CT."""
    normals = np.random.default_rng(0).normal(size=(20_000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals[normals[:, 2] > -0.2]
    points = RADIUS_MM * normals + np.random.default_rng(1).normal(0, 0.1, normals.shape)
    return points, normals, Surface.from_mesh(ball(RADIUS_MM, 90, 45), "ball")


def test_an_open_surface_is_where_points_are(cap: tuple[np.ndarray, np.ndarray, Surface]) -> None:
    points, normals, bone = cap
    mesh = make_shell(points, normals, "open")
    fit = measure_shell(mesh, "open", "x.stl", points, [bone], 0)
    assert fit.to_ct.percentile_95 < 0.25
    assert fit.from_ct is not None
    assert fit.from_ct.mean < 0.12
    assert fit.from_ct_all_mm > 1.0  # the lower side is not there
    assert mesh.vertices[mesh.faces][:, :, 2].min() > -0.2 * RADIUS_MM - 1.5
    corners = mesh.triangles
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((across * corners.mean(axis=1)).sum(axis=1) > 0).mean() > 0.99  # faces look outwards


def test_a_watertight_surface_closes_the_side_that_was_not_seen(cap: tuple[np.ndarray, np.ndarray, Surface]) -> None:
    points, normals, bone = cap
    mesh = make_shell(points, normals, "watertight")
    assert mesh.is_watertight()
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3, rel=0.25)
    fit = measure_shell(mesh, "watertight", "x.stl", points, [bone], 0)
    assert fit.from_ct is not None
    assert fit.from_ct.percentile_95 < 0.5
    assert fit.to_ct.median < 0.25  # the lower side is a guess: flat, up to half the radius off


def test_clouds_without_a_surface() -> None:
    with pytest.raises(DataError, match="a surface needs 50 points"):
        make_shell(np.zeros((500, 3)), np.tile([0.0, 0, 1], (500, 1)), "open")
    far = np.random.default_rng(0).uniform(0, 9000, (200, 3))
    with pytest.raises(DataError, match="too large for a surface"):
        make_shell(far, np.tile([0.0, 0, 1], (200, 1)), "open")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning_options.importlib.util, "find_spec", lambda _: None)
    cleaning_options.check_surface_extra(None)
    with pytest.raises(MedcliError, match="needs scikit-image") as caught:
        cleaning_options.check_surface_extra("open")
    assert "medcli[surface]" in (caught.value.hint or "")
