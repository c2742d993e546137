"""Pairs for training: selection, sources of their pixels, and the cache."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import DataError, UsageError
from medcli.core.image_io import read_grey, write_image
from medcli.veriserum.calibration.undistort import ImageSelection, calibrate
from medcli.veriserum.dataset.pose_tables import pose_matrices
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.pose.pair_images import PairReader, read_together
from medcli.veriserum.pose.pairs import choose_pairs, find_pairs, open_pairs, targets_of
from medcli.veriserum.pose.settings import PoseSettings

POSES = "csv_files/veriserum_pose_reloaded_refined_all.csv"


@pytest.fixture
def root(pose_study: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(pose_study, tmp_path / "study"))


def change_poses(root: Path, change: dict[tuple[int, str], object]) -> None:
    table = pd.read_csv(root / POSES, index_col="id")
    for (number, column), value in change.items():
        table[column] = table[column].astype(object)
        table.loc[number, column] = value
    table.to_csv(root / POSES)


def test_originals_calibrated_on_the_fly_equal_the_calibrated_folder(root: Path, tmp_path: Path) -> None:
    fly = find_pairs(VeriserumStudy(root), "femur")
    assert fly.source == "originals"
    ids = fly.poses.index.to_numpy()
    _, on_the_fly, failures = read_together(fly.reader(128), fly.select(ids))
    assert failures == []
    calibrate(root)
    stored = find_pairs(VeriserumStudy(root), "femur")
    assert stored.source == "calibrated"
    _, from_files, _ = read_together(stored.reader(128), stored.select(ids))
    difference = np.abs(on_the_fly.astype(int) - from_files.astype(int))
    assert difference.mean() < 0.5  # of grey levels: JPEG
    assert difference.max() <= 8
    elsewhere = tmp_path / "elsewhere"
    shutil.move(root / "calibrated", elsewhere)
    assert find_pairs(VeriserumStudy(root), "femur").source == "originals"
    assert find_pairs(VeriserumStudy(root, elsewhere), "femur").source == "calibrated"


def test_calibrated_folder_with_too_few_images_is_not_used(root: Path) -> None:
    calibrate(root)
    (root / "calibrated" / "calibrated_bs_000001.jpg").unlink()
    (root / "calibrated" / "calibrated_fs_000001.jpg").unlink()
    assert find_pairs(VeriserumStudy(root), "femur").source == "originals"


def test_calibrated_folder_of_one_plane_is_not_used(root: Path) -> None:
    calibrate(root, selection=ImageSelection(planes=["bs"]))
    assert find_pairs(VeriserumStudy(root), "femur").source == "originals"


def test_anatomy_by_number_and_kind(pose_study: Path) -> None:
    table = pd.read_csv(pose_study / POSES, index_col="id")
    for name, wanted in (("1", (1,)), ("femur", (1, 2)), ("tibia", (3,)), (None, (1, 2, 3))):
        expected = table.index[table["anatomy_id"].isin(wanted)].tolist()
        assert find_pairs(VeriserumStudy(pose_study), name).poses.index.tolist() == expected
    with pytest.raises(DataError, match="no pose of anatomy 6; there are: 1, 2, 3"):
        find_pairs(VeriserumStudy(pose_study), "6")
    with pytest.raises(UsageError, match="'knee' is not femur, tibia or an anatomy_id"):
        find_pairs(VeriserumStudy(pose_study), "knee")


def test_obsolete_incomplete_and_broken_rows_are_omitted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = find_pairs(VeriserumStudy(root), "1").poses.index.tolist()
    change_poses(root, {(before[0], "obsolete"): 1, (before[1], "tx"): "nothing"})
    next(root.rglob(f"fs_{before[2]:06d}.jpg")).unlink()
    pairs = find_pairs(VeriserumStudy(root), "1")
    assert pairs.poses.index.tolist() == before[3:]
    assert (pairs.obsolete, pairs.incomplete) == (1, 1)


def test_targets_are_translation_and_two_rows() -> None:
    poses = pd.DataFrame([{"tx": 1.0, "ty": 2.0, "tz": 3.0, "rz": 90.0, "rx": 0.0, "ry": 0.0}])
    assert targets_of(poses)[0] == pytest.approx([1, 2, 3, 0, -1, 0, 1, 0, 0], abs=1e-6)
    assert pose_matrices(poses)[0, :3, :3] @ [1, 0, 0] == pytest.approx([0, 1, 0])


def test_cache_decodes_once_and_changed_pairs_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = PairReader.read
    done: list[int] = []

    def counted(self: PairReader, files: object) -> object:
        done.append(files.id)  # type: ignore[attr-defined]
        return read(self, files)  # type: ignore[arg-type]

    monkeypatch.setattr(PairReader, "read", counted)
    settings = PoseSettings(root=root, anatomy="femur", size=32)
    pairs = find_pairs(VeriserumStudy(root), "femur")
    split = choose_pairs(pairs)
    first = open_pairs(settings, pairs, split)
    assert len(done) == len(split.train) + len(split.val)
    again = open_pairs(settings, pairs, split)
    assert len(done) == len(split.train) + len(split.val)
    everything = np.arange(len(split.train))
    planes, targets = first.train.take(everything)
    assert planes.shape == (len(split.train), 2, 32, 32)
    assert np.array_equal(targets.numpy(), targets_of(pairs.poses.loc[split.train]))
    assert np.array_equal(planes, again.train.take(everything)[0])
    _, expected, _ = read_together(pairs.reader(32), pairs.select(split.train))
    assert np.array_equal(planes, expected)
    uncached = open_pairs(dataclasses.replace(settings, use_cache=False), pairs, split)
    assert np.array_equal(uncached.train.take(everything)[0], planes)

    done.clear()
    changed = Path(pairs.files[int(split.train[0])].bs)
    changed.write_bytes(cv2.imencode(".jpg", np.full((1600, 1664), 90, np.uint8))[1])
    assert not np.array_equal(open_pairs(settings, pairs, split).train.take(everything)[0], planes)
    assert done == [split.train[0]]


def test_originals_of_another_size_are_said_once_and_parts_of_images_left_out(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = find_pairs(VeriserumStudy(root), "femur")
    first, second, third = pairs.poses.index.to_numpy()[:3].tolist()
    small = pairs.files[first].bs, pairs.files[first].fs, pairs.files[second].bs
    for path in small:
        write_image(path, np.ascontiguousarray(read_grey(path)[::2, ::2]))
    write_image(pairs.files[third].fs, np.ascontiguousarray(read_grey(pairs.files[third].fs)[:, :1200]))
    chosen = pairs.select(np.array([first, second, third]))
    for size in (64, 32):  # network and overlays of one command
        good, _, failures = read_together(pairs.reader(size), chosen)
        assert good == [0, 1]
        assert len(failures) == 1
        assert "1200 x 1600 pixels, no whole image of 1664 x 1600" in failures[0]
    lines = [record.getMessage() for record in caplog.records if "pixels" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].partition(" is ")[0] in small
    assert "is 832 x 800 pixels, expected 1664 x 1600" in lines[0]


def test_an_unreadable_image_is_omitted_and_reported(root: Path) -> None:
    pairs = find_pairs(VeriserumStudy(root), "femur")
    split = choose_pairs(pairs)
    broken = int(split.train[0])
    Path(pairs.files[broken].fs).write_bytes(b"no image")
    opened = open_pairs(PoseSettings(root=root, anatomy="femur", size=32), pairs, split)
    assert len(opened.train) == len(split.train) - 1
    for again in (opened, open_pairs(PoseSettings(root=root, anatomy="femur", size=32), pairs, split)):
        assert len(again.failures) == 1
        assert again.failures[0].startswith(f"pair {broken}: {pairs.files[broken].fs} is not an image or is damaged: 8")
    assert np.array_equal(opened.train.take(np.array([0]))[1].numpy(), targets_of(pairs.poses.loc[split.train[1:2]]))
