"""Errors of poses with known answers, and the implant's outline against its silhouette."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from medcli.core.rigid_transforms import VERISERUM_EULER, invert_rigid, rigid_transform
from medcli.synthetic.fluoroscopy.implants import make_implants
from medcli.veriserum.dataset.anatomies import anatomy_ids
from medcli.veriserum.dataset.implant_surfaces import Implant
from medcli.veriserum.geometry.biplane import DualPlane, ImageGrid, InterPlane, SourceIntensifier
from medcli.veriserum.pose.metrics import (
    POSE_MEASURES,
    SIGNED,
    PoseComparison,
    outline_error_mm,
    pose_errors,
    summarise_errors,
)

CAMERAS = DualPlane.from_calibration(SourceIntensifier(3.0, -5.0, 1850.0, -4.0, 2.0, 1840.0))
POSE = rigid_transform([5.0, -8.0, 400.0], [20.0, -15.0, 95.0], VERISERUM_EULER)


@pytest.fixture(scope="module")
def implant() -> Implant:
    return Implant(make_implants()[0].mesh)


def moved(by_mm: list[float], by_deg: list[float]) -> NDArray[np.float64]:
    """POSE with an error of translation, and rotated in place about the world's axes."""
    change = rigid_transform([0, 0, 0], by_deg, VERISERUM_EULER)
    pose = POSE.copy()
    pose[:3, :3] = change[:3, :3] @ POSE[:3, :3]
    pose[:3, 3] += by_mm
    return pose


def test_translation_is_decomposed_by_plane() -> None:
    planes = InterPlane()
    along_bs, along_fs = 7.0 * planes.bs.normal, 7.0 * planes.fs.normal
    estimates = np.stack(
        [moved(list(along_bs), [0, 0, 0]), moved(list(along_fs), [0, 0, 0]), moved([3, -4, 0], [0, 0, 0])]
    )
    errors = pose_errors(PoseComparison(estimates, np.stack([POSE] * 3)))
    assert errors["in_plane_bs_mm"].tolist() == pytest.approx([0, 7 * math.sin(math.radians(70)), 5], abs=1e-9)
    assert errors["out_of_plane_bs_mm"].tolist() == pytest.approx([7, 7 * math.cos(math.radians(70)), 0], abs=1e-9)
    assert errors["out_of_plane_fs_mm"][1] == pytest.approx(7)
    assert errors["in_plane_fs_mm"][1] == pytest.approx(0, abs=1e-9)
    assert (errors["x_mm"][2], errors["y_mm"][2], errors["distance_mm"][2]) == pytest.approx((3, 4, 5))
    assert errors["rotation_deg"].tolist() == pytest.approx([0, 0, 0], abs=1e-6)


@pytest.mark.parametrize("angle", [0.5, 30.0, 179.0])
def test_rotation_is_the_geodesic_angle(angle: float) -> None:
    errors = pose_errors(PoseComparison(moved([0, 0, 0], [angle, 0, 0])[None], POSE[None]))
    assert errors["rotation_deg"][0] == pytest.approx(angle)
    assert errors["rz_deg"][0] == pytest.approx(angle)  # intrinsic z comes first, so about the world's z
    assert errors["rx_deg"][0] == pytest.approx(0, abs=1e-6)


def test_euler_angle_differences_are_at_most_180_degrees() -> None:
    one, other = (rigid_transform([0, 0, 0], [angle, 10.0, 20.0], VERISERUM_EULER)[None] for angle in (179.0, -179.0))
    assert pose_errors(PoseComparison(one, other))["rz_deg"][0] == pytest.approx(2)


def test_outline_is_on_the_rim_of_the_silhouette(implant: Implant) -> None:
    """Every point of the outer rim is near an outline point, and no outline point is outside of the silhouette."""
    grid = ImageGrid.calibrated(1600)
    for camera in (CAMERAS.bs, CAMERAS.fs):
        seen = camera.silhouette(implant.mesh, POSE, grid).astype(np.uint8)
        source = (invert_rigid(POSE) @ np.append(camera.source_mm, 1))[:3]
        points = implant.outline(source)
        pixels = grid.to_pixels(camera.project(points @ POSE[:3, :3].T + POSE[:3, 3]))
        far_outside = cv2.distanceTransform(1 - seen, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        column, row = np.rint(pixels).astype(int).T
        assert far_outside[row, column].max() < 2
        rim = max(cv2.findContours(seen, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)[:, 0]
        gaps = np.sqrt(((rim[:, None] - pixels[None]) ** 2).sum(axis=2)).min(axis=1)
        assert np.percentile(gaps, 95) < 8  # vertices of the mesh are 1 to 2 mm apart; a pixel is 0.225 mm


def test_outline_error_of_known_movements(implant: Implant) -> None:
    assert outline_error_mm(implant, CAMERAS.bs, POSE, POSE) == 0
    magnification = 1850 / (1850 - 400)
    beside = outline_error_mm(implant, CAMERAS.bs, moved([2.0, 0, 0], [0, 0, 0]), POSE)
    assert beside == pytest.approx(2 * magnification, rel=0.03)
    deeper = outline_error_mm(implant, CAMERAS.bs, moved([0, 0, 2.0], [0, 0, 0]), POSE)
    assert deeper < 0.1 * beside  # one plane is hardly sensitive to depth
    assert outline_error_mm(implant, CAMERAS.fs, moved([0, 0, 2.0], [0, 0, 0]), POSE) > 0.8 * beside


def test_summary_and_unknown_implants(implant: Implant) -> None:
    poses = np.stack([moved([i, 0, 0], [0, 0, 0]) for i in range(1, 11)])
    errors = pose_errors(PoseComparison(poses, np.stack([POSE] * 10), [implant] * 9 + [None], [CAMERAS] * 10))
    found = summarise_errors(errors)
    names = [measure.name for measure in POSE_MEASURES]
    assert (list(found), list(errors)) == (names, [*names, *SIGNED])
    assert (found["x_mm"].mean, found["x_mm"].median) == pytest.approx((5.5, 5.5))
    assert found["x_mm"].p90 == pytest.approx(9.1)
    assert (found["x_mm"].pairs, found["outline_bs_mm"].pairs) == (10, 9)
    assert math.isnan(summarise_errors(errors.iloc[9:])["outline_fs_mm"].mean)


def test_anatomies_by_kind_and_number() -> None:
    assert anatomy_ids("femur") == (1, 2)
    assert anatomy_ids("Tibia") == (3, 4, 5, 6, 7)
    assert anatomy_ids("4") == (4,)
