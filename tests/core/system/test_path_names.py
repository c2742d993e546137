"""Names that Windows does not take are refused there, and those that no file system takes everywhere."""

from __future__ import annotations

from pathlib import PurePath, PurePosixPath, PureWindowsPath

import pytest

from medcli.core.system.path_names import path_fault


@pytest.mark.parametrize(
    ("path", "name", "said"),
    [
        (r"D:\runs\a?b\c", "a?b", "allows no ?"),
        (r"runs\*.png", "*.png", "allows no *"),
        ("notes.txt:second", "notes.txt:second", "allows no :"),
        ("a\tb", "a\tb", "no control character"),
        (r"out\CON\x", "CON", "for a device"),
        ("aux.csv", "aux.csv", "for a device"),
        ("lpt1", "lpt1", "for a device"),
        (r"runs\first.", "first.", "drops the dot"),
        (r"runs \first", "runs ", "drops the blank"),
        (r"\\server\share\nul\x", "nul", "for a device"),
    ],
)
def test_names_that_windows_does_not_take(path: str, name: str, said: str) -> None:
    found, fault = path_fault(PureWindowsPath(path))
    assert (found, said in fault) == (name, True), fault
    assert path_fault(PurePosixPath(path)) == ("", "")


@pytest.mark.parametrize(
    "path",
    [
        r"C:\Users\Zoë\data 1\runs",
        "D:",
        "D:data",
        r"\\server\share\data",
        r"\\?\C:\data",
        r"..\..\x",
        ".hidden",
        "console.txt",
        "a.con",
        "com10",
        "./a,b;c=d&e(f)'g",
    ],
)
def test_names_that_windows_takes(path: str) -> None:
    assert path_fault(PureWindowsPath(path)) == ("", "")


@pytest.mark.parametrize("kind", [PurePosixPath, PureWindowsPath])
def test_names_that_no_file_system_takes(kind: type[PurePath]) -> None:
    assert path_fault(kind("a" * 255)) == ("", "")
    assert "256 bytes is longer than the 255" in path_fault(kind("x") / ("é" * 128))[1]
