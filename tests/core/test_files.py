from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medcli.core import files
from medcli.core.errors import MedcliError, UsageError


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with files.replacing(target) as part:
        part.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail_half_way() -> None:
        with files.replacing(target) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_a_link_is_followed_and_a_device_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    (tmp_path / "device").symlink_to(os.devnull)
    with pytest.raises(MedcliError, match="not a regular file"):
        files.write_text(tmp_path / "device", "new")


def test_bytes_and_text(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "b", b"\x00\xff", durable=False)
    files.write_text(tmp_path / "t", "é\n")
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    assert (tmp_path / "t").read_bytes() == "é\n".encode()


def test_left_overs_of_dead_processes_are_removed_and_others_kept(tmp_path: Path, running_process: int) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    own = files.part_path(tmp_path / "image.jpg")
    names = {
        "dead": own.name.replace(f"-{os.getpid()}.", f"-{dead.stdout.strip()}."),
        "running": own.name.replace(f"-{os.getpid()}.", f"-{running_process}."),
        "elsewhere": f".image.jpg.another_host-{dead.stdout.strip()}.part",
        "not ours": "download.part",
    }
    for name in names.values():
        (tmp_path / name).write_bytes(b"half")
    assert files.remove_leftovers(tmp_path) == 1
    (tmp_path / names["dead"]).write_bytes(b"half")
    files.make_output_folder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names.values()) - {names["dead"]}


def test_output_folder(tmp_path: Path) -> None:
    assert list(files.make_output_folder(tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    for check in (files.make_output_folder, files.check_output_folder):
        with pytest.raises(MedcliError, match="cannot write to") as raised:
            check(tmp_path / "file")
        assert raised.value.hint == "choose another --out"  # --out may name a file in it


def test_a_folder_is_not_taken_for_a_file_that_may_be_replaced(tmp_path: Path) -> None:
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is a folder, expected the name of a file"):
            files.check_replaceable(tmp_path, overwrite)


@pytest.mark.skipif(os.name == "nt" or not Path("/proc/self").exists(), reason="has no file system without a disk")
def test_a_folder_that_rights_allow_and_the_system_does_not_make_is_refused_before_the_work() -> None:
    with pytest.raises(MedcliError, match=r"cannot write to /proc/medcli/masks: no folder can be made in /proc"):
        files.check_output_folder(Path("/proc/medcli/masks"))


@pytest.mark.skipif(sys.platform != "win32", reason="other systems have no drives")
def test_a_drive_that_is_not_there_is_named() -> None:
    with pytest.raises(MedcliError, match=r"cannot write to Q:\\out: there is no Q:\\"):
        files.check_output_folder(Path("Q:/out"))


def test_cache_folder_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCLI_CACHE_DIR", str(tmp_path / "cache"))
    assert files.cache_folder("maps") == tmp_path / "cache" / "maps"
    assert files.cache_folder("maps").is_dir()


def test_usable_cores() -> None:
    assert 1 <= files.usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_only_regular_files_of_a_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "large").write_bytes(b"abc")
    held = os.open(tmp_path / "pipe", os.O_RDWR)  # a reader that opens it would not wait here, but would not end
    for path, reason in (
        (tmp_path / "pipe", "a pipe, a socket or a device"),
        (Path(os.devnull), "a pipe, a socket or a device"),
        (tmp_path, "a folder"),
        (tmp_path / "circle", "symbolic links"),
    ):
        with pytest.raises(OSError, match=reason):
            files.open_regular(path)
    os.close(held)
    assert files.read_whole(tmp_path / "large", most=3) == b"abc"
    with pytest.raises(OSError, match="it has 3 bytes, more than the limit of 2"):
        files.read_whole(tmp_path / "large", most=2)


def test_a_link_in_a_circle_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    files.write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_temporary_names_of_two_long_names_differ(tmp_path: Path) -> None:
    names = [
        files.part_path(tmp_path / f"{'n' * length}{ending}").name for length in (250, 251) for ending in (".a", ".b")
    ]
    assert len(set(names)) == 4
    assert max(map(len, names)) <= files.LONGEST_NAME
    assert all(files._PART.match(name) for name in names)
