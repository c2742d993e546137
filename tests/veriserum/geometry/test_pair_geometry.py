"""Cameras and implants by pose id, and poses between frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import DataError
from medcli.core.mesh import write_stl
from medcli.synthetic.fluoroscopy.implants import make_implants
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.geometry.biplane import PoseFrame
from medcli.veriserum.geometry.pair_geometry import PairGeometry
from tests.support.made_veriserum import write_study


@pytest.fixture
def study(tmp_path: Path) -> VeriserumStudy:
    """The sources of calibration 1 and the surface of anatomy 3 are known."""
    root = write_study(tmp_path / "study", [3], [1])
    write_stl(make_implants()[2].mesh, root / "ana_000003.stl")
    return VeriserumStudy(root)


POSES = pd.DataFrame(
    {"anatomy_id": [3, 4, None, 3], "source_int_calibration_id": [1, 2, 1, 1.5]},
    index=pd.Index([7, 8, 9, 10], name="id"),
)


def test_known_geometry_is_returned_and_unknown_is_reported(study: VeriserumStudy) -> None:
    geometry = PairGeometry(study, POSES)
    assert geometry.cameras(7) is geometry.cameras(9)
    assert geometry.cameras(7).bs.distance_mm == 1800
    assert geometry.implant(7) is geometry.implant(10)
    for ask, number, expected in (
        (geometry.cameras, 8, "source-intensifier calibration 2 is not in source_int_calibration_reloaded.csv"),
        (geometry.cameras, 10, "source_int_calibration_id is unknown"),
        (geometry.cameras, 11, "source_int_calibration_id is unknown"),
        (geometry.implant, 8, "no surface of anatomy 4"),
        (geometry.implant, 9, "anatomy_id is unknown"),
    ):
        with pytest.raises(DataError, match=expected):
            ask(number)


@pytest.mark.parametrize("frame", list(PoseFrame))
def test_poses_round_trip_through_the_world(study: VeriserumStudy, frame: PoseFrame) -> None:
    geometry, pose = PairGeometry(study, POSES, frame=frame), np.eye(4)
    pose[:3, 3] = [1, 2, 300]
    (world,) = geometry.to_world(np.array([7]), pose[None])
    assert np.allclose(world, geometry.cameras(7).frame_to_world(frame) @ pose)
    assert np.allclose(geometry.from_world(7, world), pose)


def test_a_frame_needs_the_calibration(study: VeriserumStudy) -> None:
    poses = np.stack([np.eye(4)])
    assert np.array_equal(PairGeometry(study, POSES).to_world(np.array([10]), poses), poses)
    with pytest.raises(DataError, match="pair 10 in frame fs: source_int_calibration_id is unknown"):
        PairGeometry(study, POSES, frame=PoseFrame.FS).to_world(np.array([10]), poses)
