"""The rows of any pose table with what knee motion needs: the dataset's own, predictions, registered poses."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from medcli.core.errors import DataError, printable, quantity
from medcli.core.plausibility import pose_bounds, problem_of
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS, POSES, TableKind
from medcli.veriserum.dataset.pose_tables import unit_problem
from medcli.veriserum.dataset.stated_sides import RATE_COLUMNS, SIDE_COLUMNS, TIME_COLUMNS, first_of, stated_sides
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.dataset.trial_splits import TRIAL_COLUMNS, names_in
from medcli.veriserum.kinematics.error_bars import ERROR_COLUMNS

_LOG = logging.getLogger(__name__)
MOTION_POSES = TableKind("table of poses", "poses", ("id", *POSE_COLUMNS), "--poses")
FAILED = "failed"
_GOOD = ("good", "ok", "")
_BOUNDS = pose_bounds(POSE_COLUMNS)
_CARRIED = ("measurement_id", "obsolete", *TRIAL_COLUMNS, *SIDE_COLUMNS, *RATE_COLUMNS, *TIME_COLUMNS)
"""Columns that a table without them takes from the dataset's own, by id."""


def read_pose_rows(study: VeriserumStudy, file: Path | None, kinds: Mapping[int, str]) -> tuple[pd.DataFrame, str]:
    """The rows of a pose table that are not obsolete, and where they are from.

    Args:
        study: the dataset; its own table is read where ``file`` is None, and completes a file that lacks columns.
        file: CSV file or database with the columns id, tx, ty, tz, rz, rx, ry.
        kinds: ``anatomy_id`` -> ``femur`` or ``tibia``; other rows are left out with a warning.

    Returns:
        By id (which may repeat, once for each component): the columns of a pose and of standard errors as numbers,
        anatomy_id, measurement_id (Int64), kind, side (``right``, ``left`` or empty), time_s, rate, trial columns if
        there are any, status, problem (why the pose cannot be used, or empty).

    Raises:
        DataError: there is no such table, or no row of a known implant in it.
    """
    own_file = study.files.get(POSES) or folder_index.locate(study.contents, POSES)
    path = file or own_file
    if path is None:
        raise folder_index.no_table(study.root, POSES)
    own = _own_table(own_file) if file and own_file else None
    rows, repeated = folder_index.read_rows_once(path, MOTION_POSES)
    for note in repeated.notes(str(path), "such frames are left out"):
        _LOG.warning("%s", note)
    if own is not None:
        _warn_of_sides(path, rows, own)
        rows = _completed(rows, own)
    if "obsolete" in rows.columns:
        total, rows = len(rows), rows[~folder_index.is_obsolete(rows)]
        if rows.empty and total:
            raise DataError(
                f"{path}: every row is marked obsolete ({quantity(total, 'row')})",
                "set the column obsolete to 0 in those that count",
            )
    if "anatomy_id" not in rows.columns:
        raise DataError(f"{path} has no column anatomy_id, and no pose table completes it", "name the components in it")
    found = folder_index.whole_columns(rows, ("anatomy_id", "measurement_id"))
    _warn_of_text(path, rows, found["measurement_id"])
    found["kind"] = found["anatomy_id"].map(dict(kinds))
    numbers = rows.reindex(columns=[*POSE_COLUMNS, *ERROR_COLUMNS]).apply(pd.to_numeric, errors="coerce")
    found = pd.concat([found, numbers.astype("float64"), _stated(rows)], axis=1)
    found["problem"] = _problems(found)
    if units := unit_problem(found[list(POSE_COLUMNS)].to_numpy(np.float64)):
        _LOG.warning("%s: %s", path, units)
        found["status"] = found["status"].where(found["status"] == FAILED, units)  # such motion is never good
    known = found["kind"].notna()
    if not known.all():
        others = sorted(set(found.loc[~known, "anatomy_id"].dropna().astype(int)))
        words = f"anatomies {' '.join(map(str, others))}" if others else "no anatomy_id"
        count = quantity(int((~known).sum()), "row is", "rows are")
        _LOG.warning("%s: %s of no known femur or tibia (%s), left out", path, count, words)
    if not known.any():
        hint = f"known: {', '.join(f'{number} {kind}' for number, kind in sorted(kinds.items()))}; others: --axes"
        raise DataError(f"{path} has no row of a known femur or tibia", hint)
    return found[known], str(path)


def _own_table(path: Path) -> pd.DataFrame | None:
    """Every row of the dataset's own table; None if it cannot be read, which matters only where it is asked for."""
    try:
        return folder_index.read_every_row(path, POSES)
    except DataError:
        return None


def _warn_of_sides(path: Path, rows: pd.DataFrame, own: pd.DataFrame) -> None:
    """A table that states another side than the dataset's own."""
    given = stated_sides(own[~own.index.duplicated()]).reindex(rows.index).fillna("")
    said = stated_sides(rows)
    apart = ((said != "") & (given != "") & (said != given)).to_numpy()
    if apart.any():
        first = int(np.flatnonzero(apart)[0])
        _LOG.warning(
            "%s: %s another side than the dataset's table, first id %d: %s, not %s; the former is used",
            path,
            quantity(int(apart.sum()), "row states", "rows state"),
            *(rows.index[first], said.iloc[first], given.iloc[first]),
        )


def _warn_of_text(path: Path, rows: pd.DataFrame, measurements: pd.Series) -> None:
    """Measurements that are no whole numbers pair no poses and name no trials."""
    if "measurement_id" in rows.columns and (lost := rows["measurement_id"].notna() & measurements.isna()).any():
        first = printable(str(rows.loc[lost, "measurement_id"].iloc[0]))
        count = quantity(int(lost.sum()), "row")
        _LOG.warning("%s: measurement_id is no whole number in %s, first %s; it is not used there", path, count, first)


def _completed(rows: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Rows with the columns and cells that they lack, from the dataset's table."""
    rows = rows.copy()
    first = own[~own.index.duplicated()]
    for name in _CARRIED:
        if name in own.columns:
            given = first[name].reindex(rows.index)
            rows[name] = rows[name].where(rows[name].notna(), given) if name in rows.columns else given
    if "anatomy_id" not in rows.columns and "anatomy_id" in own.columns:
        once = own[~own.index.duplicated(keep=False)]  # an id with two components does not say which one is meant
        rows["anatomy_id"] = once["anatomy_id"].reindex(rows.index)
    return rows


def _stated(rows: pd.DataFrame) -> pd.DataFrame:
    """Side, time, rate, status and trial columns of rows."""
    stated = pd.DataFrame(index=rows.index)
    stated["side"] = stated_sides(rows)
    time = first_of(TIME_COLUMNS, rows.columns)
    stated["time_s"] = pd.to_numeric(rows[time], errors="coerce") / TIME_COLUMNS[time] if time else np.nan
    rate = first_of(RATE_COLUMNS, rows.columns)
    stated["rate"] = pd.to_numeric(rows[rate], errors="coerce") if rate else np.nan
    status = rows["status"] if "status" in rows.columns else pd.Series("", index=rows.index)
    stated["status"] = status.fillna("").astype(str).str.strip().str.lower()
    for name in TRIAL_COLUMNS:
        if name in rows.columns:
            stated[name] = names_in(rows[name])
    return stated


def _problems(rows: pd.DataFrame) -> list[str]:
    """Why each pose cannot be used, empty where it can."""
    numbers = rows[list(POSE_COLUMNS)].to_numpy()
    fine = np.logical_and.reduce([bound.holds(numbers[:, i]) for i, bound in enumerate(_BOUNDS.values())])
    statuses = rows["status"].tolist()
    problems = []
    for values, is_fine, status in zip(numbers.tolist(), fine.tolist(), statuses, strict=True):
        if status == FAILED:
            problems.append("its registration failed")
        elif not is_fine:
            text = problem_of(dict(zip(POSE_COLUMNS, values, strict=True)), _BOUNDS)
            problems.append("its pose is not six numbers" if "nan" in text else text)
        else:
            problems.append("")
    return problems


def doubt_of(status: str) -> str:
    """What a pose's status says against it, empty for a good one."""
    return "" if status in _GOOD or status == "nan" else status
