"""A folder is there whole or not at all; what was there stays until the new one is complete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medcli.core.errors import MedcliError, UsageError
from medcli.core.folders.whole_folder import check_folder_target, replacing_folder, restore_folder
from tests.conftest import REPOSITORY


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


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own")
def test_the_working_folder_by_a_name_that_the_system_does_not_resolve_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a drive of Windows beside the share that it stands for."""
    (tmp_path / "share/in").mkdir(parents=True)
    (tmp_path / "drive").symlink_to(tmp_path / "share")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "share/in")
    monkeypatch.setattr(Path, "resolve", Path.absolute)
    for out in (tmp_path / "drive", tmp_path / "drive/in"):
        with pytest.raises(UsageError, match="the folder that you are in"):
            check_folder_target(out, True, "a test", "note")
    check_folder_target(tmp_path / "other", True, "a test", "note")
    check_folder_target(tmp_path / "drive/new", True, "a test", "note")


def test_the_working_folder_and_those_above_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    for out in (Path(), Path(".."), tmp_path / "in"):
        with pytest.raises(UsageError, match="the folder that you are in"):
            check_folder_target(out, True, "medcli x", "note.json")


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


KILLED = """
import os, pathlib, sys
from medcli.core.folders.whole_folder import replacing_folder
rename = pathlib.Path.replace
def killed(path, target):
    rename(path, target)
    if str(target).count(".replaced."):
        os._exit(9)
pathlib.Path.replace = killed
with replacing_folder(pathlib.Path(sys.argv[1])) as part:
    (part / "new").touch()
"""


def replaced(out: Path, name: str, fails: bool = False) -> None:
    with replacing_folder(out) as part:
        (part / name).touch()
        if fails:
            raise ValueError


def content(out: Path) -> list[str]:
    """What is in a folder, which is alone in the one above."""
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    return sorted(path.name for path in out.iterdir())


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A folder whose content lies aside: the process that replaced it ended without a word between two renames."""
    out = tmp_path / "above/ou[t"
    replaced(out, "old")
    ran = subprocess.run([sys.executable, "-c", KILLED, str(out)], cwd=REPOSITORY, check=False)
    assert (ran.returncode, out.exists(), len(list(out.parent.iterdir()))) == (9, False, 2)
    return out


def test_after_a_kill_between_both_renames_the_next_run_replaces(killed: Path) -> None:
    replaced(killed, "newer")
    assert content(killed) == ["newer"]


def test_after_a_kill_between_both_renames_the_old_content_is_back(
    killed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError):
        replaced(killed, "newer", fails=True)
    assert content(killed) == ["old"]
    assert "the content from before is back" in caplog.text


def test_after_a_kill_the_old_content_counts_for_overwrite(killed: Path) -> None:
    with pytest.raises(UsageError, match="exists"):
        check_folder_target(killed, False, "medcli x", "old")
    assert content(killed) == ["old"]
    check_folder_target(killed, True, "medcli x", "old")


def test_old_content_that_cannot_be_put_back_is_named(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refuse)
        with pytest.raises(MedcliError, match="cannot put back what") as refused:
            check_folder_target(killed, False, "medcli x", "old")
    (old,) = killed.parent.glob(".*.replaced.*")
    assert str(old) in str(refused.value.hint)
    restore_folder(killed)
    assert content(killed) == ["old"]


def test_what_another_program_put_there_since_and_the_old_content_both_stay(
    killed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed.mkdir()
    (killed / "another").touch()
    restore_folder(killed)
    restore_folder(killed)
    (old,) = killed.parent.glob(".*.replaced.*")
    assert [path.name for path in (*old.iterdir(), *killed.iterdir())] == ["old", "another"]
    assert str(old) in caplog.text


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, OSError])
def test_an_end_between_both_renames_loses_nothing(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "above/out"
    replaced(out, "old")
    rename = Path.replace
    with monkeypatch.context() as patched:

        def ends(path: Path, target: Path) -> Path:
            if target == out and path.name.startswith(".out.importing-"):
                raise error
            return rename(path, target)

        patched.setattr(Path, "replace", ends)
        with pytest.raises(error):
            replaced(out, "new")
    assert content(out) == ["old"]


def test_a_run_leaves_the_part_of_another_one_alone(tmp_path: Path, running_process: int) -> None:
    theirs = tmp_path / f".out.importing-{running_process}"
    theirs.mkdir()
    (tmp_path / ".out.importing-999999999").mkdir()
    replaced(tmp_path / "out", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [theirs.name, "out"]
