"""A folder is there whole or not at all; what was there stays until the new one is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcli.core.errors import MedcliError, UsageError
from medcli.core.folders.whole_folder import check_folder_target, replacing_folder


def test_a_folder_is_replaced_when_the_new_one_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "a b/ö"

    def fail() -> None:
        with replacing_folder(out) as part:
            (part / "new").touch()
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert not list(tmp_path.iterdir())
    with replacing_folder(out) as part:
        (part / "old").touch()
    with pytest.raises(ValueError):
        fail()
    assert [path.name for path in out.iterdir()] == ["old"]
    with replacing_folder(out) as part:
        (part / "new").touch()
    assert [path.name for path in out.iterdir()] == ["new"]
    assert [path.name for path in out.parent.iterdir()] == ["ö"]


def test_only_folders_of_the_same_command_are_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    check_folder_target(out, False, "medcli x", "note.json")
    out.mkdir()
    check_folder_target(out, False, "medcli x", "note.json")  # empty
    (out / "photo.png").touch()
    with pytest.raises(UsageError, match="exists"):
        check_folder_target(out, False, "medcli x", "note.json")
    with pytest.raises(UsageError, match="was not made by medcli x"):
        check_folder_target(out, True, "medcli x", "note.json")
    (out / "note.json").touch()
    check_folder_target(out, True, "medcli x", "note.json")
    with pytest.raises(MedcliError, match="is a file"):
        check_folder_target(out / "note.json", True, "medcli x", "note.json")
