"""Folders of masks: what filled them, and whose masks they hold."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from medcli.core.errors import UsageError
from medcli.core.files import part_path
from medcli.ultrabones.segmentation.prediction_folders import MANIFEST, KeptMasks, mask_origin, prepare_folders
from medcli.ultrabones.segmentation.prediction_inputs import InputSource


def manifest(network: str = "a", threshold: float = 0.5) -> dict[str, Any]:
    return {"checkpoint_sha256": network, "checkpoint": f"{network}.pth", "threshold": threshold}


def frame(folder: Path, stem: str = "7") -> InputSource:
    return InputSource(folder.parent / f"{stem}.png", folder, stem)


def noted(folder: Path) -> dict[str, Any]:
    return json.loads((folder / MANIFEST).read_text("utf-8"))


def test_a_folder_says_which_network_filled_it(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    assert prepare_folders([frame(folder) for folder in folders], manifest()) == folders
    assert [noted(folder) for folder in folders] == [manifest()] * 2
    prepare_folders([frame(folder) for folder in folders], manifest("b"))  # without a mask nothing is lost
    assert noted(folders[0]) == manifest("b")


def test_what_a_killed_run_was_writing_is_removed(tmp_path: Path) -> None:
    for place in ("overlays", "sweep", "sweep/overlays"):
        part = part_path(tmp_path / "out" / place / "a.jpg")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.with_name(part.name.replace(f"-{os.getpid()}.", "-999999999.")).touch()
    assert len(list(tmp_path.rglob("*.part"))) == 3
    prepare_folders([InputSource(tmp_path / "sweep.avi", tmp_path / "out", "sweep")], manifest())
    assert not list(tmp_path.rglob("*.part"))


def test_masks_of_another_program_are_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "7_label_pred.png").touch()
    with pytest.raises(UsageError, match="1 folder holds masks that medcli did not write"):
        prepare_folders([frame(tmp_path)], manifest())
    prepare_folders([frame(tmp_path)], manifest(), skip_existing=True)
    assert not (tmp_path / MANIFEST).exists()  # they are still not ours
    prepare_folders([frame(tmp_path)], manifest(), overwrite=True)
    assert noted(tmp_path) == manifest()


def test_where_masks_stay_every_network_is_noted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepare_folders([frame(tmp_path)], manifest())
    (tmp_path / "7_label_pred.png").touch()
    for _ in range(2):
        prepare_folders([frame(tmp_path)], manifest("b"), skip_existing=True)
    assert noted(tmp_path) == {**manifest(), "also": [manifest("b")]}


@pytest.mark.parametrize("mask", ["7_label_pred.png", "7/7_000001_label_pred.png"])
def test_masks_of_another_network_are_refused_and_replaced_when_asked(tmp_path: Path, mask: str) -> None:
    prepare_folders([frame(tmp_path)], manifest())
    (tmp_path / mask).parent.mkdir(exist_ok=True)
    (tmp_path / mask).touch()
    prepare_folders([frame(tmp_path)], manifest())
    with pytest.raises(
        UsageError, match=r"other options: --checkpoint was a\.pth, is b\.pth, threshold was 0\.5, is 0\.7"
    ):
        prepare_folders([frame(tmp_path)], manifest("b", 0.7))
    with pytest.raises(UsageError, match="--tta was off, is on"):
        prepare_folders([frame(tmp_path)], {**manifest(), "tta": True})
    assert noted(tmp_path) == manifest()
    prepare_folders([frame(tmp_path)], manifest("b"), overwrite=True)
    assert noted(tmp_path) == manifest("b")


@pytest.mark.parametrize("mask", ["7_label_pred.png", "7/7_000001_label_pred.png"])
def test_a_mask_whose_name_two_files_share_now_is_refused_and_removed_when_asked(tmp_path: Path, mask: str) -> None:
    prepare_folders([frame(tmp_path)], manifest())
    overlay = (tmp_path / mask).parent / "overlays" / f"{mask.split('/')[-1].split('_label')[0]}_overlay.jpg"
    overlay.parent.mkdir(parents=True)
    for path in (tmp_path / mask, overlay):
        path.touch()
    both = [InputSource(tmp_path / f"7.{ending}", tmp_path, f"7_{ending}") for ending in ("png", "avi")]
    with pytest.raises(UsageError, match=r"label_pred\.png is the mask of one of several files of that name"):
        prepare_folders(both, manifest())
    prepare_folders(both, manifest("b"), skip_existing=True)
    assert (tmp_path / mask).is_file()
    prepare_folders(both, manifest("b"), overwrite=True)
    assert not (tmp_path / mask).exists()
    assert not overlay.exists()
    assert noted(tmp_path) == manifest("b")


def test_masks_that_an_overwrite_does_not_reach_stay_noted(tmp_path: Path) -> None:
    prepare_folders([frame(tmp_path)], {**manifest(), "training_specimens": [1]})
    (tmp_path / "7_label_pred.png").touch()
    prepare_folders([frame(tmp_path, "8")], {**manifest("b"), "training_specimens": [2]}, overwrite=True)
    assert mask_origin(tmp_path) == [(1,), (2,)]
    with pytest.raises(UsageError, match="other options"):
        prepare_folders([frame(tmp_path)], manifest("b"))


def test_a_mask_is_kept_while_its_file_and_its_manifest_are_older(tmp_path: Path) -> None:
    source, folder = frame(tmp_path / "out"), tmp_path / "out"
    source.path.touch()
    prepare_folders([source], manifest())
    mask = source.mask_of(None)
    assert not KeptMasks()(source, mask)
    mask.touch()
    assert [KeptMasks()(source, mask), KeptMasks(none=True)(source, mask)] == [True, False]
    assert not KeptMasks(overlay=True)(source, mask)
    now = mask.stat().st_mtime
    os.utime(source.path, (now + 5, now + 5))
    assert [KeptMasks()(source, mask), KeptMasks(every=True)(source, mask)] == [False, True]
    os.utime(mask, (now + 5, now + 5))
    assert KeptMasks()(source, mask)
    os.utime(folder / MANIFEST, (now + 9, now + 9))
    assert not KeptMasks()(source, mask)
