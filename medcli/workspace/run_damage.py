"""Damage of the files that a run has left: which file, and what is wrong with it.

Files are written whole or not at all (:mod:`medcli.core.files`), so that one which is cut or empty was damaged later:
by a full disk, a copy that was interrupted, an editor.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from medcli.core.files import read_whole
from medcli.core.json_text import parse_json
from medcli.core.run_records.options import note_path, options_path, parse_toml
from medcli.training.run_folder import METRICS


def find_damage(path: Path, kind: str, names: Iterable[str]) -> str:
    """The first damaged file of a run, as ``result.json is cut or not JSON``; empty where there is none.

    Args:
        path: the run's folder or table.
        kind: the command that made it, which names the note and the options beside it.
        names: JSON objects that may be in the folder.
    """
    folder = path if path.is_dir() else path.parent
    inside = [folder / name for name in names] + [folder / METRICS] if path.is_dir() else []
    for file in (note_path(path, kind), options_path(path, kind), *inside):
        if file.is_file() and (problem := _problem_of(file)):
            return f"{file.name} {problem}"
    return ""


def _problem_of(file: Path) -> str:
    try:
        content = read_whole(file)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if not content.strip():
        return "is empty"
    try:
        text = content.decode("utf-8")
        if file.suffix == ".csv":
            return "" if _is_whole_table(text) else "is cut, or not a table of numbers"
        if file.suffix == ".toml":
            parse_toml(text)
            return ""
        return "" if isinstance(parse_json(text), dict) else "is not a JSON object"
    except ValueError:
        return f"is cut, or not {'TOML' if file.suffix == '.toml' else 'a table' if file.suffix == '.csv' else 'JSON'}"


def _is_whole_table(text: str) -> bool:
    """Whether every row has a cell for each column, empty or a number, and the last one its end."""
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    for row in rows:
        for cell in filter(None, row):
            float(cell)
    return bool(rows) and text.endswith("\n") and all(len(row) == len(header) for row in rows)
