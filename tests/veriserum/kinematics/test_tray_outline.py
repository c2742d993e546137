"""The outline of a tray from above: its notch, its size, and its mirror image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.spatial import ConvexHull

from medcli.veriserum.kinematics.tray_outline import tray_outline_of
from tests.support import knees


@pytest.mark.parametrize("anatomy", [3, 5, 7])
def test_the_outline_has_the_notch_of_the_tray(anatomy: int) -> None:
    mesh, axes = knees.implants()[anatomy].mesh, knees.true_axes(anatomy)
    left, right = (tray_outline_of(axes, mesh, side) for side in ("left", "right"))
    flat = (mesh.vertices - axes.matrix()[:3, 3]) @ axes.matrix()[:3, :2]
    assert np.allclose([right.min(axis=0), right.max(axis=0)], [flat.min(axis=0), flat.max(axis=0)], atol=0.15)
    area, hull = cv2.contourArea(right.astype(np.float32)), ConvexHull(flat).volume
    assert 0.8 * hull < area < 0.99 * hull
    assert cv2.contourArea(left.astype(np.float32)) == pytest.approx(area, rel=0.005)
    behind = right[np.abs(right[:, 0]) < 2, 1]
    assert behind[behind < 0].max() > right[:, 1].min() + 2, "the notch"
