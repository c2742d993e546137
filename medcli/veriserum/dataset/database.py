"""Read-only access to the published sqlite database, and the trials that it lists."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurements:
    """The trial of each measurement: ``measurement_id`` -> trial, by a database's column."""

    trials: dict[int, int | str]
    column: str
    path: Path


def read_measurements(databases: Sequence[Path], columns: Sequence[str]) -> Measurements | None:
    """The trial of each measurement, from the first database that has a table ``measurements`` with such a column.

    Args:
        databases: in the order of preference.
        columns: names that the column may have, the preferred one first.
    """
    for path in databases:
        try:
            with connect(path) as connection:
                names = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master")]
                for name in [name for name in names if name.lower() == "measurements"]:
                    present = columns_of(connection, name)
                    for column in columns:
                        if {"id", column} <= present:
                            rows = connection.execute(f"SELECT id, {quoted(column)} FROM {quoted(name)}")
                            return Measurements({k: v for k, v in rows if v is not None}, column, path)
        except sqlite3.Error as error:
            _LOG.debug("%s: %s", path, error)
    return None


def columns_of(connection: sqlite3.Connection, table: str) -> set[str]:
    """Names of a table's columns, in lower case."""
    return {str(row[1]).lower() for row in connection.execute(f"PRAGMA table_info({quoted(table)})")}


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _read_only_address(path: str) -> str:
    """The address of a file for SQLite: ``file:///a/b``, ``file:///D:/a`` and, for shared folders and drives that name
    one on Windows, ``file:////server/share/a``, where ``file://server`` would be refused as another machine's."""
    return f"file://{'' if path.startswith('/') else '/'}{quote(os.fsencode(path))}?mode=ro"


@contextmanager
def connect(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection that is closed at the end of the block.

    Raises:
        sqlite3.Error: there is no regular file (a pipe would be waited for without end), or it cannot be opened.
    """
    if not path.is_file():
        raise sqlite3.OperationalError(f"{path} is not a regular file")
    connection = sqlite3.connect(_read_only_address(path.resolve().as_posix()), uri=True)
    try:
        yield connection
    finally:
        connection.close()
