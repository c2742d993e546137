"""Mirrored images are told from those of a turned implant, which they nearly are."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from medcli.veriserum.geometry.biplane import DualPlane, SourceIntensifier
from medcli.veriserum.registration.gradient_matching import ImplantView
from medcli.veriserum.registration.mirrored_images import _turned, gain_by_mirroring, warn_of_mirrored
from tests.support.ray_cast_knees import MESHES, knee


def test_images_as_they_are_and_mirrored() -> None:
    """The turned pose is that of the mirrored images; only the better match says which of both pairs is real."""
    seen = knee(41, 1)
    cameras, mesh = DualPlane.from_calibration(SourceIntensifier.from_row(seen.source)), MESHES[seen.femur_id]
    assert gain_by_mirroring(ImplantView(seen.images, cameras, mesh), seen.femur, 0.35) < -0.01
    mirrored = {plane: np.ascontiguousarray(image[:, ::-1]) for plane, image in seen.images.items()}
    pose = _turned(seen.femur, mesh, cameras)
    assert gain_by_mirroring(ImplantView(mirrored, cameras, mesh), pose, 0.35) > 0.01
    alone = ImplantView({"bs": mirrored["bs"]}, cameras, mesh)
    assert gain_by_mirroring(alone, pose, 0.35) == -1, "one plane cannot tell"
    middle = np.append(mesh.bounds.mean(axis=0), 1.0)
    for camera in (cameras.bs, cameras.fs):
        there, here = (camera.project((one @ middle)[None, :3])[0] for one in (pose, seen.femur))
        assert there == pytest.approx(here * [-1, 1], abs=2)


def test_the_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert warn_of_mirrored([], "pose") == 0
        assert warn_of_mirrored([9, 4], "trial") == 2
    assert [record.getMessage()[:52] for record in caplog.records] == [
        "2 trials match better when both images are mirrored "
    ]
    assert "first id 4" in caplog.text
