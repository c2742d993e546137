"""The femoral component beside a tibial one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcli.veriserum.registration import companions
from medcli.veriserum.registration.companions import other_component
from medcli.veriserum.registration.gradient_matching import ImplantView, Refined
from medcli.veriserum.registration.pose_search import FoundPose
from medcli.veriserum.registration.start_poses import Sources, StartPoses
from tests.support.ray_cast_knees import MESHES, Knee, knee
from tests.support.tracked_trial import FIRST_ID, write_trial


@pytest.fixture(scope="module")
def seen() -> Knee:
    return knee(41, 1)


def test_the_femur_that_matches_best_is_used(seen: Knee, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_trial(tmp_path, [seen], named=[seen.tibia_id], surfaces=[1, 2, seen.tibia_id])
    starts, tried = StartPoses(Sources(root)), []
    reading = {1: 0.65, 2: 0.8}

    def search(view: ImplantView) -> FoundPose:
        anatomy = 1 if len(view.mesh.vertices) == len(MESHES[1].vertices) else 2
        tried.append(anatomy)
        refined = Refined(np.eye(4), 0.1, reading[anatomy], {}, 0.0, 0.0, 0.3, 1)
        return FoundPose(refined, 0.5, np.eye(4))

    monkeypatch.setattr(companions, "search_pose", search)
    cameras, images = starts.geometry.cameras(FIRST_ID), starts.images(FIRST_ID)
    found = other_component(starts, FIRST_ID, images, cameras)
    assert found is not None
    assert len(found.mesh.vertices) == len(MESHES[2].vertices)
    assert sorted(tried) == [1, 2]
    reading |= {1: 0.4, 2: 0.5}
    assert other_component(starts, FIRST_ID, images, cameras) is None  # no femur matches
    tried.clear()
    named = write_trial(tmp_path / "named", [seen], named=[seen.femur_id], surfaces=[seen.femur_id])
    starts = StartPoses(Sources(named))
    assert other_component(starts, FIRST_ID, images, cameras) is None  # a femur is found alone
    assert tried == []
