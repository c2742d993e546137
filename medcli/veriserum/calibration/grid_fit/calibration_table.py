"""Add rows to a table of distortion calibrations without changing other content.

Existing rows and columns are kept as they were written, cell by cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medcli.core.errors import UsageError
from medcli.core.files import write_text
from medcli.core.tables import csv_text, read_dicts

COLUMNS = ("id", "update_timestamp", "obsolete", "distortion_result_fs", "distortion_result_bs", "method")
"""Columns of a new table: those of the published table that a fit can fill."""


@dataclass
class CalibrationTable:
    """The cells of a CSV file as text, by column name."""

    path: Path
    columns: list[str] = field(default_factory=lambda: list(COLUMNS))
    rows: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> CalibrationTable:
        """The table in a file, or an empty one if there is no file.

        Raises:
            DataError: the file is not a table of distortion calibrations.
            UsageError: it is not a CSV file.
        """
        if path.suffix.lower() != ".csv":
            raise UsageError(f"{path} is not a CSV file", "name a table with --out table.csv")
        if not path.exists():
            return cls(path)
        needed = ("id", "distortion_result_fs", "distortion_result_bs")
        columns, rows = read_dicts(path, "distortion calibration table", needed, "choose another file with --out")
        return cls(path, columns, rows)

    def ids(self) -> list[int]:
        """The whole numbers among the ids."""
        return [int(row["id"]) for row in self.rows if row["id"].strip().isdecimal()]

    def find(self, number: int) -> dict[str, str] | None:
        """The first row with an id."""
        return next((row for row in self.rows if row["id"].strip() == str(number)), None)

    def put(self, number: int, cells: Mapping[str, str]) -> None:
        """Set cells of the row with an id, adding the row if necessary; other cells are kept."""
        self.columns += [name for name in cells if name not in self.columns]
        row = self.find(number)
        if row is None:
            row = {"id": str(number)}
            self.rows.append(row)
        row.update(cells)

    def write(self) -> None:
        """Replace the file by the table, atomically."""
        write_text(self.path, csv_text(self.rows, self.columns))
