"""Poses of tables: what they can be, their matrices, and further tables of them (predictions, references)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from medcli.core.errors import DataError, quantity
from medcli.core.files import write_text
from medcli.core.plausibility import pose_bounds, problem_of
from medcli.core.rigid_transforms import VERISERUM_EULER, rigid_transform
from medcli.core.tables import read_frame
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.id_components import is_of_another
from medcli.veriserum.dataset.study import VeriserumStudy

Key = TypeVar("Key")
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
ID_COLUMNS = ("measurement_id", "anatomy_id", "source_int_calibration_id", "distortion_calibration_id")
"""Those of them that say of what, and with which calibrations, a pose is; results copy them."""
_LEAST_POSES = 3
_RADIANS = (0.2, np.pi + 0.01)
"""The largest angle of a table in radians; in degrees, no knee would ever be turned by more than three."""
_METRES, _CENTIMETRES = (0.01, 2.5), (2.5, 60.0)
"""The largest coordinate of a table in metres or centimetres; the published poses are about 380 mm from the planes'
origin, and further from that of the other frames."""


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


def unit_problem(numbers: NDArray[np.float64]) -> str:
    """Why poses (N, 6), tx ty tz in mm and rz rx ry in degrees, look like other units; empty: they do not.

    Every number of such a table is within its bounds, so it is recognised by all of them together. Rows that are not
    finite are not looked at; of fewer than three nothing is said.
    """
    numbers = numbers[np.isfinite(numbers).all(axis=1)]
    if len(numbers) < _LEAST_POSES:
        return ""
    position, angle = (float(np.abs(part).max()) for part in (numbers[:, :3], numbers[:, 3:]))
    found = []
    if _METRES[0] <= position <= _METRES[1]:
        found.append(f"positions within {position:.3g} look like metres: tx ty tz must be in mm, multiply by 1000")
    elif _CENTIMETRES[0] < position <= _CENTIMETRES[1]:
        found.append(f"positions within {position:.3g} look like centimetres: tx ty tz must be in mm, multiply by 10")
    if _RADIANS[0] <= angle <= _RADIANS[1]:
        found.append(f"angles within {angle:.3g} look like radians: rz rx ry must be degrees, multiply by 57.2958")
    return "; ".join(found)


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


def read_predictions(
    path: Path, kind: folder_index.TableKind = folder_index.PREDICTIONS, anatomies: pd.Series | None = None
) -> pd.DataFrame:
    """Poses by id from a CSV file or a database; rows without six plausible numbers are omitted with a warning.

    Args:
        anatomies: by id, the ``anatomy_id`` of the pose that is wanted; a row that names no component is of any.

    Raises:
        DataError: the file does not exist or is not a table of poses.
    """
    table, repeated = folder_index.read_rows_once(path, kind)
    for note in repeated.notes(str(path), "the first of each is used"):
        _LOG.warning("%s", note)
    return with_plausible_poses(_wanted(table, anatomies), str(path))


def _wanted(table: pd.DataFrame, anatomies: pd.Series | None) -> pd.DataFrame:
    """One row an id: that of the wanted component; a row that names no component is of any."""
    if anatomies is not None and "anatomy_id" in table.columns:
        table = table[~is_of_another(table, anatomies)]
    return table[~table.index.duplicated()]


def read_reference(study: VeriserumStudy, wanted: str, anatomies: pd.Series | None = None) -> tuple[pd.DataFrame, str]:
    """Reference poses by id, and their origin.

    Args:
        study: the dataset.
        wanted: a file; or ``manual``: manually placed poses, from a CSV file with that word in its name, or from the
            rows of the pose table whose column ``manual`` is set.
        anatomies: by id, the ``anatomy_id`` of the pose that is wanted; a row that names no component is of any.

    Raises:
        DataError: there are none.
    """
    if wanted != MANUAL:
        return read_predictions(Path(wanted), folder_index.REFERENCE, anatomies), wanted
    for path in study.contents.csv_files:
        if MANUAL in path.name.lower():
            return read_predictions(path, folder_index.REFERENCE, anatomies), path.name
    table, path = study.every_pose, study.table_file(folder_index.POSES)
    for name in (MANUAL, "is_manual"):
        if name in table.columns:
            chosen = pd.to_numeric(table[name], errors="coerce").fillna(0) != 0
            return with_plausible_poses(_wanted(table[chosen], anatomies), path.name), f"{path.name}, column {name}"
    raise DataError(
        f"no manual poses in {study.root}: neither a CSV file with 'manual' in its name nor a column manual in "
        f"{path.name}",
        "name the file with --reference FILE",
    )


def read_result_rows(
    out: Path,
    what: str,
    title: str,
    needed: Sequence[str],
    columns: Sequence[str],
    key: Callable[[Mapping[str, str]], Key],
) -> dict[Key, dict[str, Any]]:
    """The rows of the results so far, their cells as text, so that writing them again changes no digit; by ``key``.

    Raises:
        DataError: the file has no results of this kind.
    """
    if not out.exists():
        return {}
    try:
        table = read_frame(out, title, needed, columns, dtype=str, keep_default_na=False)
        rows = [{str(name): cell for name, cell in row.items()} for row in table.to_dict("records")]
        return {key(row): row for row in rows}
    except (DataError, ValueError) as error:
        raise DataError(
            f"{out} contains no {what}: {error}", "choose another --out, or replace it with --overwrite"
        ) from error


def write_result_rows(out: Path, rows: Mapping[Any, Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Replace the file by these rows, in the order of their keys."""
    table = pd.DataFrame([rows[key] for key in sorted(rows)], columns=list(columns))
    write_text(out, table.to_csv(index=False, lineterminator="\n"))
