"""Rows are added to a table of calibrations; everything else is unchanged."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from medcli.core.errors import DataError, UsageError
from medcli.veriserum.calibration.grid_fit.calibration_table import CalibrationTable


def test_other_rows_and_columns_are_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('id,distortion_result_fs,distortion_result_bs,operator\n7,"1,2;3","4;5","née, later"\n', "utf-8")
    table = CalibrationTable.read(path)
    table.put(9, {"distortion_result_fs": "a,b", "distortion_result_bs": "c", "method": "m"})
    table.write()
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0] == {
        "id": "7",
        "distortion_result_fs": "1,2;3",
        "distortion_result_bs": "4;5",
        "operator": "née, later",
        "method": "",
    }
    assert rows[1]["distortion_result_fs"] == "a,b"
    assert rows[1]["operator"] == ""


@pytest.mark.parametrize("text", ["id,tx\n1,2\n", "id,distortion_result_fs,distortion_result_bs\n1,2\n", ""])
def test_a_file_that_is_not_such_a_table_is_not_changed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError, match="not a distortion calibration table"):
        CalibrationTable.read(path)
    assert path.read_text() == text


def test_only_csv_files_are_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a CSV file"):
        CalibrationTable.read(tmp_path / "study.db")
