"""The quick checks raise the errors that the commands would raise later, and pass what the commands can use."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from medcli.core.errors import DataError
from medcli.veriserum.dataset import contents_check
from medcli.veriserum.dataset.folder_index import POSES, TableKind
from medcli.veriserum.dataset.study import VeriserumStudy
from tests.support.errors import error_of

POSE_HEAD = "id,distortion_calibration_id,tx"


def nothing(root: Path) -> None:
    pass


def csv_of(text: str, name: str = "veriserum_pose.csv") -> Callable[[Path], object]:
    def write(root: Path) -> None:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, "utf-8")

    return write


def database_of(table: str) -> Callable[[Path], object]:
    def write(root: Path) -> None:
        with sqlite3.connect(root / "veriserum.db") as connection:
            connection.execute(f"CREATE TABLE {table}")
        connection.close()

    return write


@pytest.mark.parametrize(
    "write",
    [
        nothing,
        Path.rmdir,
        csv_of(f"{POSE_HEAD}\n1,2,3\n"),
        csv_of(f"{POSE_HEAD}\n1,2,3\n", "tables/Veriserum_POSES.CSV"),
        csv_of(" ID , Distortion_Calibration_Id\n1,2\n"),
        csv_of(f"\ufeff{POSE_HEAD}\n1,2,3\n"),
        csv_of("id,tx\n1,2\n"),
        csv_of(""),
        csv_of(f"\n\n{POSE_HEAD}\n1,2,3\n"),
        csv_of("id;distortion_calibration_id\n1;2\n"),
        csv_of("id,distortion_calibration_id,id\n1,2,3\n"),
        csv_of(f"{POSE_HEAD}\n1,2,3\n", "other.csv"),
        database_of("Poses (id, distortion_calibration_id)"),
        database_of("Poses (id)"),
    ],
)
@pytest.mark.parametrize("file", [None, "veriserum_pose.csv", "veriserum.db"])
def test_tables(tmp_path: Path, write: Callable[[Path], object], file: str | None) -> None:
    root = tmp_path / "data"
    root.mkdir()
    write(root)
    named = root / file if file else None
    study = VeriserumStudy(root, files={POSES: named})
    assert error_of(lambda: contents_check.check_table(root, POSES, named)) == error_of(lambda: study.table(POSES))


@pytest.mark.parametrize("name", ["bs_000001.jpg", "deep/below/fs_000001.png", "calibrated/calibrated_bs_000001.jpg"])
def test_images(tmp_path: Path, name: str) -> None:
    assert error_of(lambda: contents_check.check_native_images(tmp_path)) is not None
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    is_calibrated = "calibrated" in name
    assert (error_of(lambda: contents_check.check_native_images(tmp_path)) is None) is not is_calibrated
    assert error_of(lambda: contents_check.check_pair_images(tmp_path, None)) is None
    given = tmp_path / "calibrated"
    study = VeriserumStudy(tmp_path, given)
    later = error_of(lambda: study.calibrated_images)
    assert error_of(lambda: contents_check.check_pair_images(tmp_path, given)) == later
    assert (later is None) is is_calibrated


def test_several_tables_of_one_kind_are_left_to_the_command(tmp_path: Path) -> None:
    for name in ("veriserum_pose_a.csv", "veriserum_pose_b.csv"):
        (tmp_path / name).write_text("id\n1\n")
    contents_check.check_table(tmp_path, POSES)


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    try:
        (tmp_path / "below" / "again").symlink_to(tmp_path)
    except OSError:
        pytest.skip("this system makes no links")
    assert error_of(lambda: contents_check.check_native_images(tmp_path)) is not None


def test_kinds_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "veriserum_pose.csv").write_text(f"{POSE_HEAD}\n1,2,3\n")
    other = TableKind("other table", "other", ("id",), "--other")
    with pytest.raises(DataError, match="no other table in"):
        contents_check.check_table(tmp_path, other)
