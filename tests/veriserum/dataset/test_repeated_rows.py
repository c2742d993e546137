"""Rows that are there twice: the same ones count once, others are named by their lines."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from medcli.veriserum.dataset.folder_index import POSE_FILE, read_rows_once, read_table

HEADER = "id,anatomy_id,obsolete,tx,ty,tz,rz,rx,ry,git_hash"
LINES = [
    "1,1,0,1,2,3,4,5,6,a",
    "1,3,0,1,2,3,4,5,6,a",  # the other component
    "2,1,0,1,2,3,4,5,6,a",
    "2,1,0,1.0,2,3,4,5,6,b",  # the same, written by another version
    "3,1,1,1,2,3,4,5,6,a",  # replaced by the next one
    "3,1,0,9,2,3,4,5,6,a",
    "4,1,0,1,2,3,4,5,6,a",
    "4,1,0,9,2,3,4,5,6,a",
]


def test_lines_are_named_and_the_first_of_an_id_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "poses.csv"
    path.write_text("\n".join([HEADER, *LINES]) + "\n")
    rows, repeated = read_rows_once(path, POSE_FILE)
    assert rows.index.tolist() == [1, 1, 2, 3, 3, 4, 4]
    assert repeated.same == ("id 2, anatomy 1: lines 4 and 5",)
    assert repeated.contradicting == ("id 4, anatomy 1: lines 8 and 9",)
    with caplog.at_level(logging.WARNING):
        assert read_table(path, POSE_FILE).loc[4, "tx"] == 1
    assert f"{path}: 1 row is repeated and counts once: id 2, anatomy 1: lines 4 and 5" in caplog.text
    assert "contradicts another one of its id; the first of each is used: id 4, anatomy 1: lines 8 and 9" in caplog.text


def test_rows_of_a_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "poses.db") as connection:
        connection.execute(f"CREATE TABLE Poses ({HEADER})")
        for line in LINES[-2:]:
            connection.execute(f"INSERT INTO Poses VALUES ({'?,' * 9}?)", line.split(","))
    assert read_rows_once(tmp_path / "poses.db", POSE_FILE)[1].contradicting == ("id 4, anatomy 1: rows 1 and 2",)
