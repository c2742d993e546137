"""The motion of trials whose motion is known, with all that can be wrong about a frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medcli.veriserum.dataset.anatomies import KIND_OF
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.kinematics.axes_guess import KnownAxes
from medcli.veriserum.kinematics.joint_coordinates import COORDINATES
from medcli.veriserum.kinematics.knee_frames import pair_frames
from medcli.veriserum.kinematics.motion import KneeMotion, knee_motion
from medcli.veriserum.kinematics.pose_rows import read_pose_rows
from tests.support import knees
from tests.veriserum.kinematics.test_joint_coordinates import slow_coordinates

NAMES = [one.name for one in COORDINATES]


def motion_of(root: Path, rows: pd.DataFrame, side: str | None = knees.SIDE, **options: Any) -> KneeMotion:
    study = VeriserumStudy(knees.write_knees(root, rows, ()))
    table, source = read_pose_rows(study, None, KIND_OF)
    sides = options.pop("implant_sides", (None, None))
    axes = {number: knees.true_axes(number, one) for number, one in zip((1, 3), sides, strict=True)}
    meshes = {number: knees.implants()[number].mesh for number in axes}
    return knee_motion(pair_frames(table, study.contents, source), KnownAxes(axes, "true", meshes), side, **options)


@pytest.fixture(scope="module")
def trials() -> list[list[Any]]:
    return knees.draw_knees(2, 8, seed=3)


def test_it_is_the_motion_that_the_trials_were_made_with(tmp_path: Path, trials: list[list[Any]]) -> None:
    found = motion_of(tmp_path, knees.pose_rows(trials), frame_rate=50)
    poses = [pose for trial in trials for pose in trial]
    axes = [knees.true_axes(number).matrix() for number in (1, 3)]
    expected = [slow_coordinates(pose.femur @ axes[0], pose.tibia @ axes[1], knees.SIDE) for pose in poses]
    np.testing.assert_allclose(found.table[NAMES], expected, atol=1e-6)
    np.testing.assert_allclose(found.table["time_s"][:8], np.arange(8) / 50)
    assert found.time_from == "--frame-rate"
    assert set(found.table["status"]) == {"good"}
    assert found.table[[f"se_{name}" for name in NAMES]].isna().all(axis=None)
    lateral = motion_of(tmp_path, knees.pose_rows(trials), "right").table
    np.testing.assert_allclose(lateral["flexion_deg"], found.table["flexion_deg"])
    np.testing.assert_allclose(lateral["adduction_deg"], -found.table["adduction_deg"], atol=1e-9)
    np.testing.assert_allclose(lateral["lateral_low_ap_mm"], found.table["medial_low_ap_mm"])


def test_standard_errors_cover_the_noise(tmp_path: Path, trials: list[list[Any]]) -> None:
    exact = motion_of(tmp_path, knees.pose_rows(trials)).table
    noisy = motion_of(tmp_path, knees.pose_rows(trials, noise=(0.1, 0.2), errors=True)).table
    names = [*NAMES, "medial_low_ap_mm", "lateral_low_height_mm"]
    apart = (noisy[names] - exact[names]).to_numpy() / noisy[[f"se_{name}" for name in names]].to_numpy()
    assert 0.7 < np.sqrt((apart**2).mean()) < 1.3


def test_sides_that_are_mixed_or_contrary(tmp_path: Path, trials: list[list[Any]]) -> None:
    rows = knees.pose_rows(trials)
    rows["side"] = np.where(rows["id"].isin([2, 3]), "R", "left")
    rows.loc[(rows["id"] == 12) & (rows["anatomy_id"] == 3), "side"] = "right"
    found = motion_of(tmp_path, rows, None)
    odd = found.table[found.table["status"] == "missing"].set_index("femur_id")["reason"]
    assert odd.index.tolist() == [2, 3, 12]
    assert odd[2] == "two sides in one trial: this frame is of a right knee, most are left"
    assert odd[12] == "the femur is of the left knee, the tibia of the right"
    assert "trial 1: poses of two sides are mixed, 2 frames are left out" in found.warnings
    assert set(found.table["side"]) >= {"left"}
    told = motion_of(tmp_path, rows, "left")
    assert set(told.table["status"]) == {"good"}
    assert "3 frames state the other side than --side left" in told.warnings[0]
    by_implant = motion_of(tmp_path, rows.drop(columns="side"), None, implant_sides=("left", "right"))
    assert set(by_implant.table["reason"]) == {"the femur is of the left knee, the tibia of the right"}
    assumed = motion_of(tmp_path, rows.drop(columns="side"), None)
    assert set(assumed.table["side"]) == {"right"}
    assert "right is assumed" in assumed.warnings[0]


def test_doubtful_frames_keep_their_numbers_and_missing_ones_their_reason(
    tmp_path: Path, trials: list[list[Any]]
) -> None:
    rows = knees.pose_rows(trials).assign(status="good")
    rows.loc[2, "status"] = "doubtful"
    rows.loc[5, "status"] = "failed"
    rows.loc[8, "tx"] += 160
    found = motion_of(tmp_path, rows).table.set_index("femur_id")
    assert found["status"].tolist()[:5] == ["good", "doubtful", "missing", "good", "doubtful"]
    assert found["reason"][2] == "femur: doubtful"
    assert found["reason"][3] == "tibia: its registration failed"
    assert found["reason"][5] == "the components are more than 150 mm apart"
    assert np.isfinite(found.loc[2, NAMES].astype(float)).all()
    assert found.loc[3, NAMES].isna().all()


def test_exchanged_components_are_noticed(tmp_path: Path, trials: list[list[Any]]) -> None:
    rows = knees.pose_rows(trials)
    rows["anatomy_id"] = rows["anatomy_id"].map({1: 3, 3: 1})
    found = motion_of(tmp_path, rows)
    assert any("are femur and tibia exchanged" in text for text in found.warnings)
    assert set(found.table["status"]) == {"doubtful"}


def test_times_of_the_table(tmp_path: Path, trials: list[list[Any]]) -> None:
    rows = knees.pose_rows(trials)
    found = motion_of(tmp_path, rows.assign(time_ms=rows["id"] * 20 + 5))
    np.testing.assert_allclose(found.table["time_s"], [*np.arange(8) * 0.02, *np.arange(8) * 0.02], atol=1e-9)
    assert (round(found.rate), found.time_from) == (50, "times of the pose table")
    by_rate = motion_of(tmp_path, rows.assign(fps=10))
    assert (by_rate.rate, by_rate.time_from) == (10, "frame rate of the pose table")
