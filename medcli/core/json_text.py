"""Values as JSON: dataclasses, paths, enumerations and NumPy numbers to what JSON knows, and objects from files."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

INLINE = {"inline": True}
"""Metadata of a dataclass field that is a mapping: its entries are written among the fields of the dataclass."""


def to_plain(value: Any) -> Any:
    """``value`` in the types that JSON knows, at any depth; numbers that are not finite become null.

    Dataclasses and mappings become objects (keys as text), sequences, sets and arrays lists, enumerations their
    values, paths text.

    Raises:
        TypeError: it holds something else.
    """
    if isinstance(value, Enum):
        return to_plain(value.value)
    if isinstance(value, (str, bool, int, type(None))):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dict(_entries(value))
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
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


def to_json(value: Any) -> str:
    """``value`` (see :func:`to_plain`) as indented JSON text."""
    return json.dumps(to_plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
