"""Folders of masks: what filled them, and whose masks they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medcli.core.errors import UsageError
from medcli.ultrabones.segmentation.prediction_folders import MANIFEST, prepare_folders


def manifest(network: str = "a", threshold: float = 0.5) -> dict[str, Any]:
    return {"checkpoint_sha256": network, "threshold": threshold}


def noted(folder: Path) -> dict[str, Any]:
    return json.loads((folder / MANIFEST).read_text("utf-8"))


def test_a_folder_says_which_network_filled_it(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    prepare_folders(folders, manifest())
    assert [noted(folder) for folder in folders] == [manifest()] * 2
    prepare_folders(folders, manifest("b"))
    assert noted(folders[0]) == manifest("b")


def test_masks_of_another_program_are_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "7_label_pred.png").touch()
    with pytest.raises(UsageError, match="1 folder holds masks that medcli did not write"):
        prepare_folders([tmp_path], manifest())
    prepare_folders([tmp_path], manifest(), skip_existing=True)
    assert not (tmp_path / MANIFEST).exists()  # they are still not ours
    prepare_folders([tmp_path], manifest(), overwrite=True)
    assert noted(tmp_path) == manifest()


def test_where_masks_stay_every_network_is_noted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepare_folders([tmp_path], manifest())
    (tmp_path / "7_label_pred.png").touch()
    for _ in range(2):
        prepare_folders([tmp_path], manifest("b"), skip_existing=True)
    assert noted(tmp_path) == {**manifest(), "also": [manifest("b")]}
