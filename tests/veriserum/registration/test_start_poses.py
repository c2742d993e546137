"""Start poses: completion from the pose table, and their frame."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.synthetic.fluoroscopy.dataset import SyntheticVeriserum, make_veriserum
from medcli.veriserum.geometry.biplane import PoseFrame
from medcli.veriserum.registration.register import register_poses
from medcli.veriserum.registration.start_poses import Sources, StartPoses, select

POSE = ["tx", "ty", "tz", "rz", "rx", "ry"]


def test_start_poses_are_filled_from_the_pose_table(study: SyntheticVeriserum, tmp_path: Path) -> None:
    """Also if a column exists but is empty; an obsolete id stays obsolete."""
    root = tmp_path / "study"
    shutil.copytree(study.root, root)
    file = root / "csv_files" / "veriserum_pose_reloaded_refined_all.csv"
    table = pd.read_csv(file)
    table.loc[table["id"] == 2, "obsolete"] = 1
    table.to_csv(file, index=False)
    start = table[["id", *POSE]].assign(anatomy_id="", obsolete="")
    start.to_csv(tmp_path / "start.csv", index=False)
    out = tmp_path / "poses.csv"
    result = register_poses(Sources(root, start=tmp_path / "start.csv"), out, ids=[(1, 2)])
    assert (result.done, result.failures) == (1, [])
    row = pd.read_csv(out, dtype=str).iloc[0]
    assert (row["id"], row["anatomy_id"], row["obsolete"]) == ("1", str(table["anatomy_id"][0]), "0")
    assert row["measurement_id"] == str(table["measurement_id"][0])


@pytest.mark.parametrize("frame", [PoseFrame.FS, PoseFrame.SOURCE_BS])
def test_poses_in_another_frame_are_returned_in_it(study: SyntheticVeriserum, tmp_path: Path, frame: PoseFrame) -> None:
    plain = StartPoses(Sources(study.root))
    row = StartPoses(Sources(study.root, frame=frame)).pose_cells(1, plain.pose(1))
    assert abs(row["tz"] - plain.table.loc[1, "tz"]) > 10
    pd.DataFrame([{"id": 1, **row}]).to_csv(tmp_path / "start.csv", index=False)
    read = StartPoses(Sources(study.root, tmp_path / "start.csv", frame=frame))
    assert np.allclose(read.pose(1), plain.pose(1), atol=1e-4)


@pytest.mark.parametrize("is_tibia_first", [True, False])
def test_a_table_of_both_components_gives_the_one_that_is_asked_for(
    tmp_path: Path, is_tibia_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the order of its rows; what is left out is said."""
    settings = {"frames_per_trial": 2, "anatomies": (3,), "obsolete_every": 0, "both_poses": True}
    root = make_veriserum(tmp_path / "study", pairs=2, seed=1, **settings).root
    rows = pd.read_csv(root / "csv_files" / "veriserum_pose_reloaded_refined_all.csv")
    femur = int(rows["anatomy_id"].min())
    rows = rows.sort_values(["id", "anatomy_id"], ascending=[True, not is_tibia_first])
    rows.to_csv(tmp_path / "start.csv", index=False)
    rows.drop(columns="anatomy_id")[rows["anatomy_id"] == 3].to_csv(tmp_path / "unnamed.csv", index=False)
    for anatomy, expected in ((None, femur), (femur, femur), (3, 3)):
        for file in (tmp_path / "start.csv", Path("table")):
            caplog.clear()
            starts = StartPoses(Sources(root, start=file), None if anatomy is None else {anatomy})
            assert select(starts, [(1, 2)], anatomy) == ([1, 2], 0)
            assert starts.table["anatomy_id"].tolist() == [expected] * 2
            wanted = rows[rows["anatomy_id"] == expected]
            assert np.allclose(starts.table[POSE].to_numpy(), wanted.sort_values("id")[POSE].to_numpy())
            assert ("2 poses of further components of ids not used" in caplog.text) == (anatomy is None)
    named = StartPoses(Sources(root, start=tmp_path / "unnamed.csv"), {3}).table
    assert named["anatomy_id"].tolist() == [3, 3]
