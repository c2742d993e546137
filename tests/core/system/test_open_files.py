"""Files that another program has open for a moment are renamed and removed a moment later."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from medcli.core import files
from medcli.core.errors import UnwrittenFileError, system_failure
from medcli.core.system import open_files
from medcli.core.system.open_files import put_in_place, remove_file

Refuse = Callable[[int, int], list[int]]


def windows_error(code: int, path: Path) -> OSError:
    error = OSError(errno.EACCES, "Access is denied", str(path))
    error.winerror = code  # type: ignore[attr-defined, unused-ignore]
    return error


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Let renaming and removing fail some times, as on Windows where a virus scanner has the file open."""

    def set_up(code: int, times: int) -> list[int]:
        tries: list[int] = []
        for name in ("replace", "unlink"):
            real = getattr(Path, name)

            def refused(path: Path, *words: object, real: Callable[..., object] = real, **more: object) -> object:
                tries.append(1)
                if len(tries) <= times:
                    raise windows_error(code, path)
                return real(path, *words, **more)

            monkeypatch.setattr(Path, name, refused)
        monkeypatch.setattr(open_files.time, "sleep", lambda seconds: None)
        return tries

    return set_up


@pytest.mark.parametrize("code", [5, 32, 33, 1224])
def test_what_is_refused_for_a_moment_is_tried_again(tmp_path: Path, refuse: Refuse, code: int) -> None:
    (tmp_path / "part").write_text("new")
    (tmp_path / "file").write_text("old")
    assert len(refuse(code, 3)) == 0
    put_in_place(tmp_path / "part", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "new"
    tries = refuse(code, 3)
    remove_file(tmp_path / "file")
    remove_file(tmp_path / "file")  # which is not there any more
    assert len(tries) == 5
    assert list(tmp_path.iterdir()) == []


def test_other_errors_and_those_that_last_are_raised(tmp_path: Path, refuse: Refuse) -> None:
    tries = refuse(112, 1)  # the disk is full
    with pytest.raises(OSError, match="denied"):
        remove_file(tmp_path)
    assert len(tries) == 1
    tries = refuse(32, 1000)
    with pytest.raises(OSError, match="denied"):
        remove_file(tmp_path)
    assert 5 < len(tries) < 20


@pytest.mark.parametrize(
    ("code", "said"),
    [(32, "another program has the file open: cannot"), (5, "permission is missing, or another program has the file")],
)
def test_the_user_is_told_that_a_program_has_the_file_open(
    tmp_path: Path, refuse: Refuse, code: int, said: str
) -> None:
    (tmp_path / "table.csv").write_text("old")
    refuse(code, 1000)
    with pytest.raises(UnwrittenFileError) as raised:
        files.write_text(tmp_path / "table.csv", "new")
    failure = system_failure(raised.value)
    assert failure is not None
    assert failure.message.startswith(said)
    assert str(tmp_path / "table.csv") in failure.message
    assert (tmp_path / "table.csv").read_text() == "old"


def test_a_file_that_is_really_open_is_replaced_once_it_is_closed(tmp_path: Path) -> None:
    """On Windows the rename waits for it; elsewhere nothing stands in its way."""
    (tmp_path / "file").write_text("old")
    with (tmp_path / "file").open() as reader:
        closing = threading.Timer(0.2, reader.close)
        closing.start()
        files.write_text(tmp_path / "file", "new")
        closing.join()
    assert (tmp_path / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
