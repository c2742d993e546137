"""Poses from two planes: recovery of known truth, and the command's inputs, results and failures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import DataError
from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.synthetic.fluoroscopy.dataset import FluoroscopySettings as StudySettings
from medcli.synthetic.fluoroscopy.dataset import Study, SyntheticVeriserum, make_veriserum
from medcli.veriserum.geometry.biplane import ImageGrid, PoseFrame
from medcli.veriserum.geometry.outline_overlay import outline
from medcli.veriserum.registration.gradient_matching import LEVELS, Matcher, minimise, moved, refine
from medcli.veriserum.registration.register import register_poses
from medcli.veriserum.registration.start_poses import Sources, StartPoses
from tests.conftest import Ran

PAIRS = 3
POSE = ["tx", "ty", "tz", "rz", "rx", "ry"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SyntheticVeriserum:
    return make_veriserum(tmp_path_factory.mktemp("study"), PAIRS, seed=1, frames_per_trial=1)


def test_start_poses_are_filled_from_the_pose_table(study: SyntheticVeriserum, tmp_path: Path) -> None:
    """Also where a column is there but empty; and an obsolete id stays obsolete."""
    root = tmp_path / "study"
    shutil.copytree(study.root, root)
    file = root / "csv_files" / "veriserum_pose_reloaded_refined_all.csv"
    table = pd.read_csv(file)
    table.loc[table["id"] == 2, "obsolete"] = 1
    table.to_csv(file, index=False)
    start = table[["id", *POSE]].assign(anatomy_id="", obsolete="")
    start.to_csv(tmp_path / "start.csv", index=False)
    out = tmp_path / "poses.csv"
    result = register_poses(Sources(root, start=tmp_path / "start.csv"), out, ids=[(1, 2)])
    assert (result.done, result.failures) == (1, [])
    row = pd.read_csv(out, dtype=str).iloc[0]
    assert (row["id"], row["anatomy_id"], row["obsolete"]) == ("1", str(table["anatomy_id"][0]), "0")
    assert row["measurement_id"] == str(table["measurement_id"][0])


@pytest.fixture
def start(study: SyntheticVeriserum, tmp_path: Path) -> Path:
    """Start poses away from the truth: only id and pose, the rest is in the study's pose table."""
    table = pd.read_csv(study.root / "csv_files" / "veriserum_pose_reloaded_refined_all.csv")
    generator = np.random.default_rng(4)
    table[POSE] += generator.uniform(-3, 3, (len(table), 6))
    table[["id", *POSE]].to_csv(tmp_path / "start.csv", index=False)
    return tmp_path / "start.csv"


def errors(study: Study, number: int, pose: np.ndarray) -> tuple[np.ndarray, float]:
    """Millimetres along x, y, z at the implant's middle, and degrees."""
    frame = study.frames[number]
    implant = study.implants[frame.anatomy_id]
    true = frame.knee.of(implant.kind)
    middle = np.append(implant.mesh.bounds.mean(axis=0), 1.0)
    return ((pose - true) @ middle)[:3], float(rotation_angle_deg(pose[:3, :3] @ true[:3, :3].T))


def shaken(study: Study, number: int, generator: np.random.Generator, most: float = 5.0) -> np.ndarray:
    frame = study.frames[number]
    implant = study.implants[frame.anatomy_id]
    true = frame.knee.of(implant.kind)
    return moved(true, generator.uniform(-most, most, 6), implant.mesh.bounds.mean(axis=0))


# -- the method -------------------------------------------------------------------------------------------------------


def test_minimise_solves_a_problem_with_a_known_answer() -> None:
    x = np.linspace(0, 3, 200)
    target = 1.3 * np.exp(-0.7 * x) + 0.4

    def residuals(n: np.ndarray) -> np.ndarray:
        return (1 + n[0]) * np.exp(-(1 + n[1]) * x) + n[2] - target

    assert np.allclose(minimise(residuals, 3, 100), [0.3, -0.3, 0.4], atol=1e-2)


def test_a_turn_leaves_the_middle_where_it_is() -> None:
    pose = np.eye(4)
    pose[:3, 3] = [3, 4, 400]
    middle = np.array([10.0, -5, 2])
    result = moved(pose, np.array([0, 0, 0, 0, 90.0, 0]), middle)
    assert np.allclose(result @ [*middle, 1], pose @ [*middle, 1])
    assert np.allclose(result[:3, :3] @ [1, 0, 0], [0, 0, -1])
    shifted = moved(pose, np.array([1.0, -2, 3, 0, 0, 0]), middle)
    assert np.allclose(shifted[:3, 3], [4, 2, 403])


def test_correlation_is_one_at_the_truth_of_a_rendering(study: SyntheticVeriserum) -> None:
    made = study.study
    frame = made.frames[1]
    mesh, cameras = made.implants[frame.anatomy_id].mesh, made.cameras(1)
    pose = frame.knee.of("femur")
    grid = ImageGrid.calibrated(LEVELS[-1].size)
    pictures = {plane: np.exp(-0.2 * cameras.camera(plane).path_length(mesh, pose, grid)) for plane in ("bs", "fs")}
    matcher = Matcher(pictures, cameras, mesh, [pose], LEVELS[-1])
    assert matcher.correlation(pose, 0.2) == pytest.approx(1, abs=1e-5)
    away = matcher.correlation(moved(pose, np.array([1.0, 0, 0, 0, 0, 0]), np.zeros(3)), 0.2)
    assert away < 0.9
    # An implant that has left the window is the worst match, not half a good one.
    assert matcher.correlation(moved(pose, np.array([0, 300.0, 0, 0, 0, 0]), np.zeros(3)), 0.2) == pytest.approx(-1)
    # Brightness and contrast of the image do not matter.
    brighter = {plane: 40 + 150 * picture for plane, picture in pictures.items()}
    assert Matcher(brighter, cameras, mesh, [pose], LEVELS[-1]).correlation(pose, 0.2) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("number", range(1, PAIRS + 1))
def test_the_truth_is_recovered_from_realistic_images(study: SyntheticVeriserum, number: int) -> None:
    starts = StartPoses(Sources(study.root))
    begin = shaken(study.study, number, np.random.default_rng(number))
    found = refine(starts.images(number), starts.geometry.cameras(number), starts.geometry.implant(number).mesh, begin)
    away, angle = errors(study.study, number, found.pose)
    assert np.all(np.abs(away) < [0.3, 0.3, 0.3])
    assert angle < 0.6
    assert found.after > 0.7 > found.before + 0.1


@pytest.mark.deep
def test_the_truth_is_recovered_in_the_median() -> None:
    study = Study(StudySettings(pairs=14, seed=5, frames_per_trial=1))
    generator = np.random.default_rng(0)
    found = []
    for number in study.frames:
        frame = study.frames[number]
        pictures = {plane: study.truth(number, plane, 512) for plane in ("bs", "fs")}
        mesh = study.implants[frame.anatomy_id].mesh
        result = refine(pictures, study.cameras(number), mesh, shaken(study, number, generator))
        away, angle = errors(study, number, result.pose)
        found.append([*np.abs(away), angle])
    x, y, z, angle = np.median(found, axis=0)
    assert max(x, y) <= 0.3
    assert z <= 1.0
    assert angle <= 0.5


def test_an_implant_beside_the_image_is_said(study: SyntheticVeriserum) -> None:
    made = study.study
    frame = made.frames[1]
    pose = frame.knee.of("femur").copy()
    pose[0, 3] += 400
    pictures = {plane: np.zeros((256, 256), np.float32) for plane in ("bs", "fs")}
    with pytest.raises(DataError, match="the implant is not in the image at its start pose"):
        refine(pictures, made.cameras(1), made.implants[frame.anatomy_id].mesh, pose)


def test_the_outline_is_the_rim_of_the_silhouette(study: SyntheticVeriserum) -> None:
    made = study.study
    camera, mesh = made.cameras(1).bs, made.implants[made.frames[1].anatomy_id].mesh
    pose, grid = made.frames[1].knee.of("femur"), ImageGrid.calibrated(256)
    seen, rim = camera.silhouette(mesh, pose, grid), outline(camera, mesh, pose, grid)
    padded = np.pad(seen, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & seen
    assert np.array_equal(rim, seen & ~inner)
    assert 50 < rim.sum() < seen.sum()


# -- the command ------------------------------------------------------------------------------------------------------


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
    assert f"already there  {PAIRS}" in again.out


def test_the_same_bytes_with_any_number_of_workers_and_after_a_stop(
    study: SyntheticVeriserum, start: Path, tmp_path: Path
) -> None:
    sources = Sources(study.root, start)
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    register_poses(sources, whole, ids=[(1, 2)], workers=3)
    register_poses(sources, parts, ids=[(2, 2)], workers=1)
    assert register_poses(sources, parts, ids=[(1, 2)], workers=1).skipped == 1
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("frame", [PoseFrame.FS, PoseFrame.SOURCE_BS])
def test_poses_in_another_frame_come_back_in_it(study: SyntheticVeriserum, tmp_path: Path, frame: PoseFrame) -> None:
    plain = StartPoses(Sources(study.root))
    row = StartPoses(Sources(study.root, frame=frame)).pose_cells(1, plain.pose(1))
    assert abs(row["tz"] - plain.table.loc[1, "tz"]) > 10
    pd.DataFrame([{"id": 1, **row}]).to_csv(tmp_path / "start.csv", index=False)
    read = StartPoses(Sources(study.root, tmp_path / "start.csv", frame=frame))
    assert np.allclose(read.pose(1), plain.pose(1), atol=1e-4)


def test_calibrated_images_are_preferred(medcli: Callable[..., Ran], study: SyntheticVeriserum, tmp_path: Path) -> None:
    folder = tmp_path / "calibrated"
    medcli("calibrate", "veriserum", "--root", study.root, "--out", folder, "--ids", "1")
    starts = StartPoses(Sources(study.root, calibrated=folder))
    published = cv2.imread(str(folder / "calibrated_bs_000001.jpg"), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(starts.images(1)["bs"], published)
    made = starts.images(2)["bs"]
    assert made.shape == (512, 512)
    begin = shaken(study.study, 1, np.random.default_rng(3), 3.0)
    found = refine(starts.images(1), starts.geometry.cameras(1), starts.geometry.implant(1).mesh, begin)
    away, angle = errors(study.study, 1, found.pose)
    assert np.all(np.abs(away) < 0.3)
    assert angle < 0.6


def test_one_pair_fails_and_the_rest_goes_on(
    medcli: Callable[..., Ran], study: SyntheticVeriserum, tmp_path: Path
) -> None:
    table = pd.read_csv(study.root / "csv_files" / "veriserum_pose_reloaded_refined_all.csv")
    rows = pd.concat([table, table.iloc[[0]].assign(id=77)])
    rows.loc[rows["id"] == 2, ["tx", "rz"]] += [60, 70]  # far off: nothing to hold on to
    rows.loc[rows["id"] == 3, "anatomy_id"] = 99
    rows.to_csv(tmp_path / "start.csv", index=False)
    out = tmp_path / "poses.csv"
    words = ("register", "pose", "--root", study.root, "--start", tmp_path / "start.csv", "--out", out)
    ran = medcli(*words, "--ids", "1-100", "--json")
    result = json.loads(ran.out)
    reasons = {failure["id"]: failure["reason"] for failure in result["failures"]}
    assert (ran.code, result["done"]) == (4, 1)
    assert "similarity" in reasons[2]
    assert "expected ana_000099.stl" in reasons[3]
    assert "bs_000077 is missing" in reasons[77]
    assert pd.read_csv(out)["id"].tolist() == [1]


def test_what_cannot_be_done_at_all_is_said(
    medcli: Callable[..., Ran], study: SyntheticVeriserum, start: Path, tmp_path: Path
) -> None:
    out = tmp_path / "poses.csv"
    words = ("register", "pose", "--root", study.root, "--start", start, "--out", out)
    none = medcli(*words, "--anatomy", "55")
    assert none.code == 3
    assert "no start pose of anatomy 55 has images" in none.err
    out.write_text("a,b\n1,2\n")
    wrong = medcli(*words)
    assert wrong.code == 3
    assert "holds no registered poses" in wrong.err
    assert medcli("register", "pose", "--root", study.root, "--out", tmp_path / "x.db").code == 2


def test_a_pose_behind_a_source_is_said(study: SyntheticVeriserum, tmp_path: Path) -> None:
    pd.DataFrame([{"id": 1, "tx": 0, "ty": 0, "tz": 1900, "rz": 0, "rx": 0, "ry": 0}]).to_csv(tmp_path / "s.csv")
    result = register_poses(Sources(study.root, tmp_path / "s.csv"), tmp_path / "poses.csv")
    assert "at or behind the source of plane bs" in result.failures[0].reason
    assert not (tmp_path / "poses.csv").exists()
