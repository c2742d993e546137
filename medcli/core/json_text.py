"""Values as JSON: dataclasses, paths, enumerations and NumPy numbers to what JSON knows, and objects from files."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path, PureWindowsPath
from typing import Any

from medcli.core.secrets import redact

INLINE = {"inline": True}
"""Metadata of a dataclass field that is a mapping: its entries are written among the fields of the dataclass."""


def to_plain(value: Any) -> Any:
    """``value`` in the types that JSON knows, at any depth; numbers that are not finite become null.

    Dataclasses and mappings become objects (keys as text), sequences, sets and arrays lists, enumerations their
    values, paths text; credentials in texts are hidden (:func:`medcli.core.secrets.redact`).

    Raises:
        TypeError: it holds something else.
    """
    if isinstance(value, Enum):
        return to_plain(value.value)
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, (bool, int, type(None))):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dict(_entries(value))
    if isinstance(value, Mapping):
        return {redact(str(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return redact(str(value))
    if hasattr(value, "tolist"):  # NumPy arrays and scalars, without importing NumPy here
        return to_plain(value.tolist())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(value):
        plain = to_plain(getattr(value, field.name))
        if INLINE.items() <= field.metadata.items():
            yield from plain.items()
        else:
            yield field.name, plain


def to_json(value: Any, is_ascii: bool = False) -> str:
    """``value`` (see :func:`to_plain`) as indented JSON text.

    Args:
        is_ascii: with escapes for all other characters, so that every encoding gives the same bytes.
    """
    return json.dumps(to_plain(value), indent=2, ensure_ascii=is_ascii, allow_nan=False)


def parse_json(text: str | bytes, no_doubles: bool = False) -> Any:
    """What JSON from a file or a server says.

    Args:
        text: the JSON; bytes are UTF-8.
        no_doubles: also refuse an object with one key twice, of which readers take different ones.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or holds a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_doubles if no_doubles else None)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object of its JSON has one key twice")
    return found


def recorded_path(text: object) -> Path:
    """The path that a file names, also one that was written on another system: ``runs\\a`` of Windows is ``runs/a``.

    One with a drive (``D:\\data``) exists on Windows alone; its last part is still its name.
    """
    path = Path(str(text))
    if os.name == "nt" or "\\" not in str(text) or path.exists():  # here, a name may hold a backslash
        return path
    return Path(PureWindowsPath(str(text)).as_posix())


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none that can be read."""
    try:
        found = parse_json(path.read_bytes()) if path.is_file() else {}  # a pipe would be waited for without end
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
