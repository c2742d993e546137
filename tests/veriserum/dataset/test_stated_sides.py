"""Sides that a pose table states, and those that contradict each other or a file of axes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from medcli.core.files import write_json
from medcli.veriserum.dataset.stated_sides import conflicts_with_axes, side_conflicts, stated_sides
from medcli.veriserum.registration.start_poses import Sources, StartPoses, select
from tests.support.made_veriserum import write_study

ROWS = pd.DataFrame(
    {"anatomy_id": [1, 3, 1, 3], "measurement_id": [1, 1, 2, 2], "Side": 0, "side": ["L", "right", "left", ""]},
    index=pd.Index([4, 5, 6, 7], name="id"),
)


def test_two_sides_of_one_measurement_and_another_than_the_axes(tmp_path: Path) -> None:
    assert stated_sides(ROWS).tolist() == ["left", "right", "left", ""]
    assert side_conflicts(ROWS) == [
        "measurement_id 1: column side says left in 1 and right in 1 of its rows, first for id 5"
    ]
    assert side_conflicts(ROWS[2:]) == side_conflicts(ROWS.drop(columns="side")) == []
    write_json(tmp_path / "axes.json", {"implants": {"1": {"side": "right"}, "3": {"side": "right"}, "7": 5}})
    files = [tmp_path / "axes.json", tmp_path / "none.json"]
    assert conflicts_with_axes(ROWS, files) == [
        f"anatomy 1: column side says left (first for id 4), {files[0]} says right"
    ]


def test_registration_warns_before_it_begins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_study(tmp_path / "study", [1, 3], [8, 8])
    table = root / "csv_files/veriserum_pose_reloaded_refined_all.csv"
    pd.read_csv(table).assign(side=["left", "right"], source_int_calibration_id=1).to_csv(table, index=False)
    select(StartPoses(Sources(root)), [(1, 1)], None)
    assert "measurement_id 8: column side says left in 1 and right in 1" in caplog.text
