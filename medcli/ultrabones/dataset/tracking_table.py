"""Tracking tables: where the probe was when each frame was taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medcli.core.errors import DataError
from medcli.ultrabones.dataset.folder_layout import TRACKING_FILES

if TYPE_CHECKING:
    import pandas as pd

POSE_COLUMNS = ("x", "y", "z", "euler_x", "euler_y", "euler_z")
"""Probe marker to CT: millimetres, and extrinsic x-y-z Euler angles in degrees."""
OPTIMIZED_POSE_COLUMNS = tuple(f"{name}_optimized" for name in POSE_COLUMNS)
_ENCODING = "utf-8-sig"


def tracking_file(record_dir: str | Path, names: Iterable[str] | None = None) -> Path | None:
    """Path of a record's tracking table, None when it has none; ``names`` saves looking at the disk."""
    folder = Path(record_dir)
    present = set(names) if names is not None else {path.name for path in folder.glob("*.csv")}
    return next((folder / name for name in TRACKING_FILES if name in present), None)


def read_tracking(record_dir: str | Path, path: Path | None = None) -> pd.DataFrame:
    """The tracking table of a record, or the one at ``path``, one row for each row of the file.

    Returns:
        columns ``timestamp`` (int, milliseconds, -1 where the file has no number), ``space_factor`` (millimetres per
        pixel), ``x y z`` (millimetres), ``euler_x euler_y euler_z`` (degrees), and the same six ``…_optimized`` when
        the file has all of them; what is no number in the file is NaN.

    Raises:
        DataError: no table, or one without the columns of a pose.
    """
    import pandas as pd

    path = path or tracking_file(record_dir)
    if path is None:
        raise DataError(f"no tracking table in {record_dir}: expected {TRACKING_FILES[0]}")
    try:
        table = pd.read_csv(path, encoding=_ENCODING, skipinitialspace=True)
        table.columns = pd.Index(standard_names(table.columns.tolist()))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read tracking table {path}: {error}") from error
    missing = [name for name in ("timestamp", *POSE_COLUMNS) if name not in table.columns]
    if missing:
        raise _no_column(path, missing, table.columns.tolist())
    return _tidy(table)


def has_optimized_poses(record_dir: str | Path, path: Path | None = None) -> bool:
    """Whether a tracking table has the columns of optimised poses; arguments and errors of :func:`read_tracking`."""
    return OPTIMIZED_POSE_COLUMNS[0] in read_tracking(record_dir, path).columns


def read_timestamps(path: Path) -> list[int]:
    """The timestamps of a tracking table, row by row, -1 where there is none.

    Raises:
        DataError: the file cannot be read or has no column ``timestamp``.
    """
    try:
        lines = [line for line in path.read_text(encoding=_ENCODING).splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read tracking table {path}: {error}") from error
    header = standard_names([name.strip().strip('"') for name in lines[0].split(",")]) if lines else []
    if "timestamp" not in header:
        raise _no_column(path, ["timestamp"], header)
    column = header.index("timestamp")
    return [_as_timestamp(line, column) for line in lines[1:]]


def standard_names(names: Sequence[str]) -> list[str]:
    """Names of columns without blanks around; those this package knows in lower case, however they are written."""
    stripped = [str(name).strip() for name in names]
    known = {"timestamp", "space_factor", *POSE_COLUMNS, *OPTIMIZED_POSE_COLUMNS} - set(stripped)
    return [name.lower() if name.lower() in known else name for name in stripped]


def _no_column(path: Path, missing: Sequence[str], names: Sequence[str]) -> DataError:
    separator = "; columns must be separated by commas" if any(";" in name or "\t" in name for name in names) else ""
    found = ", ".join(map(repr, names[:20])) or "none"
    return DataError(f"tracking table {path} has no column {', '.join(missing)}", f"it has {found}{separator}")


def _as_timestamp(line: str, column: int) -> int:
    cells = line.split(",", column + 1)
    try:
        return int(float(cells[column]))
    except (IndexError, ValueError, OverflowError):
        return -1


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    from medcli.ultrabones.dataset.constants import PIXEL_SPACING_MM

    if "space_factor" not in table.columns:
        table["space_factor"] = PIXEL_SPACING_MM
    optimized = OPTIMIZED_POSE_COLUMNS if set(OPTIMIZED_POSE_COLUMNS) <= set(table.columns) else ()
    columns = ["timestamp", "space_factor", *POSE_COLUMNS, *optimized]
    numbers: pd.DataFrame = table[columns].apply(pd.to_numeric, errors="coerce")
    timestamps = numbers["timestamp"].fillna(-1).astype("int64")
    return pd.DataFrame(numbers.astype("float64")).assign(timestamp=timestamps)
