"""The library of orientations: coverage, its reduction to components, and its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.veriserum.geometry.biplane import DualPlane, ImageGrid, SourceIntensifier
from medcli.veriserum.registration import orientation_library
from medcli.veriserum.registration.orientation_library import (
    beams_cross_at,
    image_features,
    load_or_build_library,
    orientations,
    simplified,
)
from tests.support.ray_cast_knees import MESHES

CAMERAS = DualPlane.from_calibration(SourceIntensifier(3, -6, 1855, -11, 1, 1855))


def test_every_orientation_is_within_12_degrees_of_one_in_the_library() -> None:
    known = orientations()
    for rotation in Rotation.random(200, rng=np.random.default_rng(0)).as_matrix():
        assert rotation_angle_deg(known.transpose(0, 2, 1) @ rotation).min() < 12


def test_a_simplified_mesh_casts_nearly_the_same_shadow() -> None:
    mesh, pose = MESHES[2], np.eye(4)
    pose[:3, 3] = beams_cross_at(CAMERAS)
    coarse, grid = simplified(mesh), ImageGrid.calibrated(256)
    assert len(coarse.faces) < 0.5 * len(mesh.faces)
    whole, simple = (CAMERAS.bs.path_length(one, pose, grid) for one in (mesh, coarse))
    assert simple.min() > -1e-3  # entries and exits of every ray balance
    assert np.count_nonzero((whole > 0) != (simple > 0)) < 0.05 * np.count_nonzero(whole)


def test_the_library_is_built_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDCLI_CACHE_DIR", str(tmp_path))
    built = []
    few = orientations(300)
    monkeypatch.setattr(orientation_library, "orientations", lambda: built.append(1) or few)
    first = load_or_build_library(MESHES[3], CAMERAS)
    (file,) = tmp_path.rglob("*.npz")
    again = load_or_build_library(MESHES[3], CAMERAS)
    assert np.array_equal(first.entries["fs"], again.entries["fs"])
    assert np.allclose(first.basis["bs"] @ first.basis["bs"].T, np.eye(len(first.basis["bs"])), atol=1e-3)
    norms = np.linalg.norm(first.entries["bs"], axis=1)
    assert norms.min() > 0.9
    assert norms.max() < 1.001
    file.write_bytes(b"damaged")
    mended = load_or_build_library(MESHES[3], CAMERAS)
    assert np.allclose(first.entries["fs"], mended.entries["fs"], atol=1e-5)
    assert len({path.name for path in tmp_path.rglob("*.npz")}) == 1
    load_or_build_library(MESHES[4], CAMERAS)
    assert len({path.name for path in tmp_path.rglob("*.npz")}) == 2


def test_features_do_not_see_the_rim_of_the_field() -> None:
    along = np.arange(512) - 255.5
    field = (np.hypot(*np.meshgrid(along, along)) < 244) * 200.0
    assert max(float(np.abs(part).max()) for part in image_features(field)) < 1e-3
