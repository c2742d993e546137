"""Tables of implant poses: recognised by their header, and read."""

from __future__ import annotations

import csv
from pathlib import Path

_POSE_COLUMNS = {"id", "tx", "ty", "tz", "rz", "rx", "ry"}


def columns_of_poses(path: Path) -> set[str]:
    """The columns of a table of implant poses, whoever wrote it; none where the file is something else."""
    columns = _header(path)
    return columns if columns >= _POSE_COLUMNS else set()


def missing_pose_columns(path: Path) -> list[str]:
    """The columns of a table of implant poses that a file has not."""
    return sorted(_POSE_COLUMNS - _header(path))


def read_pose_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table that a command wrote; whatever its reader raises if it is damaged."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _header(path: Path) -> set[str]:
    if path.suffix.lower() != ".csv" or not path.is_file():
        return set()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return set(next(csv.reader(file), []))
    except (OSError, ValueError, csv.Error):
        return set()
