"""Tables of implant poses, recognised by their header."""

from __future__ import annotations

import csv
from pathlib import Path

_POSE_COLUMNS = {"id", "tx", "ty", "tz", "rz", "rx", "ry"}


def columns_of_poses(path: Path) -> set[str]:
    """The columns of a table of implant poses, whoever wrote it; none where the file is something else."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return set()
    try:
        with path.open(newline="", encoding="utf-8") as file:
            columns = set(next(csv.reader(file), []))
    except (OSError, ValueError, csv.Error):
        return set()
    return columns if columns >= _POSE_COLUMNS else set()
