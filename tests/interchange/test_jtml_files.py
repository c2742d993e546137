"""``medcli convert jtml``: read and projected as JointTrack's documentation says, and made a table again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import DataError
from medcli.interchange.autoscoper_files import write_maya_cam, write_tra
from medcli.interchange.implant_trials import ImplantTrial
from medcli.interchange.jtml_files import (
    read_jointtrack_calibration,
    read_jts,
    write_jointtrack_calibration,
    write_jts,
)
from medcli.veriserum.geometry.biplane import DualPlane, ImageGrid, SourceIntensifier
from tests.conftest import REPOSITORY, Ran
from tests.support.knees import POSE_TABLE

POSE_COLUMNS = ["tx", "ty", "tz", "rz", "rx", "ry"]


def turn(axis: int, degrees: float) -> np.ndarray:
    """An elementary rotation of column vectors, counter-clockwise."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    one, other = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[[one, one, other, other], [one, other, one, other]] = c, -s, s, c
    return matrix


def read_as_jointtrack(path: Path) -> list[np.ndarray]:
    """As JointTrack's ``jts.read`` and JTML's ``render_engine.cu`` do: R = Rz Rx Ry, the columns x y z, z x y."""
    assert path.read_text().splitlines()[0] in ("JT_EULER_312", "JTA_EULER_KINEMATICS")
    rows = np.loadtxt(path, skiprows=2, delimiter=",", ndmin=2)
    return [np.column_stack([turn(2, row[3]) @ turn(0, row[4]) @ turn(1, row[5]), row[:3]]) for row in rows]


@pytest.mark.parametrize("size", [512, 1600])
def test_outlines_project_to_the_same_place(
    size: int,
    implants: Path,
    trial: ImplantTrial,
    outlines: dict[tuple[str, str, int], np.ndarray],
    medcli: Callable[..., Ran],
    tmp_path: Path,
) -> None:
    """As JTML's ``render_engine.cu`` projects: pixels from the image's lower left corner, their centres at halves."""
    ran = medcli("convert", "jtml", "--root", implants, "--trials", "1", "--size", str(size), "--out", tmp_path)
    assert ran.code == 0, ran.err
    grid = ImageGrid.calibrated(size)
    for (plane, kind, frame), points in outlines.items():
        folder = tmp_path / f"trial_000001/{plane}"
        code, *numbers = (folder / "calibration.txt").read_text().split()
        assert code == "JT_INTCALIB"
        distance, right, up, pixel = map(float, numbers)
        pose = read_as_jointtrack(folder / f"{kind}.jts")[frame]
        x, y, z = (points @ pose[:, :3].T + pose[:, 3]).T
        assert (z < 0).all()  # in front of the source, which is the origin
        theirs = np.column_stack([x / z * -distance / pixel + size / 2 + right / pixel,
                                  y / z * -distance / pixel + size / 2 + up / pixel])  # fmt: skip
        world = points @ trial.poses[kind][frame][:3, :3].T + trial.poses[kind][frame][:3, 3]
        pixels = grid.to_pixels(trial.cameras.camera(plane).project(world))
        ours = np.column_stack([pixels[:, 0] + 0.5, size - 0.5 - pixels[:, 1]])
        assert np.abs(theirs - ours).max() * grid.pixel_mm < 1e-3
        assert pixel == pytest.approx(360 / size)


def test_the_numbers_of_plane_bs_are_the_table_s_but_for_the_origin(
    implants: Path, trial: ImplantTrial, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    """The worked example of the documentation, on every row."""
    assert medcli("convert", "jtml", "--root", implants, "--out", tmp_path, "--format", "jtak").code == 0
    table = pd.read_csv(implants / POSE_TABLE)
    mine = table[(table["measurement_id"] == 1) & (table["anatomy_id"] == 3)].sort_values("id")
    path = tmp_path / "trial_000001/bs/tibia.jtak"
    assert path.read_text().startswith("JTA_EULER_KINEMATICS\n")
    rows = np.loadtxt(path, skiprows=2, delimiter=",")
    rows[:, :3] += trial.cameras.bs.source_mm
    assert np.allclose(rows, mine[POSE_COLUMNS], atol=1e-6)


def test_the_worked_example_of_the_documentation(tmp_path: Path) -> None:
    """Its numbers are printed in docs/convert.md; the check there is by hand."""
    page = (REPOSITORY / "docs/convert.md").read_text("utf-8")
    cameras = DualPlane.from_calibration(SourceIntensifier(4, -5, 1850, -10, 0, 1860))
    pose = cameras.pose_matrix([-20, -10, 350], [10, 5, -90])
    write_jts(tmp_path / "a.jts", pose[None], cameras.bs)
    write_jointtrack_calibration(tmp_path / "c.txt", cameras.bs, ImageGrid.calibrated(512))
    write_maya_cam(tmp_path / "m.txt", cameras.bs, ImageGrid.calibrated(512))
    write_tra(tmp_path / "a.tra", pose[None])
    for name in ("a.jts", "c.txt", "m.txt"):
        assert f"```text\n{(tmp_path / name).read_text()}```" in page
    assert (tmp_path / "a.tra").read_text()[:100] in page
    world = pose @ [30, 0, 0, 1]
    (pixel,) = ImageGrid.calibrated(512).to_pixels(cameras.bs.project(world[None, :3]))
    assert np.allclose(world[:3], [-19.546, -12.575, 379.886], atol=5e-4)
    assert np.allclose(pixel, [219.208, 276.328], atol=5e-4)
    assert np.allclose(world[:3] - cameras.bs.source_mm, [-23.546, -7.575, -1470.114], atol=5e-4)
    by_hand = [(4.1125 + 1850 * 23.546 / -1470.114) / 0.703125 + 255.5, 2631.111 * -23.546 / 1470.114 + 261.349]
    assert np.allclose(by_hand, 219.208, atol=1e-3)


@pytest.mark.parametrize("plane", ["bs", "fs"])
def test_both_components_come_back(plane: str, implants: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    assert medcli("convert", "jtml", "--root", implants, "--out", tmp_path / "Kniegelenk ö").code == 0
    folder = tmp_path / f"Kniegelenk ö/trial_000001/{plane}"
    text = (folder / "femur.jts").read_text().splitlines()
    text[2] = ",".join(["NOT_OPTIMIZED", *["0"] * 5])  # a frame that was not matched
    (folder / "femur.jts").write_text("\n".join(text))
    anatomies = ["--anatomies", "1", "3", "--calibration", folder / "calibration.txt", "--plane", plane]
    words = ["import", "jtml", folder / "femur.jts", folder / "tibia.jts", *anatomies, "--out", tmp_path / "in"]
    ran = medcli(*words)
    assert ran.code == 0, ran.err
    found = pd.read_csv(tmp_path / "in/poses.csv")
    table = pd.read_csv(implants / POSE_TABLE)
    mine = table[table["measurement_id"] == 1].sort_values(["id", "anatomy_id"]).iloc[1:]
    for name in ("id", "measurement_id", "anatomy_id", "source_int_calibration_id"):
        assert found[name].tolist() == mine[name].tolist()
    assert np.allclose(found[POSE_COLUMNS], mine[POSE_COLUMNS], atol=1e-6)
    assert medcli(*words).code == 2  # it is there
    ran = medcli("convert", "jtml", "--root", implants, "--poses", tmp_path / "in/poses.csv", "--out", tmp_path / "2")
    assert ran.code == 0, ran.err  # and what was imported is a table like the dataset's own
    assert "NOT_OPTIMIZED" in (tmp_path / "2/trial_000001/bs/femur.jts").read_text()


def test_only_what_was_converted_is_replaced(implants: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    out, words = tmp_path / "out", ("--root", implants, "--trials", "1", "--out", tmp_path / "out", "--overwrite")
    assert medcli("convert", "jtml", *words).code == 0
    folder = out / "trial_000001"
    corrected, before = folder / "bs/femur.jts", (folder / "bs/femur.jts").read_bytes()
    corrected.write_bytes(before.replace(b"1", b"2"))  # by hand, and as long as before
    ran = medcli("convert", "jtml", *words)
    assert (ran.code, "bs/femur.jts was changed" in ran.err) == (2, True)
    corrected.write_bytes(before)
    for name in ("NOTES.md", "bs/a.csv", "fs/scene.mrml", "fs/z.csv"):
        (folder / name).write_text("mine")
    ran = medcli("convert", "jtml", *words)
    assert ran.code == 2
    assert all(said in ran.err for said in ("NOTES.md", "bs/a.csv", "fs/scene.mrml", "and 1 more"))
    assert (folder / "NOTES.md").read_text() == "mine"
    for name in ("NOTES.md", "bs/a.csv", "fs/scene.mrml", "fs/z.csv"):
        (folder / name).unlink()
    ran = medcli("convert", "autoscoper", *words)
    assert (ran.code, "was made by medcli convert jtml" in ran.err) == (2, True)
    assert corrected.is_file()
    assert medcli("convert", "jtml", *words).code == 0


def test_only_what_was_imported_is_replaced(implants: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    words = ("--root", implants, "--trials", "1", "--out")
    for program in ("jtml", "autoscoper"):
        assert medcli("convert", program, *words, tmp_path / program).code == 0
    cameras = [tmp_path / f"autoscoper/trial_000001/mayacam_{plane}.txt" for plane in ("bs", "fs")]
    jtml, autoscoper = (
        ["import", program, file, "--anatomies", "3", "--out", tmp_path / "in", "--overwrite", "--calibration", *more]
        for program, file, more in (
            ("jtml", tmp_path / "jtml/trial_000001/bs/tibia.jts", [tmp_path / "jtml/trial_000001/bs/calibration.txt"]),
            ("autoscoper", tmp_path / "autoscoper/trial_000001/tibia.tra", cameras),
        )
    )
    other = ["1" if word == "3" else word for word in jtml]
    assert "was converted from anatomy 3, --anatomies says 1" in medcli(*other).err
    ran = medcli(*jtml)
    assert (ran.code, "was converted from" in ran.err) == (0, False)
    table, before = tmp_path / "in/poses.csv", (tmp_path / "in/poses.csv").read_bytes()
    (tmp_path / "in/notes.md").write_text("mine")
    ran = medcli(*jtml)
    assert (ran.code, "notes.md is not of medcli import jtml" in ran.err) == (2, True)
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["imported.json", "notes.md", "poses.csv"]
    (tmp_path / "in/notes.md").unlink()
    table.write_bytes(before.replace(b"1", b"2"))  # by hand, and as long as before
    ran = medcli(*jtml)
    assert (ran.code, "poses.csv was changed" in ran.err) == (2, True)
    assert table.read_bytes() == before.replace(b"1", b"2")
    table.write_bytes(before)
    ran = medcli(*autoscoper)
    assert (ran.code, "was made by medcli import jtml" in ran.err) == (2, True)
    assert medcli(*jtml).code == 0


def test_the_plane_is_the_one_of_the_folder(implants: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    assert medcli("convert", "jtml", "--root", implants, "--trials", "1", "--out", tmp_path).code == 0
    folder = tmp_path / "trial_000001"
    words = ["import", "jtml", folder / "fs/tibia.jts", "--anatomies", "3", "--out", tmp_path / "in", "--calibration"]
    ran = medcli(*words, folder / "bs/calibration.txt")
    assert (ran.code, "different planes" in ran.err) == (2, True)
    ran = medcli(*words, folder / "fs/calibration.txt", "--plane", "bs")
    assert (ran.code, "leave --plane out for fs" in ran.err) == (2, True)
    for name in ("tibia.jts", "calibration.txt"):  # beside each other in a folder of another name
        shutil.copy(folder / f"fs/{name}", tmp_path / name)
    elsewhere = [tmp_path / "tibia.jts" if word == folder / "fs/tibia.jts" else word for word in words]
    ran = medcli(*elsewhere, tmp_path / "calibration.txt")
    assert (ran.code, "which plane" in ran.err, (tmp_path / "in").exists()) == (2, True, False)
    assert medcli(*elsewhere, tmp_path / "calibration.txt", "--plane", "fs").code == 0
    assert medcli(*words, folder / "fs/calibration.txt", "--overwrite").code == 0
    table = pd.read_csv(implants / POSE_TABLE).query("measurement_id == 1 and anatomy_id == 3").sort_values("id")
    assert np.allclose(pd.read_csv(tmp_path / "in/poses.csv")[POSE_COLUMNS], table[POSE_COLUMNS], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "begins with nothing"),
        ("JT_EULER_123\nx\n1,2,3,4,5,6\n", "expected JT_EULER_312"),
        ("JT_EULER_312\nx\n1,2,3,4,5\n", "line 3: expected six numbers"),
        ("JT_EULER_312\nx\n1,2,3,4,5,6\n1,2,drei,4,5,6\n", "line 4: expected six numbers"),
        ("JT_EULER_312\nx\n1,2,1e7,4,5,6\n", "millimetres"),
        ("JT_EULER_312\nx\n", "has no pose"),
    ],
)
def test_bad_files_of_poses(text: str, said: str, trial: ImplantTrial, tmp_path: Path) -> None:
    path = tmp_path / "a.jts"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_jts(path, trial.cameras.bs)
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_separators_of_other_programs_and_bad_calibrations(trial: ImplantTrial, tmp_path: Path) -> None:
    path = tmp_path / "a.jtak"
    write_jts(path, trial.poses["femur"], trial.cameras.bs)
    tabs = path.read_text().replace(",", ",\t").replace("\n", ",\r\n").replace("KINEMATICS,", "KINEMATICS")
    path.write_text(tabs, newline="")  # as JTML writes them
    assert np.allclose(read_jts(path, trial.cameras.bs), trial.poses["femur"], atol=1e-6)
    for text, said in (
        ("JT_INTCALIB 1000 0 0 0", "size of a pixel"),
        ("JT_INTCALIB 1000 0", "two offsets"),
        ("image size", "expected JT_INTCALIB"),
        ("JT_INTCALIB 1 0 0 0.3", "distance is 1 mm"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            read_jointtrack_calibration(path)
