"""Names that no file system takes, and those that Windows does not."""

from __future__ import annotations

import re
from pathlib import PurePath, PureWindowsPath

from medcli.core.errors import quantity

LONGEST_NAME = 255
"""Bytes that a name of a file may have, on every file system in use."""
REFUSED_ON_WINDOWS = r'\x00-\x1f:*?"<>|'
RESERVED_ON_WINDOWS = r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])"
"""Devices, also with an ending: ``aux.csv``."""
_REFUSED = re.compile(f"[{REFUSED_ON_WINDOWS}]")
_RESERVED = re.compile(rf"{RESERVED_ON_WINDOWS} *(?:\..*)?", re.IGNORECASE)


def path_fault(path: PurePath) -> tuple[str, str]:
    """A name in a path that cannot be used on the system of the path, and why; both empty if all can.

    https://learn.microsoft.com/windows/win32/fileio/naming-a-file
    """
    names = path.parts[1:] if path.anchor else path.parts
    for name in names:
        if fault := _name_fault(name, isinstance(path, PureWindowsPath)):
            return name, fault
    return "", ""


def _name_fault(name: str, is_windows: bool) -> str:
    length = len(name.encode("utf-8", "surrogateescape"))
    if length > LONGEST_NAME:
        return f"a name of {quantity(length, 'byte')} is longer than the {LONGEST_NAME} that file systems allow"
    if not is_windows or name == "..":
        return ""
    if found := _REFUSED.search(name):
        return f"Windows allows no {found[0] if found[0].isprintable() else 'control character'} in a name"
    if _RESERVED.fullmatch(name):
        return "Windows keeps that name for a device"
    if name.endswith((".", " ")):
        return f"Windows drops the {'dot' if name.endswith('.') else 'blank'} at the end of a name"
    return ""
