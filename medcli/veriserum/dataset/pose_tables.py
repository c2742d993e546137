"""Tables of poses beside the dataset's own: predictions, and reference poses for an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medcli.core.errors import DataError
from medcli.veriserum.dataset import folder_index

MANUAL = "manual"
PREDICTIONS = folder_index.TableKind("table of poses", "poses", ("id", *folder_index.POSE_COLUMNS), "--predictions")
REFERENCE = folder_index.TableKind("table of poses", "poses", ("id", *folder_index.POSE_COLUMNS), "--reference")
PUBLISHED_COLUMNS = (
    "id",
    "measurement_id",
    "anatomy_id",
    "update_timestamp",
    "obsolete",
    "git_hash",
    "git_repo",
    "source_int_calibration_id",
    "distortion_calibration_id",
    *folder_index.POSE_COLUMNS,
)
"""Columns of the published pose table, in their order."""


def read_predictions(path: Path, kind: folder_index.TableKind = PREDICTIONS) -> pd.DataFrame:
    """Poses by id from a CSV file or a database; rows without six finite numbers are left out.

    Raises:
        DataError: no such file, or it is no table of poses.
    """
    table = folder_index.read_table(path, kind).copy()
    for name in folder_index.POSE_COLUMNS:
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table[np.isfinite(table[list(folder_index.POSE_COLUMNS)].to_numpy(np.float64)).all(axis=1)]


def read_reference(root: Path, wanted: str) -> tuple[pd.DataFrame, str]:
    """Reference poses by id, and where they come from.

    Args:
        root: the dataset's folder.
        wanted: a file; or ``manual``: poses placed by hand, from a CSV file whose name says so, or from the rows of the
            pose table whose column ``manual`` is set.

    Raises:
        DataError: there are none; says where they were looked for.
    """
    if wanted != MANUAL:
        return read_predictions(Path(wanted), REFERENCE), wanted
    contents = folder_index.scan(root)
    for path in contents.csv_files:
        if MANUAL in path.name.lower():
            return read_predictions(path, REFERENCE), path.name
    table, path = folder_index.find_and_read(contents, folder_index.POSES, None)
    for name in (MANUAL, "is_manual"):
        if name in table.columns:
            chosen = pd.to_numeric(table[name], errors="coerce").fillna(0) != 0
            return table[chosen], f"{path.name}, column {name}"
    raise DataError(
        f"no manual poses in {root}: neither a CSV file with 'manual' in its name nor a column manual in {path.name}",
        "name the file with --reference FILE",
    )
