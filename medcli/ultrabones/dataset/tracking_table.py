"""Tracking tables: where the probe was when each frame was taken."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import DataError
from medcli.core.tables import check_columns, header_of, read_frame, read_table_text
from medcli.ultrabones.dataset.folder_layout import TRACKING_FILES
from medcli.ultrabones.dataset.probe import probe_of_record

if TYPE_CHECKING:
    import pandas as pd

POSE_COLUMNS = ("x", "y", "z", "euler_x", "euler_y", "euler_z")
"""Probe marker to CT: millimetres, and extrinsic x-y-z Euler angles in degrees."""
OPTIMIZED_POSE_COLUMNS = tuple(f"{name}_optimized" for name in POSE_COLUMNS)
SPACING = "space_factor"
"""Edge of a pixel, millimetres."""
_WHAT = "tracking table"
_LARGEST_STAMP = 2**53  # beyond it, float64 does not hold every whole number


def tracking_file(record_dir: str | Path, names: Iterable[str] | None = None) -> Path | None:
    """Path of a record's tracking table, None when it has none; ``names`` saves looking at the disk."""
    folder = Path(record_dir)
    present = set(names) if names is not None else {path.name for path in folder.glob("*.csv")}
    return next((folder / name for name in TRACKING_FILES if name in present), None)


def read_tracking(record_dir: str | Path, path: Path | None = None, spacing_mm: float | None = None) -> pd.DataFrame:
    """The tracking table of a record, or the one at ``path``, one row for each row of the file.

    Args:
        spacing_mm: edge of a pixel, where the table has no ``space_factor``; None: by the record's probe.

    Returns:
        columns ``timestamp`` (int, milliseconds, -1 where the file has no number), ``space_factor`` (millimetres per
        pixel), ``x y z`` (millimetres), ``euler_x euler_y euler_z`` (degrees), and the same six ``…_optimized`` when
        the file has all of them; what is not a number in the file is NaN.

    Raises:
        DataError: no table, or one without rows or the columns of a pose, or see :func:`probe_of_record`.
    """
    path = path or tracking_file(record_dir)
    if path is None:
        raise _no_table(record_dir)
    table = read_tracking_cells(path)
    if SPACING not in table.columns:
        table[SPACING] = spacing_mm or probe_of_record(path.parent).spacing_mm
    table = _tidy(table)
    if (table["timestamp"] < 0).all():
        raise _no_stamps(path)
    return table


def read_tracking_cells(path: Path, rename: bool = True, **settings: Any) -> pd.DataFrame:
    """All columns of a tracking table, as pandas' ``read_csv`` reads them with ``settings``.

    Args:
        rename: give the columns their standard names; False: as written.

    Raises:
        DataError: no such table, no rows, or without the columns of a pose.
    """
    names = standard_names if rename else list
    needed = ("timestamp", *POSE_COLUMNS) if rename else ()
    once = (SPACING, *OPTIMIZED_POSE_COLUMNS) if rename else ()
    table = read_frame(path, _WHAT, needed, once, rename=names, skipinitialspace=True, **settings)
    if table.empty:
        raise _no_rows(path)
    return table


def check_pose_columns(record_dir: str | Path) -> None:
    """What :func:`read_tracking` finds wrong and the first line of the table shows.

    Raises:
        DataError: no table, or one without the columns of a pose.
    """
    path = tracking_file(record_dir)
    if path is None:
        raise _no_table(record_dir)
    names = standard_names(header_of(read_table_text(path, _WHAT), skipinitialspace=True))
    if names:
        check_columns(names, ("timestamp", *POSE_COLUMNS), path, _WHAT)


def has_optimized_poses(record_dir: str | Path, path: Path | None = None) -> bool:
    """Whether a tracking table has the columns of optimised poses; arguments and errors of :func:`read_tracking`."""
    return OPTIMIZED_POSE_COLUMNS[0] in read_tracking(record_dir, path).columns


def read_timestamps(path: Path) -> list[int]:
    """The timestamps of a tracking table, row by row, -1 where there is none.

    Raises:
        DataError: the file cannot be read, has no column ``timestamp``, or no rows.
    """
    text = read_table_text(path, _WHAT)
    header = standard_names(header_of(text, skipinitialspace=True))
    check_columns(header, ["timestamp"], path, _WHAT)
    column = header.index("timestamp")
    if '"' in text:  # a cell in quotes may hold commas and line ends
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), skipinitialspace=True) if row]
        stamps = [_as_timestamp(row, column) for row in rows if any(cell.strip() for cell in row) or len(row) > 1]
    else:
        lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip()]
        stamps = [_as_timestamp(line.split(",", column + 1), column) for line in lines]
    if len(stamps) < 2:
        raise _no_rows(path)
    if max(stamps[1:]) < 0:
        raise _no_stamps(path)
    return stamps[1:]


def standard_names(names: Sequence[str]) -> list[str]:
    """Names of columns without blanks around; those this package knows in lower case, however they are written."""
    stripped = [str(name).strip() for name in names]
    known = {"timestamp", SPACING, *POSE_COLUMNS, *OPTIMIZED_POSE_COLUMNS} - set(stripped)
    return [name.lower() if name.lower() in known else name for name in stripped]


def _no_table(record_dir: str | Path) -> DataError:
    return DataError(f"no tracking table in {record_dir}: expected {TRACKING_FILES[0]}")


def _no_rows(path: Path) -> DataError:
    return DataError(f"tracking table {path} has a header and no rows")


def _no_stamps(path: Path) -> DataError:
    return DataError(f"tracking table {path} has no row with a number as timestamp")


def _as_timestamp(cells: Sequence[str], column: int) -> int:
    try:
        stamp = int(float(cells[column]))
    except (IndexError, ValueError, OverflowError):
        return -1
    return stamp if abs(stamp) < _LARGEST_STAMP else -1


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    optimized = OPTIMIZED_POSE_COLUMNS if set(OPTIMIZED_POSE_COLUMNS) <= set(table.columns) else ()
    columns = ["timestamp", SPACING, *POSE_COLUMNS, *optimized]
    numbers: pd.DataFrame = table[columns].apply(pd.to_numeric, errors="coerce")
    stamps = numbers["timestamp"]
    timestamps = stamps.where(stamps.abs() < _LARGEST_STAMP, -1).astype("int64")
    return pd.DataFrame(numbers.astype("float64")).assign(timestamp=timestamps)
