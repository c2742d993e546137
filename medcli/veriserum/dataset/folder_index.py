"""Contents of a Veriserum folder: images by id and plane, implant surfaces, and the tables of poses and calibrations.

Images are named ``bs_NNNNNN`` and ``fs_NNNNNN`` (calibrated ones ``calibrated_bs_NNNNNN``) and may be in any folder
below the root. A table is a CSV file of the published name, or a table of the published sqlite database; a user may
have either or both. Column names are case-insensitive.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from medcli.core.errors import DataError, quantity
from medcli.core.tables import check_columns, header_of, read_frame, read_table_text, refuse_decimal_commas
from medcli.veriserum.dataset.database import columns_of, connect, quoted
from medcli.veriserum.dataset.image_doubles import Doubles
from medcli.veriserum.dataset.repeated_rows import RepeatedRows, leave_out_repeated

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)
CALIBRATED_PREFIX = "calibrated_"
_IMAGE = re.compile(rf"^({CALIBRATED_PREFIX})?(bs|fs)_(\d{{6,}})\.(?:jpe?g|png|tiff?)$", re.IGNORECASE)
_SURFACE = re.compile(r"^ana_(\d+)\.stl$", re.IGNORECASE)
_DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
POSE_COLUMNS = ("tx", "ty", "tz", "rz", "rx", "ry")
_CRITICAL = (*POSE_COLUMNS, "anatomy_id", "measurement_id", "obsolete", "source_int_calibration_id", "manual")
"""Columns that, named twice, would leave open which is meant; all tables may have them."""
_LARGEST_ID = 2**53  # beyond it, float64 does not hold every whole number


@dataclass(frozen=True)
class TableKind:
    """How one of the published tables is recognised.

    Attributes:
        title: its name in messages.
        csv_prefix: prefix of the names of its CSV files.
        columns: the columns that it must have; they also identify it among a database's tables.
        option: the command-line option that names the file.
    """

    title: str
    csv_prefix: str
    columns: tuple[str, ...]
    option: str


POSES = TableKind("pose table", "veriserum_pose", ("id", "distortion_calibration_id"), "--poses")
DISTORTIONS = TableKind(
    "distortion calibration table",
    "distortion_calibration",
    ("id", "distortion_result_bs", "distortion_result_fs"),
    "--distortion",
)
SOURCES = TableKind(
    "source-intensifier calibration table",
    "source_int_calibration",
    ("id", "principalp_h_fs", "principalp_v_fs", "principalp_h_bs", "principalp_v_bs", "sid_fs", "sid_bs"),
    "--source-calibration",
)

PREDICTIONS = TableKind("table of poses", "poses", ("id", *POSE_COLUMNS), "--predictions")
REFERENCE = TableKind("table of poses", "poses", ("id", *POSE_COLUMNS), "--reference")
POSE_FILE = TableKind("poses file", "poses", ("id", *POSE_COLUMNS), "--start")

Images = dict[int, dict[str, str]]
"""Id -> plane ("bs", "fs") -> path."""


@dataclass(frozen=True)
class Contents:
    """Files found below ``root``.

    Attributes:
        images, calibrated: images as recorded and calibrated ones, id -> plane ("bs", "fs") -> path.
        doubles: further files of these images, by the path of the first one, which is the one listed.
        surfaces: ``anatomy_id`` -> STL file, the first of each in the order of paths.
        csv_files, databases: candidates for tables, in the order of their paths.
    """

    root: Path
    images: Images = field(default_factory=dict)
    calibrated: Images = field(default_factory=dict)
    doubles: Doubles = field(default_factory=dict)
    surfaces: dict[int, Path] = field(default_factory=dict)
    csv_files: list[Path] = field(default_factory=list)
    databases: list[Path] = field(default_factory=list)


def check_root(root: Path) -> None:
    """Make sure that ``root`` is a folder.

    Raises:
        DataError: it is not.
    """
    if not root.is_dir():
        raise DataError(
            f"there is no folder {root}",
            "name the data folder with --root, or get the data with: medcli download veriserum",
        )


def scan(root: Path, leave_out: Path | None = None) -> Contents:
    """Walk ``root`` once (links are followed) and list its images, surfaces and tables.

    Args:
        root: the dataset's folder.
        leave_out: a folder below it that is not walked (the output folder).

    Raises:
        DataError: ``root`` is not a folder.
    """
    check_root(root)
    contents = Contents(root)
    left_out = leave_out.resolve() if leave_out else None
    visited: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited or (left_out and real == str(left_out)):
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            _add(contents, folder, name)
    return contents


def _add(contents: Contents, folder: str, name: str) -> None:
    if match := _IMAGE.match(name):
        images = contents.calibrated if match[1] else contents.images
        planes = images.setdefault(int(match[3]), {})
        path = os.path.join(folder, name)  # noqa: PTH118 - 222,000 Path objects cost a second and 100 MB
        if (first := planes.setdefault(match[2].lower(), path)) is not path:
            contents.doubles.setdefault(first, []).append(path)
    elif match := _SURFACE.match(name):
        contents.surfaces.setdefault(int(match[1]), Path(folder, name))
    else:
        add_table(contents, folder, name)


def add_table(contents: Contents, folder: str, name: str) -> None:
    """Add a file to ``contents`` if it may be a table."""
    if name.lower().endswith(".csv"):
        contents.csv_files.append(Path(folder, name))
    elif name.lower().endswith(_DATABASE_SUFFIXES):
        contents.databases.append(Path(folder, name))


def locate(contents: Contents, kind: TableKind) -> Path | None:
    """The file of a table: a CSV file of the published name, otherwise a database that contains the table."""
    named = [path for path in contents.csv_files if path.name.lower().startswith(kind.csv_prefix)]
    if len(named) > 1:
        others = ", ".join(str(path) for path in named[1:])
        _LOG.warning("several files could be the %s; %s is used, not %s", kind.title, named[0], others)
    if named:
        return named[0]
    return next((path for path in contents.databases if _has_table(path, kind)), None)


def read_table(path: Path, kind: TableKind) -> pd.DataFrame:
    """Read a table from a CSV file or a sqlite database, with column names in lower case and ``id`` as the index.

    Rows whose id is not a whole number are omitted with a warning; of rows with the same id the first is kept, with a
    warning unless they are of different components (``anatomy_id``).

    Raises:
        DataError: the file cannot be read, has no rows, or is not this table; lists the missing columns.
    """
    table, repeated = read_rows_once(path, kind)
    for note in repeated.notes(str(path), "the first of each is used"):
        _LOG.warning("%s", note)
    return table[~table.index.duplicated()]


def read_every_row(path: Path, kind: TableKind) -> pd.DataFrame:
    """As :func:`read_table`, with every row of an id but those that say the same twice, without warnings of them."""
    return read_rows_once(path, kind)[0]


def read_rows_once(path: Path, kind: TableKind) -> tuple[pd.DataFrame, RepeatedRows]:
    """As :func:`read_every_row`, and which rows are repeated."""
    import pandas as pd

    is_database = path.suffix.lower() in _DATABASE_SUFFIXES
    table = _read_database(path, kind) if is_database else _read_csv(path, kind)
    if table.empty:
        raise _no_rows(path, kind)
    ids = pd.to_numeric(table["id"], errors="coerce")
    whole = ids.notna() & (ids % 1 == 0) & (ids.abs() < _LARGEST_ID)
    if not whole.all():
        _LOG.warning("%s: omitted %s without a whole number as id", path, quantity(int((~whole).sum()), "row"))
    if not whole.any():
        raise DataError(f"{path} has no row with a whole number as id: it is not a {kind.title}")
    table = table[whole].assign(id=ids[whole].astype("int64"))
    table, repeated = leave_out_repeated(table, "rows" if is_database else "lines")
    return table.set_index("id"), repeated


def _in_lower_case(names: list[str]) -> list[str]:
    return [name.strip().lower() for name in names]


def check_table_file(path: Path, kind: TableKind) -> None:
    """What :func:`read_table` finds wrong and the beginning of the file shows.

    Raises:
        DataError: there is no file, or it is not this table.
    """
    if not path.is_file():
        raise _no_file(path, kind)
    if path.suffix.lower() in _DATABASE_SUFFIXES:
        name = _find_table(path, kind)
        if name is None:
            raise _not_in_database(path, kind)
        with connect(path) as connection:
            if connection.execute(f"SELECT 1 FROM {quoted(name)} LIMIT 1").fetchone() is None:
                raise _no_rows(path, kind)
        return
    names = _in_lower_case(header_of(read_table_text(path, kind.title)))
    if not names:
        raise DataError(f"{path} cannot be read as a {kind.title}: it is empty")
    check_columns(names, kind.columns, path, kind.title, _CRITICAL)


def no_table(root: Path, kind: TableKind) -> DataError:
    """The error for a folder without a table."""
    return DataError(
        f"no {kind.title} in {root}: expected {kind.csv_prefix}*.csv or a database (*.db)",
        f"get it: medcli download veriserum --only csv, or name the file with {kind.option} if the command has it",
    )


def is_obsolete(poses: pd.DataFrame) -> pd.Series:
    """Which rows of a pose table are marked as replaced (``obsolete != 0``)."""
    import pandas as pd

    if "obsolete" not in poses.columns:
        _LOG.warning("the pose table has no column obsolete: no pose counts as replaced")
        return pd.Series(False, index=poses.index)
    marks = pd.to_numeric(poses["obsolete"], errors="coerce")
    words = marks.isna() & poses["obsolete"].notna()
    if words.any():
        _LOG.warning(
            "obsolete is not a number in %s of the pose table; such a row counts as replaced",
            quantity(int(words.sum()), "row"),
        )
    return (marks.fillna(0) != 0) | words


def select_ids(ids: Sequence[int], ranges: Sequence[tuple[int, int]] | None) -> list[int]:
    """The sorted ids within any of the (first, last) ranges, both included; all without ranges."""
    if ranges is None:
        return sorted(ids)
    return sorted(number for number in ids if any(first <= number <= last for first, last in ranges))


def expected_name(number: int, plane: str) -> str:
    """Name of an image without its suffix: ``bs_000001``."""
    return f"{plane}_{number:06d}"


def parse_name(name: str) -> tuple[bool, str, int] | None:
    """Whether it is calibrated, plane and id of ``calibrated_bs_000001.jpg``; None for another file."""
    match = _IMAGE.match(name)
    return (bool(match[1]), match[2].lower(), int(match[3])) if match else None


def whole_numbers(column: pd.Series) -> pd.Series:
    """A column of ids as whole numbers (Int64); other cells become missing."""
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    return numbers.where((numbers % 1 == 0) & (numbers.abs() < _LARGEST_ID)).astype("Int64")


def whole_columns(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Columns of ids as :func:`whole_numbers`; a column that the table lacks is all missing."""
    import pandas as pd

    found = table.reindex(columns=list(names))
    return pd.DataFrame({name: whole_numbers(found[name]) for name in names}, index=table.index)


def _read_csv(path: Path, kind: TableKind) -> pd.DataFrame:
    hint = f"name the {kind.title} with {kind.option}"
    table = read_frame(path, kind.title, kind.columns, _CRITICAL, hint, rename=_in_lower_case)
    refuse_decimal_commas(table, POSE_COLUMNS, path)
    return table


def _read_database(path: Path, kind: TableKind) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise _no_file(path, kind)
    name = _find_table(path, kind)
    if name is None:
        raise _not_in_database(path, kind)
    with connect(path) as connection:
        cursor = connection.execute(f"SELECT * FROM {quoted(name)}")
        columns = _in_lower_case([str(column[0]) for column in cursor.description])
        check_columns(columns, kind.columns, path, kind.title, once=columns)
        return pd.DataFrame(cursor.fetchall(), columns=columns)


def _no_file(path: Path, kind: TableKind) -> DataError:
    fault = f"{path} is a folder, not a {kind.title}" if path.is_dir() else f"there is no file {path}"
    return DataError(fault, f"name the {kind.title} with {kind.option}")


def _no_rows(path: Path, kind: TableKind) -> DataError:
    return DataError(f"{path} has no rows: it is not a {kind.title}")


def _not_in_database(path: Path, kind: TableKind) -> DataError:
    return DataError(f"database {path} has no {kind.title} (columns {', '.join(kind.columns)})")


def _has_table(path: Path, kind: TableKind) -> bool:
    try:
        return _find_table(path, kind) is not None
    except DataError as error:  # a *.db file of another program
        _LOG.debug("%s", error.message)
        return False


def _find_table(path: Path, kind: TableKind) -> str | None:
    """The database's table with these columns; of several, the one with the shortest name (``Poses``)."""
    try:
        with connect(path) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
            names = [row[0] for row in rows]
            fitting = [name for name in names if set(kind.columns) <= columns_of(connection, name)]
    except sqlite3.Error as error:
        raise DataError(f"{path} is not a readable sqlite database: {error}") from error
    return min(fitting, key=lambda name: (len(name), name), default=None)
