"""Conversion of table poses to matrices and back, and further pose tables (predictions, references)."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from medcli.core.errors import DataError, quantity
from medcli.core.plausibility import pose_bounds, problem_of
from medcli.core.rigid_transforms import VERISERUM_EULER, rigid_transform
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.pose_units import unit_problem
from medcli.veriserum.dataset.study import VeriserumStudy

_LOG = logging.getLogger(__name__)
_BOUNDS = pose_bounds(folder_index.POSE_COLUMNS)
MANUAL = "manual"
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


def with_plausible_poses(poses: pd.DataFrame, what: str) -> pd.DataFrame:
    """The rows whose pose is six plausible numbers, as numbers; the others are omitted with a warning.

    Args:
        poses: with the columns of a pose.
        what: the table's name in the warning.
    """
    poses = poses.copy()
    for name in folder_index.POSE_COLUMNS:
        poses[name] = pd.to_numeric(poses[name], errors="coerce").astype("float64")
    if units := unit_problem(poses[list(folder_index.POSE_COLUMNS)].to_numpy(np.float64)):
        _LOG.warning("%s: %s", what, units)
    good = np.logical_and.reduce([bound.holds(poses[name]) for name, bound in _BOUNDS.items()])
    if not good.all():
        first = poses.index[~good][0]
        _LOG.warning(
            "%s: %s not six plausible numbers and omitted, the first of id %s: %s",
            *(what, quantity(int((~good).sum()), "pose is", "poses are"), first, pose_problem(poses.loc[[first]])),
        )
    return pd.DataFrame(poses[good])


def pose_problem(row: pd.DataFrame) -> str:
    """Why the pose in the first row of a table cannot be right, empty where it can."""
    return problem_of({name: float(row[name].iloc[0]) for name in folder_index.POSE_COLUMNS}, _BOUNDS)


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


def read_predictions(path: Path, kind: folder_index.TableKind = folder_index.PREDICTIONS) -> pd.DataFrame:
    """Poses by id from a CSV file or a database; rows without six plausible numbers are omitted with a warning.

    Raises:
        DataError: the file does not exist or is not a table of poses.
    """
    return with_plausible_poses(folder_index.read_table(path, kind), str(path))


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
        return read_predictions(Path(wanted), folder_index.REFERENCE), wanted
    for path in study.contents.csv_files:
        if MANUAL in path.name.lower():
            return read_predictions(path, folder_index.REFERENCE), path.name
    table, path = study.table(folder_index.POSES), study.table_file(folder_index.POSES)
    for name in (MANUAL, "is_manual"):
        if name in table.columns:
            chosen = pd.to_numeric(table[name], errors="coerce").fillna(0) != 0
            return with_plausible_poses(table[chosen], path.name), f"{path.name}, column {name}"
    raise DataError(
        f"no manual poses in {study.root}: neither a CSV file with 'manual' in its name nor a column manual in "
        f"{path.name}",
        "name the file with --reference FILE",
    )
