"""``medcli calibrate points``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from tests.conftest import Ran

Run = Callable[..., Ran]


@pytest.fixture
def markers(tmp_path: Path) -> Path:
    table = pd.DataFrame(
        {
            "name": ["a", "b", "c"],
            "id": [1, 2, 1],
            "plane": ["bs", "fs", "BS"],
            "x_px": [10.0, 831.5, 1600.25],
            "y_px": [5.0, 800.0, 1500.5],
        }
    )
    table.to_csv(tmp_path / "markers.csv", index=False)
    return tmp_path / "markers.csv"


def test_round_trip_through_files(
    veriserum: Path, distortions: dict[int, PolynomialDistortion], markers: Path, tmp_path: Path, medcli: Run
) -> None:
    """Calibration and plane are those of each row: ids 1 and 2 use calibrations 4 and 9."""
    there, back = tmp_path / "mm.csv", tmp_path / "px.csv"
    assert medcli("calibrate", "points", markers, "--out", there, "--root", veriserum).code == 0
    table = pd.read_csv(there)
    expected = np.concatenate(
        [distortions[4]([[10, 5]]), distortions[9]([[831.5, 800]]), distortions[4]([[1600.25, 1500.5]])]
    )
    np.testing.assert_allclose(table[["x_mm", "y_mm"]], expected, atol=1e-9)
    table.drop(columns=["x_px", "y_px"]).to_csv(there, index=False)
    assert medcli("calibrate", "points", there, "--to", "px", "--out", back, "--root", veriserum).code == 0
    np.testing.assert_allclose(pd.read_csv(back)[["x_px", "y_px"]], pd.read_csv(markers)[["x_px", "y_px"]], atol=1e-6)


def test_one_calibration_for_all(
    veriserum: Path, distortions: dict[int, PolynomialDistortion], markers: Path, tmp_path: Path, medcli: Run
) -> None:
    table = veriserum / "csv_files/distortion_calibration_reloaded.csv"
    words = ("--calibration", "9", "--plane", "fs", "--distortion", table, "--root", tmp_path, "--json")
    ran = medcli("calibrate", "points", markers, "--out", tmp_path / "out.csv", *words)
    assert (ran.code, json.loads(ran.out)["points"]) == (0, 3)
    expected = distortions[9](pd.read_csv(markers)[["x_px", "y_px"]])
    np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")[["x_mm", "y_mm"]], expected, atol=1e-9)


def test_other_columns_are_unchanged(veriserum: Path, tmp_path: Path, medcli: Run) -> None:
    source, out = tmp_path / "points.csv", tmp_path / "new folder" / "out.csv"
    source.write_text("name,X_px,Y_PX,note\n007,1,2,NA\n008,,5,\n009,-5000,3,far\n")
    words = ("--calibration", "4", "--plane", "bs", "--root", veriserum, "--json")
    ran = medcli("calibrate", "points", source, "--out", out, *words)
    assert (ran.code, json.loads(ran.out)["outside"]) == (0, 2)
    lines = [line.split(",") for line in out.read_text().splitlines()]
    assert lines[0] == ["name", "x_px", "y_px", "note", "x_mm", "y_mm"]
    assert [line[0] for line in lines[1:]] == ["007", "008", "009"]
    assert [line[3] for line in lines[1:]] == ["NA", "", "far"]
    assert lines[2][4:] == ["", ""]


def test_a_folder_with_the_name_of_the_result_is_reported(
    veriserum: Path, markers: Path, tmp_path: Path, medcli: Run
) -> None:
    ran = medcli("calibrate", "points", markers, "--out", tmp_path, "--root", veriserum)
    assert ran.code == 1
    assert "is not a regular file" in ran.err


@pytest.mark.parametrize(
    ("text", "words", "code", "said"),
    [
        ("x,y\n1,2\n", ["--calibration", "4", "--plane", "bs"], 3, "has no column x_px, y_px"),
        ("x_px,y_px\n1,two\n", ["--calibration", "4", "--plane", "bs"], 3, "line 2: y_px is 'two'"),
        ("x_px,y_px\n1,2\n", ["--calibration", "4"], 2, "the plane of the points"),
        ("x_px,y_px\n1,2\n", ["--plane", "bs"], 2, "the calibration of the points"),
        (
            "x_px,y_px\n1,2\n",
            ["--plane", "bs", "--calibration", "5"],
            3,
            "calibration 5 is not in distortion_calibration",
        ),
        ("x_px,y_px,id\n1,2,77\n", ["--plane", "bs"], 3, "id 77 has no distortion_calibration_id"),
        ("x_px,y_px,plane\n1,2,lateral\n", ["--calibration", "4"], 3, "plane is 'lateral'"),
        ("", ["--calibration", "4", "--plane", "bs"], 3, "cannot be read"),
    ],
)
def test_bad_input(
    veriserum: Path, tmp_path: Path, medcli: Run, text: str, words: list[str], code: int, said: str
) -> None:
    source = tmp_path / "points.csv"
    source.write_text(text)
    ran = medcli("calibrate", "points", source, "--out", tmp_path / "out.csv", "--root", veriserum, *words)
    assert ran.code == code
    assert said in ran.err
    assert not (tmp_path / "out.csv").exists()
