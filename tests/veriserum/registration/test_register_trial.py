"""``medcli register trial``: both components through a trial, on images of the independent simulator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.veriserum.dataset.pose_tables import matrices_of
from medcli.veriserum.registration.register_trial import COLUMNS
from tests.conftest import REPOSITORY, Ran
from tests.support.ray_cast_knees import MESHES, trial
from tests.support.tracked_trial import FIRST_ID, true_pose, write_trial

FRAMES = 4
POSE = ["tx", "ty", "tz", "rz", "rx", "ry"]


@pytest.mark.deep
def test_both_components_are_tracked_drawn_and_not_tracked_twice(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    knees = trial(61, 0, FRAMES)
    knees[2].images["fs"][:] = 0  # one plane is black: this frame fails, the others go on
    root, out = write_trial(tmp_path / "study", knees), tmp_path / "trials.csv"
    femur, tibia = knees[0].femur_id, knees[0].tibia_id
    words = ["register", "trial", "--root", root, "--out", out, "--anatomies", str(femur), str(tibia)]
    ran = medcli(*words, "--overlays", tmp_path / "looks", "--json")
    result = json.loads(ran.out)
    assert ran.code == 0, ran.err
    (done,) = result["trials"]
    assert done["anatomies"] == [femur, tibia]
    assert done["statuses"]["failed"] == 2
    assert "plane fs is uniform" in done["failures"][str(FIRST_ID + 2)]
    assert result["failures"] == []
    assert f"1 frame without a pose of each component; id {FIRST_ID + 2}" in ran.err
    table = pd.read_csv(out)
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 2 * FRAMES
    for row in table[table["status"] != "failed"].to_dict("records"):
        pose, mesh = matrices_of([row[name] for name in POSE]), MESHES[row["anatomy_id"]]
        true = true_pose(knees, row["id"], row["anatomy_id"])
        middle = np.append(mesh.bounds.mean(axis=0), 1.0)
        assert np.linalg.norm((pose - true) @ middle) < 0.5
        assert rotation_angle_deg(pose[:3, :3] @ true[:3, :3].T) < 1
        assert 0 < row["se_tx_mm"] < 1
        assert row["similarity_bs"] > 0.6
        assert row["intersection_mm"] >= 0
    strip = cv2.imread(str(tmp_path / "looks" / f"trial_{FIRST_ID:06d}.png"))
    assert strip.shape[1] > 900
    video = cv2.VideoCapture(str(tmp_path / "looks" / f"trial_{FIRST_ID:06d}.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    before = out.read_bytes()
    again = medcli(*words)
    assert (again.code, out.read_bytes()) == (0, before)
    assert "existing  1" in again.out
    assert "kept as made" not in medcli(*words, "--overlays", tmp_path / "looks").err
    assert "kept as made, not drawn" in medcli(*words, "--overlays", tmp_path / "no").err
    for others, problem in ((["--smooth"], "--smooth was off, is on"), (["--planes", "bs"], "planes was bs fs, is bs")):
        refused = medcli(*words, *others)
        assert (refused.code, out.read_bytes()) == (2, before)
        assert f"was made with other options: {problem}" in refused.err
    other = medcli(*words[:-2], str(femur), str({3, 4}.difference({tibia}).pop()))
    assert other.code == 2
    assert f"has anatomies {femur} {tibia} of id {FIRST_ID}, not" in other.err


@pytest.mark.deep
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_interrupted_process_leaves_nothing_half_written(tmp_path: Path) -> None:
    knees = trial(61, 0, FRAMES)
    root, out = write_trial(tmp_path / "study", knees), tmp_path / "trials.csv"
    words = [sys.executable, "-m", "medcli", "register", "trial", "--root", str(root), "--out", str(out)]
    words += ["--anatomies", str(knees[0].femur_id), str(knees[0].tibia_id)]
    running = subprocess.Popen(
        words, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, stderr=subprocess.PIPE, text=True
    )
    time.sleep(4)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (130, "interrupted; run the same command again to resume\n")
    assert {path.name for path in tmp_path.iterdir()} == {"study"}


def test_invalid_inputs_are_reported(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    knees = trial(61, 0, 1)
    root, out = write_trial(tmp_path / "study", knees), tmp_path / "trials.csv"
    words = ["register", "trial", "--root", root, "--out", out]
    two = medcli(*words, "--anatomies", "1", "2")
    assert two.code == 2
    assert "expected a femoral" in two.err
    out.write_text("id,tx\n1,2\n")
    old = medcli(*words, "--anatomies", "1")
    assert old.code == 3
    assert "contains no tracked trials" in old.err
    assert medcli(*words[:-1], tmp_path / "x.db").code == 2
    other = medcli(*words[:-1], tmp_path / "y.csv", "--trials", "no-such-trial")
    assert other.code == 3
    assert "no trial no-such-trial" in other.err


def test_a_trial_without_any_pose_says_why_and_ends_with_4(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    knees = trial(61, 0, 1)
    knees[0].images["fs"][:] = 0
    root, out = write_trial(tmp_path / "study", knees), tmp_path / "trials.csv"
    ran = medcli("register", "trial", "--root", root, "--out", out, "--anatomies", "1", "3")
    assert ran.code == 4
    assert f"failed: id {FIRST_ID}: no pose in this trial" in ran.err
    assert "plane fs is uniform" in ran.err
    assert pd.read_csv(out)["status"].tolist() == ["failed", "failed"]
