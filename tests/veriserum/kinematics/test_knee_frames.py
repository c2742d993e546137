"""Which poses make a frame and which frames a trial, and what is said about the others."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import DataError
from medcli.veriserum.dataset.anatomies import KIND_OF
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.kinematics.knee_frames import KneeFrames, choose_trials, pair_frames
from medcli.veriserum.kinematics.pose_rows import read_pose_rows
from tests.support import knees


def paired(root: Path, rows: pd.DataFrame, file: Path | None = None, pairing: str = "auto") -> KneeFrames:
    study = VeriserumStudy(knees.write_knees(root, rows, ()))
    table, source = read_pose_rows(study, file, KIND_OF)
    return pair_frames(table, study.contents, source, pairing)  # type: ignore[arg-type]


@pytest.fixture
def rows() -> pd.DataFrame:
    """Two trials of six frames, both poses under one id."""
    return knees.pose_rows(knees.draw_knees(2, 6))


def summary(frames: KneeFrames) -> list[tuple[str, int, int]]:
    """Trial, frames, and complete frames among them."""
    complete = (frames.table["femur"] >= 0) & (frames.table["tibia"] >= 0)
    groups = frames.table.assign(complete=complete).groupby("trial", sort=False)
    return [(str(trial), len(mine), int(mine["complete"].sum())) for trial, mine in groups]


def test_by_id_with_gaps_and_obsolete_rows(tmp_path: Path, rows: pd.DataFrame) -> None:
    rows = rows[~((rows["id"] == 3) & (rows["anatomy_id"] == 3)) & (rows["id"] != 5)]
    rows.loc[(rows["id"] == 9) & (rows["anatomy_id"] == 1), "obsolete"] = 1
    found = paired(tmp_path, rows)
    assert (found.pairing, found.trials) == ("id", "measurement_id")
    assert summary(found) == [("1", 6, 4), ("2", 6, 5)]
    reasons = found.table.set_index("key")["reason"]
    assert reasons[reasons != ""].to_dict() == {
        3: "no pose of the tibia",
        5: "no pose of either component",
        9: "no pose of the femur",
    }
    assert found.table["frame"].tolist() == [1, 2, 3, 4, 5, 6] * 2


def test_by_measurement_where_each_pose_has_its_own_id(tmp_path: Path, rows: pd.DataFrame) -> None:
    """A measurement is a moment; trials follow from the pose, which jumps between them, or from a column."""
    moments = rows.assign(measurement_id=rows["id"] + 100, id=np.arange(1, len(rows) + 1))
    moments.loc[moments["measurement_id"] > 106, "tx"] += 100
    found = paired(tmp_path / "a", moments)
    assert (found.pairing, found.trials) == ("measurement", "runs of consecutive frames")
    assert summary(found) == [("1", 6, 6), ("2", 6, 6)]
    assert found.table["key"].tolist() == list(range(101, 113))
    named = paired(tmp_path / "b", moments.assign(trial_id=np.where(moments["measurement_id"] > 103, 8, 7)))
    assert named.trials == "trial_id"
    assert summary(named) == [("7", 3, 3), ("8", 9, 9)]


def test_by_order_only_where_it_is_asked_for(tmp_path: Path, rows: pd.DataFrame) -> None:
    """All femora of a trial first, then all tibiae."""
    ordered = rows.sort_values(["measurement_id", "anatomy_id", "id"])
    ordered = ordered.assign(id=np.arange(1, len(ordered) + 1))
    with pytest.raises(DataError, match="no femur has a tibia") as caught:
        paired(tmp_path, ordered)
    assert caught.value.hint == "measurement 1 has 6 femora and 6 tibiae: --pair order pairs the n-th of each"
    found = paired(tmp_path, ordered, pairing="order")
    assert summary(found) == [("1", 6, 6), ("2", 6, 6)]
    femora, tibiae = (found.rows["tx"].to_numpy()[found.table[kind]] for kind in ("femur", "tibia"))
    np.testing.assert_allclose(femora, rows.loc[rows["anatomy_id"] == 1, "tx"], atol=1e-9)
    np.testing.assert_allclose(tibiae, rows.loc[rows["anatomy_id"] == 3, "tx"], atol=1e-9)


def test_two_implants_of_a_kind_are_no_frame(tmp_path: Path, rows: pd.DataFrame) -> None:
    extra = rows[(rows["id"] == 2) & (rows["anatomy_id"] == 1)].assign(anatomy_id=2)
    found = paired(tmp_path, pd.concat([rows, extra]))
    assert found.table.set_index("key")["reason"][2] == "several poses of the femur (anatomies 1 2)"
    assert summary(found)[0] == ("1", 6, 5)


def test_one_component_only(tmp_path: Path, rows: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="poses of the femur only: motion of the knee needs those of the tibia"):
        paired(tmp_path, rows[rows["anatomy_id"] == 1])
    with pytest.raises(DataError, match="no row of a known femur or tibia"):
        paired(tmp_path, rows.assign(anatomy_id=9))
    alone = paired(tmp_path, rows[(rows["measurement_id"] == 1) | (rows["anatomy_id"] == 3)])
    assert alone.alone == {"2": "no pose of the femur"}
    assert summary(alone) == [("1", 6, 6)]


def test_trials_by_name(tmp_path: Path, rows: pd.DataFrame) -> None:
    found = paired(tmp_path, rows)
    chosen, lines = choose_trials(found, ["2", "9"])
    assert summary(chosen) == [("2", 6, 6)]
    assert lines == ["trial 9: there is none of this name"]
    with pytest.raises(DataError, match="trial x: there is none") as caught:
        choose_trials(found, ["x"])
    assert len(choose_trials(found, ["1-2"])[0].table) == len(choose_trials(found, ["1", "2"])[0].table)
    assert "1, 2" in str(caught.value.hint)


def test_a_table_of_another_origin_is_completed_and_bad_poses_keep_their_reason(
    tmp_path: Path, rows: pd.DataFrame
) -> None:
    """Columns of a network's predictions: no measurement; a pose that is none, and one whose registration failed."""
    file = tmp_path / "mine.csv"
    mine = rows.drop(columns=["measurement_id", "obsolete", "distortion_calibration_id"]).astype({"tx": object})
    mine["status"] = ["good", "failed", *["good"] * (len(mine) - 2)]
    mine.loc[mine.index[4], "tx"] = "?"
    mine.loc[mine.index[6], "ty"] = 1e9
    mine.to_csv(file, index=False)
    found = paired(tmp_path, rows, file)
    assert summary(found) == [("1", 6, 6), ("2", 6, 6)]
    problems = [text for text in found.rows["problem"] if text]
    assert problems[:2] == ["its registration failed", "its pose is not six numbers"]
    assert problems[2].startswith("ty is 1e+09 mm")


def test_poses_given_twice_stay_in_their_own_trial(tmp_path: Path, rows: pd.DataFrame) -> None:
    again = rows[rows["id"] == 8]
    found = paired(tmp_path / "same", pd.concat([rows, again]))
    assert summary(found) == [("1", 6, 6), ("2", 6, 6)], "a row that says the same counts once"
    found = paired(tmp_path / "other", pd.concat([rows, again.assign(tx=again["tx"] + 1)]))
    assert summary(found) == [("1", 6, 6), ("2", 6, 5)]
    assert "several poses of the femur" in found.table.set_index("key")["reason"][8]


def test_trials_may_have_names_in_words(tmp_path: Path, rows: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    """In a column of the table, where text was once taken for no trial, and in the database."""
    words = np.where(rows["id"] > 6, "stair down", "gait 1")
    found = paired(tmp_path / "table", rows.assign(measurement_id=rows["id"] + 100, trials_id=words))
    assert (found.trials, summary(found)) == ("trials_id", [("gait 1", 6, 6), ("stair down", 6, 6)])
    assert not caplog.records

    moments = rows.assign(measurement_id=rows["id"] + 100)
    named = pd.DataFrame({"id": moments["measurement_id"], "trials_id": words}).drop_duplicates()
    root = knees.write_knees(tmp_path / "database", moments, ())
    with closing(sqlite3.connect(root / "v.db")) as connection:
        named.to_sql("Measurements", connection, index=False)
    study = VeriserumStudy(root)
    table, source = read_pose_rows(study, None, KIND_OF)
    found = pair_frames(table, study.contents, source)
    assert (found.trials, summary(found)) == ("trials_id of v.db", [("gait 1", 6, 6), ("stair down", 6, 6)])


def test_measurements_in_words_are_named_with_their_column(
    tmp_path: Path, rows: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    words = rows["measurement_id"].astype(object).where(rows["id"] > 2, "M-1")
    found = paired(tmp_path, rows.assign(measurement_id=words))
    assert found.trials == "runs of consecutive frames"
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "measurement_id is no whole number in 4 rows, first M-1; it is not used there"
    ]
