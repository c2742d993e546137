"""Paths that are too long for a Windows on which long paths are not enabled."""

from __future__ import annotations

import os
from typing import Any

LONGEST_WINDOWS_PATH = 259
"""Characters of a whole path, where Windows' setting for long paths is off."""


def long_path_fault(path: os.PathLike[str] | str) -> str:
    """Why Windows finds no place for a path that is too long for it; empty elsewhere, and if it is not.

    https://learn.microsoft.com/windows/win32/fileio/maximum-file-path-limitation
    """
    length = len(os.path.abspath(path))  # noqa: PTH100 - a text of any length
    if length <= LONGEST_WINDOWS_PATH or takes_long_paths():
        return ""
    return (
        f"the path has {length} characters, and this Windows takes {LONGEST_WINDOWS_PATH}: choose a folder higher up, "
        "or have long paths enabled (LongPathsEnabled)"
    )


def takes_long_paths() -> bool:
    """Whether the system takes paths of any usual length; Windows does once its administrator has said so."""
    if os.name != "nt":
        return True
    import ctypes

    system: Any = ctypes.WinDLL("ntdll")  # type: ignore[attr-defined]
    try:
        return bool(system.RtlAreLongPathsEnabled() & 0xFF)
    except AttributeError:  # before Windows 10
        return False
