"""Grouping of pairs into trials by each rule, splits by trial, and the check for leaks."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import DataError
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.database import connect
from medcli.veriserum.dataset.trial_splits import (
    RUNS,
    as_ranges,
    count_leaks,
    find_trials,
    from_ranges,
    named_trials,
    rows_of_trials,
    split_as_published,
    split_by_trial,
    trial_names,
)


def make_poses(trials: int = 10, frames: int = 20) -> pd.DataFrame:
    """Smooth motions one after the other, far apart from each other; ``trial`` is the truth."""
    rng = np.random.default_rng(0)
    rows = []
    for trial in range(trials):
        place, angles = rng.uniform(-200, 200, 3), rng.uniform(-80, 80, 3)
        for frame in range(frames):
            here = dict(zip(("tx", "ty", "tz"), place + 0.5 * frame, strict=True))
            there = dict(zip(("rz", "rx", "ry"), angles + 0.4 * frame, strict=True))
            rows.append({"trial": trial, "anatomy_id": 1, "distortion_calibration_id": 1, **here, **there})
    return pd.DataFrame(rows, index=pd.Index(range(1, len(rows) + 1), name="id"))


def nothing(root: Path) -> folder_index.Contents:
    return folder_index.Contents(root)


def database(path: Path, column: str, measurements: pd.DataFrame) -> folder_index.Contents:
    connection = sqlite3.connect(path)
    measurements.rename(columns={"trial": column}).to_sql("Measurements", connection, index=False)
    connection.close()
    return folder_index.Contents(path.parent, databases=[path])


def same_groups(found: pd.Series, truth: pd.Series) -> bool:
    pairs = set(zip(found.tolist(), truth.loc[found.index].tolist(), strict=True))
    return len(pairs) == found.nunique() == truth.nunique()


def test_measurements_that_are_recordings_are_trials(tmp_path: Path) -> None:
    poses = make_poses()
    poses["measurement_id"] = poses["trial"] + 500
    trials = find_trials(poses, nothing(tmp_path))
    assert trials.rule == "measurement_id"
    assert same_groups(trials.of, poses["trial"])


@pytest.mark.parametrize("column", ["trials_id", "trial_id"])
def test_measurements_of_one_pair_give_way_to_a_trial_column(tmp_path: Path, column: str) -> None:
    poses = make_poses().assign(measurement_id=range(200))
    poses[column] = poses["trial"] * 7
    trials = find_trials(poses, nothing(tmp_path))
    assert trials.rule == column
    assert same_groups(trials.of, poses["trial"])


def test_trials_may_have_names_in_words(tmp_path: Path) -> None:
    poses = make_poses(trials=3).assign(measurement_id=range(60))
    poses["trials_id"] = poses["trial"].map({0: "gait", 1: " 7.0", 2: None})
    trials = find_trials(poses, nothing(tmp_path))
    names = trial_names(poses, trials)
    assert [names[0], names[20], names[40], names[59]] == ["gait", "7", "unnamed40", "unnamed59"]
    assert rows_of_trials(names, ["gait"], trials.rule, "it").sum() == 20


def test_ranges_of_trials_are_those_that_are_there_unless_a_trial_has_that_name() -> None:
    there = np.array(["1", "1", "2", "3", "12", "gait", "4-5"], object)
    assert named_trials(["2-11", "gait", "2"], there) == ["2", "3", "gait"]
    assert named_trials(["4-5", "6-9", "x-y"], there) == ["4-5", "6-9", "x-y"]
    assert rows_of_trials(there, ["1-2"], "rule", "it").tolist() == [True] * 3 + [False] * 4
    with pytest.raises(DataError, match="it has no trial 6-9"):
        rows_of_trials(there, ["6-9"], "rule", "it")


@pytest.mark.parametrize("pairs_each", [1, 2])
def test_measurements_of_one_or_two_pairs_give_way_to_the_databases_trials(tmp_path: Path, pairs_each: int) -> None:
    poses = make_poses()
    poses["measurement_id"] = np.arange(200) // pairs_each + 40
    rows = poses.groupby("measurement_id")["trial"].first().reset_index().rename(columns={"measurement_id": "id"})
    trials = find_trials(poses, database(tmp_path / "v.db", "trials_id", rows))
    assert trials.rule == "trials_id of v.db"
    assert same_groups(trials.of, poses["trial"])


def test_without_any_column_runs_of_ids_broken_at_jumps_are_trials(tmp_path: Path) -> None:
    poses = make_poses().assign(measurement_id=range(200))
    trials = find_trials(poses, nothing(tmp_path))
    assert trials.rule == RUNS
    assert same_groups(trials.of, poses["trial"])
    assert any("no column identifies the trials" in warning for warning in split_by_trial(poses, trials).warnings)


def test_runs_end_at_gaps_and_at_another_anatomy(tmp_path: Path) -> None:
    poses = make_poses(trials=1, frames=30)
    poses.loc[21:, "anatomy_id"] = 3
    trials = find_trials(poses.drop(index=[8, 9]), nothing(tmp_path))
    assert trials.of.groupby(trials.of).apply(lambda group: as_ranges(group.index)).tolist() == [
        "1-7",
        "10-20",
        "21-30",
    ]


@pytest.mark.parametrize(("trials", "frames"), [(3, 5), (4, 3), (10, 20), (50, 7)])
def test_split_does_not_divide_trials_and_uses_every_pair_once(tmp_path: Path, trials: int, frames: int) -> None:
    poses = make_poses(trials, frames)
    poses["measurement_id"] = poses["trial"]
    found = find_trials(poses, nothing(tmp_path))
    split = split_by_trial(poses, found)
    sides = [set(poses.loc[ids, "trial"]) for ids in (split.train, split.val, split.test)]
    assert all(sides)
    assert not (sides[0] & sides[1])
    assert not (sides[0] & sides[2])
    assert not (sides[1] & sides[2])
    assert sorted(np.concatenate([split.train, split.val, split.test])) == poses.index.tolist()
    assert split.leaks == 0
    assert split.warnings == ()
    if trials >= 10:
        assert 0.6 * len(poses) <= len(split.train) <= 0.8 * len(poses)
    assert split_by_trial(poses.sample(frac=1, random_state=1), found).as_dict() == split.as_dict()


def test_two_trials_cannot_be_split(tmp_path: Path) -> None:
    poses = make_poses(2, 20)
    poses["measurement_id"] = poses["trial"]
    with pytest.raises(DataError, match="40 pairs are from 2 trials"):
        split_by_trial(poses, find_trials(poses, nothing(tmp_path)))


def test_published_split_is_in_id_order_and_reported_to_leak(tmp_path: Path) -> None:
    poses = make_poses(60, 20)
    poses["measurement_id"] = poses["trial"]
    split = split_as_published(poses.drop(index=range(1, 11)), find_trials(poses, nothing(tmp_path)))
    assert (split.train[0], split.train[-1], split.val[0], split.val[-1]) == (11, 810, 811, 1010)
    assert np.array_equal(split.val, split.test)
    assert split.leaks == 1  # id 811 follows id 810 in one motion
    assert "1 trial is shared between the splits" in split.warnings[0]


def test_split_by_frame_is_found_to_leak() -> None:
    poses = make_poses()
    odd = np.array([i for i in poses.index if i % 2], np.int64)
    even = np.array([i for i in poses.index if not i % 2], np.int64)
    assert count_leaks(poses, even, odd) == 100
    poses.loc[odd, "tx"] += 50.0
    assert count_leaks(poses, even, odd) == 0


@pytest.mark.parametrize("ids", [[], [7], [1, 2, 3, 9, 11, 12]])
def test_ranges(ids: list[int]) -> None:
    assert from_ranges(as_ranges(ids)).tolist() == ids
    assert as_ranges([1, 2, 3, 9, 11, 12]) == "1-3,9,11-12"


def test_a_device_is_no_database() -> None:
    with pytest.raises(sqlite3.Error, match="is not a regular file"), connect(Path(os.devnull)):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="a folder of another machine, simulated by two slashes")
def test_a_database_in_a_shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows resolves the drives of a network: SQLite would take its first part for the name of a machine."""
    contents = database(tmp_path / "v #1%.db", "trials_id", pd.DataFrame({"id": [1], "trial": [2]}))
    monkeypatch.setattr(Path, "resolve", lambda path: Path(f"/{path}"))
    with connect(contents.databases[0]) as connection:
        assert connection.execute("select trials_id from measurements").fetchall() == [(2,)]
        with pytest.raises(sqlite3.Error, match="readonly"):
            connection.execute("delete from measurements")
