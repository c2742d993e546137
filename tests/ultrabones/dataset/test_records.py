"""Records with their poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcli.core.errors import DataError, UsageError
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.records import INITIAL, OPTIMIZED, Poses, find_sweeps, read_poses


def test_records_are_found_by_specimen_and_number(tmp_path: Path) -> None:
    make_ultrabones(tmp_path, (1, 2), records=2, settings=SweepSettings(frames=2, scale=0.1))
    names = [sweep.name for sweep in find_sweeps(tmp_path, [2])]
    assert names == ["specimen02 fibula record01", "specimen02 fibula record02"]
    assert len(find_sweeps(tmp_path, records=[2])) == 2
    with pytest.raises(DataError, match=r"no specimen 7 in .*; there are 1, 2"):
        find_sweeps(tmp_path, [2, 7])


def test_poses_are_the_optimised_ones_where_there_are_any(tmp_path: Path) -> None:
    plain = SweepSettings(frames=2, scale=0.1, optimized_columns=False)
    (tracked,) = find_sweeps(make_ultrabones(tmp_path / "a", (1,), settings=plain))
    (both,) = find_sweeps(make_ultrabones(tmp_path / "b", (1,), settings=SweepSettings(frames=2, scale=0.1)))
    assert (read_poses(tracked).kind, read_poses(both).kind) == (INITIAL, OPTIMIZED)
    assert read_poses(both, INITIAL).pose.shape == (2, 6)
    with pytest.raises(DataError, match="has no optimised poses"):
        read_poses(tracked, OPTIMIZED)
    with pytest.raises(UsageError, match="poses are initial or optimized, not best"):
        read_poses(both, "best")


def test_rows_that_cannot_be_used_say_why() -> None:
    poses = Poses(INITIAL, np.zeros((3, 6)), np.array([0.05, 0.05, 40.0]))
    poses.pose[1, 2] = np.nan
    assert poses.problem(0) == ""
    assert "not a number" in poses.problem(1)
    assert "space_factor is 40" in poses.problem(2)
