"""``medcli register pose``: inputs, results and failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import UsageError
from medcli.synthetic.fluoroscopy.dataset import SyntheticVeriserum
from medcli.veriserum.geometry.biplane import PoseFrame
from medcli.veriserum.registration import register
from medcli.veriserum.registration.gradient_matching import ImplantView, refine
from medcli.veriserum.registration.pose_search import FoundPose
from medcli.veriserum.registration.register import _REPORT_COLUMNS, register_poses
from medcli.veriserum.registration.resolution_levels import LOG_LEVELS
from medcli.veriserum.registration.start_poses import Sources, StartPoses
from tests.conftest import Ran
from tests.support.known_poses import errors, shaken

PAIRS = 3
POSE = ["tx", "ty", "tz", "rz", "rx", "ry"]


@pytest.fixture
def start(study: SyntheticVeriserum, tmp_path: Path) -> Path:
    """Perturbed start poses: only id and pose, the rest is in the study's pose table."""
    table = pd.read_csv(study.root / "csv_files" / "veriserum_pose_reloaded_refined_all.csv")
    generator = np.random.default_rng(4)
    table[POSE] += generator.uniform(-3, 3, (len(table), 6))
    table[["id", *POSE]].to_csv(tmp_path / "start.csv", index=False)
    return tmp_path / "start.csv"


def test_register_writes_poses_and_does_nothing_twice(
    medcli: Callable[..., Ran], study: SyntheticVeriserum, start: Path, tmp_path: Path
) -> None:
    out, overlays = tmp_path / "poses.csv", tmp_path / "overlays"
    words = ("register", "pose", "--root", study.root, "--start", start, "--out", out)
    ran = medcli(*words, "--overlays", overlays, "--workers", "2", "--json")
    result = json.loads(ran.out)
    assert (ran.code, result["done"], result["failures"]) == (0, PAIRS, [])
    table = pd.read_csv(out).set_index("id")
    truth = pd.read_csv(study.root / "csv_files" / "veriserum_pose_reloaded_refined_all.csv").set_index("id")
    assert np.abs(table[["tx", "ty", "tz"]] - truth[["tx", "ty", "tz"]]).to_numpy().max() < 0.5
    assert (table["anatomy_id"] == truth["anatomy_id"]).all()
    assert (table["similarity_after"] > table["similarity_before"] + 0.1).all()
    begin = pd.read_csv(start).set_index("id")
    assert np.allclose(table[[f"start_{name}" for name in POSE]], begin[POSE], atol=1e-4)
    assert sorted(path.name for path in overlays.iterdir()) == [f"register_{n:06d}.png" for n in range(1, PAIRS + 1)]
    assert cv2.imread(str(overlays / "register_000001.png")).shape == (640, 1280, 3)
    before = out.read_bytes()
    again = medcli(*words)
    assert (again.code, out.read_bytes()) == (0, before)
    assert f"existing  {PAIRS}" in again.out
    for others, problem in (
        (["--pose-frame", "fs"], "frame was world, is fs"),
        (["--planes", "bs"], "planes was bs fs, is bs"),
        (["--start", "table"], "start was"),
        (["--no-search"], "--search was on, is off"),
        (["--least-similarity", "0.99"], "least_similarity was 0.5, is 0.99"),
    ):
        refused = medcli(*words, *others)
        assert (refused.code, out.read_bytes()) == (2, before), others
        assert f"{out} was made with other options: {problem}" in refused.err
    assert json.loads((tmp_path / "poses.medcli-run.json").read_text("utf-8"))["settings"]["frame"] == "world"


def test_a_table_whose_run_was_killed_says_what_it_was_made_with(
    study: SyntheticVeriserum, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write = tmp_path / "poses.csv", register.write_result_rows

    def killed(*words: object) -> None:
        write(*words)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(register, "write_result_rows", killed)
    with pytest.raises(KeyboardInterrupt):
        register_poses(Sources(study.root, start), out, ids=[(1, 1)])
    monkeypatch.setattr(register, "write_result_rows", write)
    with pytest.raises(UsageError, match="frame was world, is fs"):
        register_poses(Sources(study.root, start, frame=PoseFrame.FS), out, ids=[(2, 2)])
    assert register_poses(Sources(study.root, start), out, ids=[(1, 1)]).skipped == 1


@pytest.mark.deep
def test_the_same_bytes_with_any_number_of_workers_and_after_a_stop(
    study: SyntheticVeriserum, start: Path, tmp_path: Path
) -> None:
    sources = Sources(study.root, start)
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    register_poses(sources, whole, ids=[(1, 2)], workers=3)
    register_poses(sources, parts, ids=[(2, 2)], workers=1)
    assert register_poses(sources, parts, ids=[(1, 2)], workers=1).skipped == 1
    assert parts.read_bytes() == whole.read_bytes()


def test_calibrated_images_are_preferred(medcli: Callable[..., Ran], study: SyntheticVeriserum, tmp_path: Path) -> None:
    folder = tmp_path / "calibrated"
    medcli("calibrate", "veriserum", "--root", study.root, "--out", folder, "--ids", "1")
    starts = StartPoses(Sources(study.root, calibrated=folder))
    published = cv2.imread(str(folder / "calibrated_bs_000001.jpg"), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(starts.images(1)["bs"], published)
    made = starts.images(2)["bs"]
    assert made.shape == (512, 512)
    begin = shaken(study.study, 1, np.random.default_rng(3), 3.0)
    found = refine(ImplantView(starts.images(1), starts.geometry.cameras(1), starts.geometry.implant(1).mesh), begin)
    away, angle = errors(study.study, 1, found.pose)
    assert np.all(np.abs(away) < 0.3)
    assert angle < 0.6


def test_one_pair_fails_and_the_others_continue(
    medcli: Callable[..., Ran], study: SyntheticVeriserum, tmp_path: Path
) -> None:
    table = pd.read_csv(study.root / "csv_files" / "veriserum_pose_reloaded_refined_all.csv")
    rows = pd.concat([table, table.iloc[[0]].assign(id=77)])
    rows.loc[rows["id"] == 2, ["tx", "rz"]] += [60, 70]  # too far away to converge
    rows.loc[rows["id"] == 3, "anatomy_id"] = 99
    rows.to_csv(tmp_path / "start.csv", index=False)
    out = tmp_path / "poses.csv"
    words = ("register", "pose", "--root", study.root, "--start", tmp_path / "start.csv", "--out", out)
    ran = medcli(*words, "--ids", "1-100", "--no-search", "--json")
    result = json.loads(ran.out)
    reasons = {failure["id"]: failure["reason"] for failure in result["failures"]}
    assert (ran.code, result["done"]) == (4, 1)
    assert "similarity" in reasons[2]
    assert "expected ana_000099.stl" in reasons[3]
    assert "bs_000077 is missing" in reasons[77]
    assert pd.read_csv(out)["id"].tolist() == [1]


def test_invalid_inputs_are_reported(
    medcli: Callable[..., Ran], study: SyntheticVeriserum, start: Path, tmp_path: Path
) -> None:
    out = tmp_path / "poses.csv"
    words = ("register", "pose", "--root", study.root, "--start", start, "--out", out)
    none = medcli(*words, "--anatomy", "55")
    assert none.code == 3
    assert "no start pose is of anatomy 55; there are: " in none.err
    none = medcli("register", "pose", "--root", study.root, "--ids", "900", "--out", out)
    assert (none.code, "no row of the pose table has one of these ids" in none.err, "--start" in none.err) == (
        3,
        True,
        False,
    )
    out.write_text("a,b\n1,2\n")
    wrong = medcli(*words)
    assert wrong.code == 3
    assert "contains no registered poses" in wrong.err
    assert medcli("register", "pose", "--root", study.root, "--out", tmp_path / "x.db").code == 2
    alone = medcli("register", "pose", "--root", study.root, "--no-search", "--out", tmp_path / "new.csv")
    assert (alone.code, "none are given" in alone.err) == (2, True)


def test_the_search_after_a_poor_start_is_counted_and_measured_from_the_given_start(
    study: SyntheticVeriserum, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search itself, which takes long, is replaced by one that finds the true pose."""
    table = pd.read_csv(study.root / "csv_files" / "veriserum_pose_reloaded_refined_all.csv").set_index("id")
    begin = table.loc[[1], POSE].assign(tx=table.loc[1, "tx"] + 40, rz=table.loc[1, "rz"] + 70)
    begin.to_csv(tmp_path / "start.csv")
    true = StartPoses(Sources(study.root)).pose(1)

    def search(view: ImplantView) -> FoundPose:
        return FoundPose(refine(view.in_logarithms(), true, LOG_LEVELS[2:]), 0.2, true)

    monkeypatch.setattr(register, "search_pose", search)
    monkeypatch.setattr(register, "other_component", lambda *_: None)
    result = register_poses(Sources(study.root, tmp_path / "start.csv"), tmp_path / "poses.csv", ids=[(1, 1)])
    (found,) = result.poses
    assert (result.searched, found.method, found.matches_mirrored) == (1, "search", False)
    assert [found.start[name] for name in POSE] == pytest.approx(begin.iloc[0].tolist(), abs=1e-4)
    assert found.displacement_mm > 10, "not that of the search's own last step"
    assert found.rotation_deg == pytest.approx(70, abs=3)
    assert found.similarity_before < 0.5 < found.similarity_after


def test_a_table_with_the_other_component_of_a_pair_is_refused(
    medcli: Callable[..., Ran], study: SyntheticVeriserum, start: Path, tmp_path: Path
) -> None:
    """Else its rows pass for poses that are there."""
    rows = pd.read_csv(study.root / "csv_files" / "veriserum_pose_reloaded_refined_all.csv")
    other = rows.assign(anatomy_id=rows["anatomy_id"].iloc[0] % 7 + 1, **dict.fromkeys(_REPORT_COLUMNS, 1))
    out = tmp_path / "poses.csv"
    other.to_csv(out, index=False)
    ran = medcli("register", "pose", "--root", study.root, "--start", start, "--out", out)
    assert (ran.code, "has a pose of anatomy" in ran.err) == (2, True), ran.err
    pd.testing.assert_frame_equal(pd.read_csv(out), other, check_dtype=False)


def test_a_pose_behind_a_source_is_reported(study: SyntheticVeriserum, tmp_path: Path) -> None:
    pd.DataFrame([{"id": 1, "tx": 0, "ty": 0, "tz": 1900, "rz": 0, "rx": 0, "ry": 0}]).to_csv(tmp_path / "s.csv")
    result = register_poses(Sources(study.root, tmp_path / "s.csv"), tmp_path / "poses.csv")
    assert "at or behind the source of plane bs" in result.failures[0].reason
    assert result.out is None, "no file was written"
    assert not (tmp_path / "poses.csv").exists()
