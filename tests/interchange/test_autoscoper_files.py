"""``medcli convert autoscoper``: cameras by which OpenCV projects to the same place, and poses that come back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli.cli.import_files import implant_poses
from medcli.cli.shared.verbs import Verb
from medcli.core.errors import DataError, UsageError
from medcli.core.rigid_transforms import rigid_transform
from medcli.interchange.autoscoper_files import read_maya_cam, read_tra
from medcli.interchange.implant_trials import ImplantTrial
from medcli.interchange.imported_poses import import_autoscoper
from medcli.veriserum.geometry.biplane import ImageGrid
from tests.conftest import Ran
from tests.support.knees import POSE_TABLE

POSE_COLUMNS = ["tx", "ty", "tz", "rz", "rx", "ry"]


def read_camera(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """By the numbers of the lines, as other readers of MayaCam 2.0 do (svgViewR, Autoscoper)."""
    lines = path.read_text().splitlines()
    assert [lines[place] for place in (0, 3, 8, 13)] == ["image size", "camera matrix", "rotation", "translation"]
    numbers = [[float(word) for word in line.split(",")] for line in lines if line[:1] in "-0123456789" and line]
    return tuple(map(np.array, (numbers[0], numbers[1:4], numbers[4:7], np.ravel(numbers[7:10]))))  # type: ignore[return-value]


def test_opencv_projects_outlines_to_the_same_place(
    implants: Path,
    trial: ImplantTrial,
    outlines: dict[tuple[str, str, int], np.ndarray],
    medcli: Callable[..., Ran],
    tmp_path: Path,
) -> None:
    assert medcli("convert", "autoscoper", "--root", implants, "--size", "1024", "--out", tmp_path).code == 0
    grid = ImageGrid.calibrated(1024)
    for (plane, kind, frame), points in outlines.items():
        size, matrix, rotation, translation = read_camera(tmp_path / f"trial_000001/mayacam_{plane}.txt")
        assert size.tolist() == [1024, 1024]
        pose = np.loadtxt(tmp_path / f"trial_000001/{kind}.tra", delimiter=",")[frame].reshape(4, 4)
        world = points @ pose[:3, :3].T + pose[:3, 3]
        theirs, _ = cv2.projectPoints(world, cv2.Rodrigues(rotation)[0], translation, matrix, None)
        ours_world = points @ trial.poses[kind][frame][:3, :3].T + trial.poses[kind][frame][:3, 3]
        ours = grid.to_pixels(trial.cameras.camera(plane).project(ours_world))
        assert np.abs(theirs[:, 0] - ours).max() * grid.pixel_mm < 1e-3
        assert np.allclose(-rotation.T @ translation, trial.cameras.camera(plane).source_mm, atol=1e-6)


def project_as_autoscoper(points: np.ndarray, path: Path) -> np.ndarray:
    """Pixels (N, 2) from the image's corner, x right, y down: where Autoscoper compares a point with the radiograph.

    Step by step as ``Camera::loadMayaCam2`` reads a file (by the numbers of its lines) and as its renderers of volumes
    and radiographs use the camera: ``libautoscoper/src/Camera.cpp``, ``RayCaster_kernels.cu``,
    ``RadRenderer_kernels.cu`` of BrownBiomechanics/Autoscoper.
    """
    lines = [[float(word) for word in line.split(",")] if line[:1] in "-0123456789" and line else []
             for line in path.read_text().splitlines()]  # fmt: skip
    width, height = lines[1]
    (fx, _, column), (_, fy, row), _ = lines[4:7]
    rotation, translation = np.array(lines[9:12]), np.ravel(lines[14:17])
    turned = np.diag([-1.0, 1.0, -1.0])
    rotation, translation = turned @ rotation, turned @ translation
    eye = -rotation.T @ translation
    rotation = np.diag([-1.0, -1.0, 1.0]) @ rotation
    row = height - 1 - row
    viewport = -(2 * column - width) / fx, -(2 * row - height) / fy, 2 * width / fx, 2 * height / fy
    x, y, z = rotation @ (points - eye).T
    u, v = -2 * x / z, -2 * y / z  # the ray is (u, v, -2)
    s, t = (u - viewport[0]) / viewport[2] + 0.5, 0.5 - (v - viewport[1]) / viewport[3]
    return np.column_stack([s * width, t * height])


def test_autoscoper_projects_outlines_half_a_pixel_aside(
    implants: Path,
    trial: ImplantTrial,
    outlines: dict[tuple[str, str, int], np.ndarray],
    medcli: Callable[..., Ran],
    tmp_path: Path,
) -> None:
    """It takes pixel numbers of a MayaCam, which are counted from centres, from the corner: docs/convert.md says so."""
    assert medcli("convert", "autoscoper", "--root", implants, "--size", "1024", "--out", tmp_path).code == 0
    for (plane, kind, frame), points in outlines.items():
        pose = np.loadtxt(tmp_path / f"trial_000001/{kind}.tra", delimiter=",")[frame].reshape(4, 4)
        world = points @ pose[:3, :3].T + pose[:3, 3]
        theirs = project_as_autoscoper(world, tmp_path / f"trial_000001/mayacam_{plane}.txt")
        ours = ImageGrid.calibrated(1024).to_pixels(trial.cameras.camera(plane).project(world)) + 0.5
        assert np.allclose(theirs - ours, [-0.5, 0.5], atol=1e-3)


def test_poses_and_cameras_come_back_from_another_world(
    implants: Path, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    assert medcli("convert", "autoscoper", "--root", implants, "--trials", "1", "--out", tmp_path / "a").code == 0
    folder = tmp_path / "a/trial_000001"
    elsewhere = rigid_transform([100, -200, 300], [10, 20, 30], "xyz")
    for kind in ("femur", "tibia"):
        poses = elsewhere @ np.loadtxt(folder / f"{kind}.tra", delimiter=",").reshape(-1, 4, 4)
        np.savetxt(folder / f"{kind}.tra", poses.reshape(-1, 16), delimiter=" ")
    lines = (folder / "tibia.tra").read_text().splitlines()
    (folder / "tibia.tra").write_text("\n".join([lines[0], " ".join(["NaN"] * 16)]))
    for plane in ("bs", "fs"):
        path = folder / f"mayacam_{plane}.txt"
        _, _, rotation, translation = read_camera(path)
        moved = rotation @ elsewhere[:3, :3].T
        place = translation - moved @ elsewhere[:3, 3]
        lines = path.read_text().splitlines()
        lines[9:12] = [",".join(map(repr, row)) for row in moved.tolist()]
        lines[14:17] = map(repr, place.tolist())
        path.write_text("\r\n".join(lines))
    words = ["import", "autoscoper", folder / "femur.tra", folder / "tibia.tra", "--anatomies", "1", "3"]
    cameras = ["--calibration", folder / "mayacam_bs.txt", folder / "mayacam_fs.txt"]
    ran = medcli(*words, *cameras, "--out", tmp_path / "in", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["missing"] == 1
    found = pd.read_csv(tmp_path / "in/poses.csv")
    table = pd.read_csv(implants / POSE_TABLE)
    mine = table[table["measurement_id"] == 1].sort_values(["id", "anatomy_id"]).iloc[:3]
    assert found["id"].tolist() == mine["id"].tolist()
    assert np.allclose(found[POSE_COLUMNS], mine[POSE_COLUMNS], atol=1e-5)
    cells = pd.read_csv(tmp_path / "in/source_int_calibration.csv").iloc[0]
    source = pd.read_csv(next(implants.rglob("source_int_calibration*.csv"))).set_index("id").loc[1]
    for name in cells.index.drop("id"):
        assert cells[name] == pytest.approx(source[name], abs=1e-5)
    plane = json.loads((tmp_path / "in/inter_plane.json").read_text())["fs"]
    assert np.allclose(plane["centre_mm"], [360, 0, 250], atol=1e-5)
    assert np.allclose(plane["normal"], [np.sin(np.deg2rad(-70)), 0, np.cos(np.deg2rad(-70))], atol=1e-8)
    ran = medcli("convert", "jtml", "--root", implants, "--poses", tmp_path / "in/poses.csv", "--source-calibration",
                 tmp_path / "in/source_int_calibration.csv", "--inter-plane", tmp_path / "in/inter_plane.json",
                 "--out", tmp_path / "j")  # fmt: skip
    assert ran.code == 0, ran.err
    ran = medcli(*words[:-1], *cameras, "--out", tmp_path / "in2")
    assert ran.code == 2
    assert "2 files and 1 implant" in ran.err
    with pytest.raises(UsageError, match="1 camera, expected two"):
        import_autoscoper([folder / "femur.tra"], [1], [folder / "mayacam_bs.txt"], tmp_path / "in2")


IDENTITY = "1,0,0,10,0,1,0,20,0,0,1,30,0,0,0,1\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,0,0,10,0,-1,0,20,0,0,1,30,0,0,0,1\n", "line 2: it is mirrored"),
        ("2,0,0,10,0,1,0,20,0,0,1,30,0,0,0,1\n", "line 2: it is no rotation"),
        ("1,0,0,0,0,1,0,0,0,0,1,0,10,20,30,1\n", "looks like columns"),
        ("1,2,3,4,5,6\n", "line 2: expected 16 numbers"),
        ("1,0,0,1e9,0,1,0,20,0,0,1,30,0,0,0,1\n", "millimetres"),
    ],
)
def test_bad_poses_are_refused(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "Öl.tra"
    path.write_text(IDENTITY + line, "utf-8")
    with pytest.raises(DataError) as caught:
        read_tra(path)
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert "Öl.tra" in caught.value.message


def test_both_are_verbs_of_import() -> None:
    assert {implant_poses.jtml.__name__, implant_poses.autoscoper.__name__} <= Verb(
        "import", "Data", "", module="import_files"
    ).load().commands.keys()


def test_exchanged_cameras_are_noticed(implants: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    assert medcli("convert", "autoscoper", "--root", implants, "--trials", "1", "--out", tmp_path).code == 0
    folder = tmp_path / "trial_000001"
    bs, fs = folder / "mayacam_bs.txt", folder / "mayacam_fs.txt"
    words = (
        "import",
        "autoscoper",
        folder / "femur.tra",
        "--anatomies",
        "1",
        "--out",
        tmp_path / "in",
        "--calibration",
    )
    ran = medcli(*words, fs, bs)
    assert (ran.code, "is named as plane fs" in ran.err, (tmp_path / "in").exists()) == (2, True, False)
    for path, name in ((bs, "one"), (fs, "two")):
        shutil.copy(path, folder / f"{name}.txt")
    ran = medcli(*words, folder / "two.txt", folder / "one.txt")
    assert (ran.code, "are bs and fs exchanged?" in ran.err) == (0, True)
    ran = medcli(*words, folder / "one.txt", folder / "two.txt", "--overwrite")
    assert (ran.code, "exchanged" in ran.err) == (0, False)


def test_bad_cameras_are_refused(implants: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    assert medcli("convert", "autoscoper", "--root", implants, "--trials", "1", "--out", tmp_path).code == 0
    good = (tmp_path / "trial_000001/mayacam_bs.txt").read_text()
    path = tmp_path / "bad.txt"
    lines = good.splitlines()
    for text, said in (
        ("\n".join([*lines[:9], lines[10], lines[9], *lines[11:]]), "it is mirrored"),
        (good.replace("rotation", "rotazione"), "expected the line 'rotation'"),
        (good.replace(lines[1], "512"), "expected 1 x 2"),
        (good.replace(lines[4], "a,b,c"), "camera matrix is not 3 lines of numbers"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            read_maya_cam(path)
