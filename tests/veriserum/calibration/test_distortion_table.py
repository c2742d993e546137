"""Calibrations by id and plane: each is read and checked once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from medcli.veriserum.calibration.distortion_table import DistortionTable
from medcli.veriserum.dataset.folder_index import DISTORTIONS
from medcli.veriserum.dataset.study import VeriserumStudy
from tests.support.made_veriserum import make_distortion

FLAT = ",".join(["0"] * 32) + ";0.2;1,2;1,0,0,1"


def table(folder: Path, text: str) -> DistortionTable:
    (folder / "table.csv").write_text(text)
    return DistortionTable(VeriserumStudy(folder, files={DISTORTIONS: folder / "table.csv"}))


def test_calibrations_are_looked_up_by_id_and_kept(
    veriserum: Path, distortions: dict[int, PolynomialDistortion]
) -> None:
    found = DistortionTable(VeriserumStudy(veriserum))
    for number, expected in distortions.items():
        assert found.get(number, "fs").fingerprint == expected.fingerprint
    assert found.get(4, "bs") is found.get(4, "bs")
    with pytest.raises(DataError, match=r"calibration 5 is not in distortion_calibration_reloaded.csv; it has 4, 9"):
        found.get(5, "bs")


def test_a_mirrored_calibration_is_used_where_the_table_says_that_the_images_are(tmp_path: Path) -> None:
    upright = make_distortion(1)
    signs = np.repeat([-1.0, 1.0], 16)
    cell = replace(upright, coefficients=upright.coefficients * signs).to_text()
    columns = "id,distortion_result_bs,distortion_result_fs,method,pixel_size_h_bs,pixel_size_v_bs"
    rows = f'3,"{cell}","{cell}",any,225,\n4,"{cell}","{cell}","beads, mirrored: bs",0.2,0.21\n'
    found = table(tmp_path, f"{columns}\n{rows}")
    for number, plane in ((3, "bs"), (3, "fs"), (4, "fs")):
        with pytest.raises(DataError, match=f"calibration {number}, plane {plane}, cannot be right: it mirrors"):
            found.get(number, plane)
    assert found.get(4, "bs").to_text() == cell
    assert "pixel_size_h_bs is 225.0, expected 0.1125 to 0.45 mm" in found.pixel_size_problem(3, "bs")
    assert found.pixel_size_problem(3, "fs") == found.pixel_size_problem(4, "bs") == ""


def test_a_table_without_the_column_or_with_a_broken_cell(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column distortion_result_fs"):
        table(tmp_path, "id,distortion_result_bs\n3,1\n").get(3, "bs")
    found = table(tmp_path, f'id,distortion_result_bs,distortion_result_fs\n3,1;2,"{FLAT}"\n4,,fisheye:1\n')
    for number, plane, said in (
        (3, "bs", "calibration 3, plane bs: .* must have 32;1;2;4 numbers, got 1;1"),
        (3, "fs", "calibration 3, plane fs, is not invertible"),
        (4, "bs", "calibration 4, plane bs: .* must have 32;1;2;4 numbers"),
        (4, "fs", "no distortion model 'fisheye'; there are polynomial"),
    ):
        for _ in range(2):
            with pytest.raises(DataError, match=said):
                found.get(number, plane)
