"""The description that a checkpoint carries in its header: read back as something that may come from anybody."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medcli.core.errors import DataError, printable
from medcli.core.json_text import parse_json

_DEEPEST = 10
_NAME = re.compile(r"[A-Za-z0-9_][\w.+/-]{0,99}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
Rule = tuple[str, Callable[[Any], bool]]
"""What a field must be, in words, and whether a value is that."""

NAME: Rule = ("the name of a network", lambda value: isinstance(value, str) and bool(_NAME.fullmatch(value)))
TEXT: Rule = ("text", lambda value: isinstance(value, str))
OBJECT: Rule = ("a JSON object", lambda value: isinstance(value, dict))


def between(least: float, most: float) -> Rule:
    """A number from ``least`` to ``most``."""
    return f"a number from {least:g} to {most:g}", lambda value: is_finite_number(value) and least <= value <= most


def whole(least: int, most: int) -> Rule:
    """A whole number from ``least`` to ``most``."""
    return f"a whole number from {least} to {most}", lambda value: type(value) is int and least <= value <= most


def is_finite_number(value: Any) -> bool:
    """Whether ``value`` is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def list_of(kind: type, value: Any) -> bool:
    """Whether ``value`` is absent or a list of ``kind``."""
    return value is None or (isinstance(value, list) and all(type(item) is kind for item in value))


def are_splits(value: Any) -> bool:
    """Whether ``value`` is specimens of ``train`` and ``val`` and warnings, as a segmentation network's ``splits``."""
    kinds = {"train": int, "val": int, "warnings": str}
    return isinstance(value, dict) and all(list_of(kind, value.get(key)) for key, kind in kinds.items())


def parse_description(text: str) -> dict[str, Any]:
    """The JSON object in ``text``, if it is of a kind that can be printed.

    Raises:
        ValueError: it is none, is nested deeply, or holds control characters.
    """
    found = parse_json(text)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    level: list[Any] = [found]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, str) and _CONTROL.search(value):
                raise ValueError("control characters")
            if isinstance(value, dict):
                below += [*value, *value.values()]
            elif isinstance(value, list):
                below += value
        level = below
    if level:
        raise ValueError("nested deeply")
    return found


def read_described(
    text: str, family: str, schema: str, rules: Mapping[str, Rule], name: Path | str, kind: str
) -> dict[str, Any]:
    """The fields of a description that :data:`rules` name.

    Args:
        text: the description.
        family, schema: how its ``schema`` must begin, and what it must be.
        rules: what each field must be; those that are absent from the description are left out.
        name: of the file, for errors.
        kind: ``pose`` or ``segmentation``.

    Raises:
        DataError: not a description, of another kind of network, of a schema that this version does not know, or a
            field is not what it must be.
    """
    command = "medcli train pose" if kind == "pose" else "medcli train seg"
    try:
        values = parse_description(text)
        found = values["schema"]
    except (ValueError, KeyError) as error:
        raise DataError(f"{name} does not describe a {kind} network", f"use one that {command} wrote") from error
    if not isinstance(found, str) or not found.startswith(family):
        shown = printable(str(found) if isinstance(found, str) else "no text")
        raise DataError(f"{name} holds another kind of network ({shown}), expected one of {command}")
    if found != schema:
        raise DataError(f"{name} is of schema {printable(found)}, expected {schema}", "a newer medcli may read it")
    for field, (words, is_right) in rules.items():
        if field in values and not is_right(values[field]):
            raise DataError(f"{name} describes its network wrongly: {field} is not {words}")
    return {field: values[field] for field in rules if field in values}
