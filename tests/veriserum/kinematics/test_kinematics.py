"""``medcli kinematics``: its files, what it prints, and what it refuses, on a small study with known motion."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from medcli.core.errors import UsageError
from medcli.core.files import write_json
from medcli.core.mesh import write_stl
from medcli.core.shell import spell
from medcli.veriserum.kinematics.compare_motion import compare_motion
from medcli.veriserum.kinematics.implant_axes import read_axes
from medcli.veriserum.kinematics.kinematics import KinematicsSettings, compute_kinematics
from tests.conftest import Ran
from tests.support import knees

pytestmark = pytest.mark.usefixtures("axes_guessed_once")
Medcli = Callable[..., Ran]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trials of five frames with standard errors; of trial 2 the third tibia is missing. Not to be changed."""
    rows = knees.pose_rows(knees.draw_knees(2, 5), noise=(0.05, 0.1), errors=True)
    rows = rows[~((rows["id"] == 8) & (rows["anatomy_id"] == 3))]
    return knees.write_knees(tmp_path_factory.mktemp("knees") / "data", rows)


def test_axes_then_motion_and_all_of_their_files(study: Path, tmp_path: Path, medcli: Medcli) -> None:
    axes, out = tmp_path / "axes.json", tmp_path / "motion"
    ran = medcli("kinematics", "axes", "--root", study, "--out", axes, "--side", "left")
    assert (ran.code, ran.err) == (0, "")
    assert f"medcli kinematics veriserum --root {study} --axes {axes}" in ran.out
    assert {number: one.side for number, one in read_axes(axes).items()} == {1: "left", 3: "left"}
    figure = cv2.imread(str(tmp_path / "axes.png"))
    assert figure.shape[1] > 900
    assert len(np.unique(figure.reshape(-1, 3), axis=0)) > 100, "drawn"
    before = axes.stat().st_mtime_ns
    again = medcli("kinematics", "axes", "--root", study, "--out", axes, "--side", "left")
    assert (again.code, "has these axes already" in again.out, axes.stat().st_mtime_ns) == (0, True, before)
    other = medcli("kinematics", "axes", "--root", study, "--out", axes)
    assert (other.code, "--overwrite" in other.err) == (2, True), "a corrected file is not replaced"
    new = medcli("kinematics", "axes", "--root", study, "--out", tmp_path / "new one.json", "--overwrite")
    assert spell("--axes", tmp_path / "new one.json") in new.out
    folder = medcli("kinematics", "axes", "--root", study, "--out", axes.with_suffix(""))
    assert (folder.code, "is not a JSON file" in folder.err) == (2, True)

    ran = medcli("kinematics", "--root", study, "--axes", axes, "--out", out, "--frame-rate", 50, "--trials", 2, 7)
    assert ran.code == 4
    assert ran.err == "failed: trial 7: there is none of this name\n"
    lines = [line for line in ran.out.splitlines() if line.startswith(("2 ", "trial "))]
    assert "50 frames per second, by --frame-rate; " in ran.out
    assert lines[1].split()[:5] == ["2", "left", "5", "1", "0"]
    assert max(map(len, lines)) <= 80
    result = json.loads((out / "kinematics.json").read_text("utf-8"))
    assert result["schema"] == "medcli.kinematics.v1"
    assert (result["frames"], result["missing"], result["has_errors"]) == (5, 1, True)
    assert result["axes"] == f"{axes} (anatomies 1 3)"
    assert result["failures"] == ["trial 7: there is none of this name"]
    assert result["trials"][0]["reasons"] == result["missing_reasons"] == {"no pose of the tibia": 1}
    assert result["doubtful_reasons"] == {}
    assert ["1", "missing", "no", "pose", "of", "the", "tibia"] in [line.split() for line in ran.out.splitlines()]
    with (out / "kinematics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["good", "good", "missing", "good", "good"]
    assert {row["side"] for row in rows} == {"left"}
    assert 0 < float(rows[0]["se_flexion_deg"]) < 1
    assert cv2.imread(str(out / "trial_000002.png")).shape[1] == 1800
    assert (out / "axes.json").is_file()
    assert (out / "medcli-run.json").is_file()
    check_mot(out / "trial_000002.mot", [row for row in rows if row["status"] == "good"])


def check_mot(path: Path, rows: list[dict[str, str]]) -> None:
    """Header and numbers of a motion file: as many rows and columns as it says, metres, and no frame without values."""
    header, _, body = path.read_text("utf-8").partition("endheader\n")
    said = dict(line.split("=") for line in header.splitlines() if line.count("=") == 1)
    assert said == {"version": "1", "nRows": "4", "nColumns": "7", "inDegrees": "yes"}
    names, *lines = (line.split("\t") for line in body.splitlines())
    assert names[:2] == ["time", "knee_flexion_l"]
    assert len(lines) == len(rows) == 4
    assert all(len(line) == len(names) for line in lines)
    for line, row in zip(lines, rows, strict=True):
        assert float(line[0]) == pytest.approx(float(row["time_s"]))
        assert float(line[1]) == pytest.approx(float(row["flexion_deg"]), abs=1e-5)
        assert float(line[5]) == pytest.approx(float(row["anterior_mm"]) / 1000, abs=1e-8)
    assert "knee_adduction_l: the tibia's distal end moves to the midline" in header


def test_everything_that_is_missing_is_said_at_once(tmp_path: Path, medcli: Medcli) -> None:
    (tmp_path / "axes.json").write_text("{", "utf-8")
    (tmp_path / "poses.csv").write_text("a,b\n1,2\n", "utf-8")
    words = ("--root", tmp_path / "absent", "--axes", tmp_path / "axes.json", "--poses", tmp_path / "poses.csv")
    ran = medcli("kinematics", "veriserum", *words)
    assert ran.code == 3
    for text in ("there is no folder", "axes.json is not a file of implant axes", "poses.csv has no column id"):
        assert text in ran.err


def test_radians_and_contradicting_sides_are_named(tmp_path: Path, medcli: Medcli) -> None:
    rows = knees.pose_rows(knees.draw_knees(1, 4))
    root = knees.write_knees(tmp_path / "data", rows.assign(side="left"))
    axes = tmp_path / "axes.json"
    write_json(axes, {"implants": {number: knees.true_axes(number, "right") for number in (1, 3)}})
    radians = rows.assign(side="right", **{name: np.radians(rows[name]) for name in ("rz", "rx", "ry")})
    radians.to_csv(tmp_path / "radians.csv", index=False)
    words = ("kinematics", "--root", root, "--axes", axes, "--out", tmp_path / "out")
    ran = medcli(*words, "--poses", tmp_path / "radians.csv", "--json")
    assert "look like radians: rz rx ry must be degrees" in ran.err
    assert "8 rows state another side than the dataset's table, first id 1: right, not left" in ran.err
    result = json.loads(ran.out)
    assert result["doubtful"] + result["missing"] == 4
    ran = medcli(*words, "--overwrite")
    assert "anatomy 1: its axes say right, the pose table left in 4 frames; the axes are used" in ran.err


def test_a_tray_that_is_called_a_femur(tmp_path: Path, medcli: Medcli) -> None:
    rows = knees.pose_rows(knees.draw_knees(1, 2))
    wrong = knees.write_knees(tmp_path / "wrong", rows)
    write_stl(knees.implants()[3].mesh, wrong / "veriserum_anatomies" / "ana_000001.stl")
    ran = medcli("kinematics", "--root", wrong, "--out", tmp_path / "out")
    assert ran.code == 3
    assert "listed as femur, but it has no opening" in ran.err
    entry = {"kind": "femur", "origin_mm": [0, 0, 0], "right": [1, 0, 0], "anterior": [0, 1, 0], "proximal": [0, 0, 1]}
    (tmp_path / "axes.json").write_text(json.dumps({"implants": {"1": entry}}), "utf-8")
    ran = medcli("kinematics", "--root", wrong, "--out", tmp_path / "out", "--axes", tmp_path / "axes.json")
    assert (ran.code, "its mesh looks like a tray" in ran.err) == (3, True)


def test_edited_results_and_those_of_other_settings_are_kept(study: Path, tmp_path: Path, medcli: Medcli) -> None:
    axes, out = tmp_path / "axes.json", tmp_path / "motion"
    write_json(axes, {"implants": {number: knees.true_axes(number, "left") for number in (1, 3)}})
    words = ("kinematics", "--root", study, "--axes", axes, "--out", out)
    assert medcli(*words).code == 0
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    times = {path: path.stat().st_mtime_ns for path in out.glob("trial_*")}
    (out / "trial_000002.mot").unlink()
    assert medcli(*words).code == 0
    now = {path.name: path.read_bytes() for path in out.iterdir()}
    assert now == first, "made again what was absent"
    del times[out / "trial_000002.mot"]
    assert {path: path.stat().st_mtime_ns for path in times} == times, "the rest is left"
    for more, said in (("--side", "right"), "side was"), (("--trials", "1"), "trials was"):
        ran = medcli(*words, *more)
        assert (ran.code, said in ran.err, "--overwrite" in ran.err) == (2, True, True)
    (out / "kinematics.csv").write_text(first["kinematics.csv"].decode() + "\n")
    ran = medcli(*words)
    assert ran.code == 2
    assert "kinematics.csv has other values than these: it was edited, or made from other poses" in ran.err
    assert (out / "kinematics.csv").read_text().endswith("\n\n")
    assert medcli(*words, "--trials", "1", "--overwrite").code == 0
    assert {path.name for path in out.glob("trial_*")} == {"trial_000001.png", "trial_000001.mot"}


@pytest.mark.parametrize("side", ["Left knee", "links", "l", ""])
def test_a_side_that_is_none_is_refused_from_python(side: str) -> None:
    with pytest.raises(UsageError, match="is not one of right, left"):
        KinematicsSettings(side=side)


def test_paths_may_be_text(study: Path, tmp_path: Path) -> None:
    table, axes = str(study / knees.POSE_TABLE), str(tmp_path / "axes.json")
    write_json(tmp_path / "axes.json", {"implants": {number: knees.true_axes(number, "left") for number in (1, 3)}})
    done = compute_kinematics(str(study), str(tmp_path / "out"), KinematicsSettings(poses=table, axes=axes))
    assert done.out == tmp_path / "out"
    found = compare_motion(str(study), table, table, str(tmp_path / "same"), KinematicsSettings(axes=axes))
    assert found.overall["flexion_deg"].maximum == 0


def test_a_folder_in_place_of_a_table_is_named(study: Path, tmp_path: Path, medcli: Medcli) -> None:
    ran = medcli("kinematics", "--root", study, "--poses", tmp_path, "--out", tmp_path / "out")
    assert ran.code == 3
    assert f"{tmp_path} is a folder, not a poses file" in ran.err
    assert "--poses" in ran.err
    assert "--start" not in ran.err
    ran = medcli("evaluate", "kinematics", tmp_path, "--root", study, "--out", tmp_path / "out")
    assert "name the poses file with POSES" in ran.err


def test_ranges_have_no_negative_zero() -> None:
    from medcli.cli.kinematics import _range

    assert _range((-0.04, 0.4)) == "0.0 to 0.4"
    assert _range((float("nan"), float("nan"))) == "-"
