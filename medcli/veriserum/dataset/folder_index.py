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
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from medcli.core.errors import DataError

_LOG = logging.getLogger(__name__)
CALIBRATED_PREFIX = "calibrated_"
_IMAGE = re.compile(rf"^({CALIBRATED_PREFIX})?(bs|fs)_(\d{{6,}})\.(?:jpe?g|png|tiff?)$", re.IGNORECASE)
_SURFACE = re.compile(r"^ana_(\d+)\.stl$", re.IGNORECASE)
_DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
POSE_COLUMNS = ("tx", "ty", "tz", "rz", "rx", "ry")


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

Images = dict[int, dict[str, str]]
"""Id -> plane ("bs", "fs") -> path."""


@dataclass(frozen=True)
class Contents:
    """Files found below ``root``.

    Attributes:
        images, calibrated: images as recorded and calibrated ones, id -> plane ("bs", "fs") -> path.
        duplicates: images ignored because another file of the same id and plane was found first.
        surfaces: ``anatomy_id`` -> STL file, the first of each in the order of paths.
        csv_files, databases: candidates for tables, in the order of their paths.
    """

    root: Path
    images: Images = field(default_factory=dict)
    calibrated: Images = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)
    surfaces: dict[int, Path] = field(default_factory=dict)
    csv_files: list[Path] = field(default_factory=list)
    databases: list[Path] = field(default_factory=list)


def scan(root: Path, leave_out: Path | None = None) -> Contents:
    """Walk ``root`` once (links are followed) and list its images, surfaces and tables.

    Args:
        root: the dataset's folder.
        leave_out: a folder below it that is not walked (the output folder).

    Raises:
        DataError: ``root`` is not a folder.
    """
    if not root.is_dir():
        raise DataError(
            f"there is no folder {root}",
            "name the data folder with --root, or get the data with: medcli download veriserum",
        )
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
        if planes.setdefault(match[2].lower(), path) is not path and not match[1]:
            contents.duplicates.append(path)
    elif match := _SURFACE.match(name):
        contents.surfaces.setdefault(int(match[1]), Path(folder, name))
    elif name.lower().endswith(".csv"):
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

    Rows whose id is not a whole number are omitted with a warning; of rows with the same id the first is kept.

    Raises:
        DataError: the file cannot be read, or is not this table; lists the missing columns.
    """
    table = _read_database(path, kind) if path.suffix.lower() in _DATABASE_SUFFIXES else _read_csv(path, kind)
    table.columns = pd.Index([str(name).strip().lower() for name in table.columns])
    _check_columns(path, table, kind)
    ids = pd.to_numeric(table["id"], errors="coerce")
    whole = ids.notna() & (ids % 1 == 0)
    if not whole.all():
        _LOG.warning("%s: %d rows without a whole number as id are omitted", path, (~whole).sum())
    table = table[whole].set_index(ids[whole].astype("int64").rename("id")).drop(columns="id")
    repeated = table.index.duplicated()
    if repeated.any():
        _LOG.warning("%s: %d rows repeat an id; the first of each is used", path, repeated.sum())
    return table[~repeated]


def _check_columns(path: Path, table: pd.DataFrame, kind: TableKind) -> None:
    missing = [name for name in kind.columns if name not in table.columns]
    if missing:
        by_semicolon = len(table.columns) == 1 and ";" in table.columns[0]
        hint = "its columns are separated by semicolons: save it with commas" if by_semicolon else None
        raise DataError(f"{path} is not a {kind.title}: it has no column {', '.join(missing)}", hint)
    doubled = sorted(set(table.columns[table.columns.duplicated()]) & set(kind.columns))
    if doubled:
        raise DataError(f"{path} has the column {', '.join(doubled)} twice (case does not count)")


@dataclass(frozen=True)
class Measurements:
    """The trial of each measurement: ``measurement_id`` -> trial, by a database's column."""

    trials: dict[int, int]
    column: str
    path: Path


def read_measurements(contents: Contents, columns: Sequence[str]) -> Measurements | None:
    """The trial of each measurement, from the first database that has a table ``measurements`` with such a column.

    Args:
        contents: lists the databases.
        columns: names that the column may have, the preferred one first.
    """
    for path in contents.databases:
        try:
            with _connect(path) as connection:
                names = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master")]
                for name in [name for name in names if name.lower() == "measurements"]:
                    present = _columns(connection, name)
                    for column in columns:
                        if {"id", column} <= present:
                            rows = connection.execute(f"SELECT id, {_quoted(column)} FROM {_quoted(name)}")
                            return Measurements({k: v for k, v in rows if v is not None}, column, path)
        except sqlite3.Error as error:
            _LOG.debug("%s: %s", path, error)
    return None


def is_obsolete(poses: pd.DataFrame) -> pd.Series:
    """Which rows of a pose table are marked as replaced (``obsolete != 0``)."""
    if "obsolete" not in poses.columns:
        _LOG.warning("the pose table has no column obsolete: no pose counts as replaced")
        return pd.Series(False, index=poses.index)
    marks = pd.to_numeric(poses["obsolete"], errors="coerce")
    words = marks.isna() & poses["obsolete"].notna()
    if words.any():
        _LOG.warning("obsolete is not a number in %d rows of the pose table; they count as replaced", words.sum())
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
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    return numbers.where((numbers % 1 == 0) & (numbers.abs() < 2**53)).astype("Int64")


def whole_columns(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Columns of ids as :func:`whole_numbers`; a column that the table lacks is all missing."""
    found = table.reindex(columns=list(names))
    return pd.DataFrame({name: whole_numbers(found[name]) for name in names}, index=table.index)


def read_csv(path: Path, **settings: Any) -> pd.DataFrame:
    """pandas' ``read_csv`` without inferring row names; values beyond the header cause a warning, not a shift.

    Raises:
        OSError, ValueError: as pandas does.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", pd.errors.ParserWarning)
        table = pd.read_csv(path, index_col=False, low_memory=False, **settings)
    if any(issubclass(warning.category, pd.errors.ParserWarning) for warning in caught):
        _LOG.warning("%s: rows have more values than the header has names; the extra ones are ignored", path)
    return pd.DataFrame(table)


def _read_csv(path: Path, kind: TableKind) -> pd.DataFrame:
    try:
        return read_csv(path)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}", f"name the {kind.title} with {kind.option}") from error
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"{path} cannot be read as a {kind.title}: {error}") from error


def _read_database(path: Path, kind: TableKind) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"there is no file {path}", f"name the {kind.title} with {kind.option}")
    name = _find_table(path, kind)
    if name is None:
        raise DataError(f"database {path} has no {kind.title} (columns {', '.join(kind.columns)})")
    with _connect(path) as connection:
        cursor = connection.execute(f"SELECT * FROM {_quoted(name)}")
        columns = [column[0] for column in cursor.description]
        return pd.DataFrame(cursor.fetchall(), columns=columns)


def _has_table(path: Path, kind: TableKind) -> bool:
    try:
        return _find_table(path, kind) is not None
    except DataError as error:  # a *.db file of another program
        _LOG.debug("%s", error.message)
        return False


def _find_table(path: Path, kind: TableKind) -> str | None:
    """The database's table with these columns; of several, the one with the shortest name (``Poses``)."""
    try:
        with _connect(path) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
            names = [row[0] for row in rows]
            fitting = [name for name in names if set(kind.columns) <= _columns(connection, name)]
    except sqlite3.Error as error:
        raise DataError(f"{path} is not a readable sqlite database: {error}") from error
    return min(fitting, key=lambda name: (len(name), name), default=None)


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[1]).lower() for row in connection.execute(f"PRAGMA table_info({_quoted(table)})")}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _connect(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection that is closed at the end of the block."""
    connection = sqlite3.connect(f"file:{quote(path.resolve().as_posix())}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()
