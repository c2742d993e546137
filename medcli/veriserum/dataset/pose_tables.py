"""Conversion of table poses to matrices and back, and further pose tables (predictions, references)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from medcli.core.errors import DataError
from medcli.core.rigid_transforms import VERISERUM_EULER, rigid_transform
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.study import VeriserumStudy

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


def pose_matrices(poses: pd.DataFrame) -> NDArray[np.float64]:
    """(N, 4, 4) transforms of the rows of a pose table, in the table's frame."""
    return matrices_of(poses[list(folder_index.POSE_COLUMNS)].to_numpy(np.float64))


def matrices_of(numbers: ArrayLike) -> NDArray[np.float64]:
    """(..., 4, 4) transforms of poses (..., 6): tx ty tz in millimetres and rz rx ry in degrees."""
    numbers = np.asarray(numbers, np.float64)
    return rigid_transform(numbers[..., :3], numbers[..., 3:], VERISERUM_EULER)


def pose_numbers(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of :func:`matrices_of`: (..., 6) of (..., 4, 4)."""
    # The order is VERISERUM_EULER, spelled out for the type checker.
    angles = Rotation.from_matrix(matrices[..., :3, :3].reshape(-1, 3, 3)).as_euler("ZXY", degrees=True)
    return np.concatenate([matrices[..., :3, 3], angles.reshape(*matrices.shape[:-2], 3)], axis=-1)


def read_predictions(path: Path, kind: folder_index.TableKind = PREDICTIONS) -> pd.DataFrame:
    """Poses by id from a CSV file or a database; rows without six finite numbers are omitted.

    Raises:
        DataError: the file does not exist or is not a table of poses.
    """
    table = folder_index.read_table(path, kind).copy()
    for name in folder_index.POSE_COLUMNS:
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return pd.DataFrame(table[np.isfinite(table[list(folder_index.POSE_COLUMNS)].to_numpy(np.float64)).all(axis=1)])


def read_reference(study: VeriserumStudy, wanted: str) -> tuple[pd.DataFrame, str]:
    """Reference poses by id, and their origin.

    Args:
        study: the dataset.
        wanted: a file; or ``manual``: manually placed poses, from a CSV file with that word in its name, or from the
            rows of the pose table whose column ``manual`` is set.

    Raises:
        DataError: there are none.
    """
    if wanted != MANUAL:
        return read_predictions(Path(wanted), REFERENCE), wanted
    for path in study.contents.csv_files:
        if MANUAL in path.name.lower():
            return read_predictions(path, REFERENCE), path.name
    table, path = study.table(folder_index.POSES), study.table_file(folder_index.POSES)
    for name in (MANUAL, "is_manual"):
        if name in table.columns:
            chosen = pd.to_numeric(table[name], errors="coerce").fillna(0) != 0
            return table[chosen], f"{path.name}, column {name}"
    raise DataError(
        f"no manual poses in {study.root}: neither a CSV file with 'manual' in its name nor a column manual in "
        f"{path.name}",
        "name the file with --reference FILE",
    )
