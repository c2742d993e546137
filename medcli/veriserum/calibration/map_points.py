"""Map the points of a CSV file between native pixels and millimetres (``medcli calibrate points``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medcli.core.errors import DataError, UsageError
from medcli.core.files import make_output_folder, write_text
from medcli.core.plausibility import POINT_MM, POINT_PX, Bound
from medcli.core.tables import read_frame
from medcli.veriserum.calibration.distortion_table import DistortionTable
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.detector import NATIVE_HEIGHT, NATIVE_WIDTH, PLANES
from medcli.veriserum.dataset.folder_index import DISTORTIONS, POSES
from medcli.veriserum.dataset.study import VeriserumStudy

COLUMNS = {"px": ("x_px", "y_px"), "mm": ("x_mm", "y_mm")}
"""Pixels: column and row of the native image; millimetres: x to the right, y up, from the image centre."""
_KNOWN = (*COLUMNS["px"], *COLUMNS["mm"], "id", "plane")


@dataclass(frozen=True)
class PointsResult:
    """Result of mapping the points of a file.

    Attributes:
        points: rows of the file.
        outside: points outside the native image: extrapolated, or empty where no pixel maps to them.
    """

    out: Path
    points: int
    outside: int
    to: str
    schema: str = "medcli.calibrate-points.v1"


def map_points(
    source: Path,
    out: Path,
    root: Path,
    to: str = "mm",
    calibration: int | None = None,
    plane: str | None = None,
    distortion: Path | None = None,
    poses: Path | None = None,
) -> PointsResult:
    """Map points from pixels to millimetres or back and write them as further columns.

    Args:
        source: CSV file with columns x_px, y_px (or x_mm, y_mm for ``to="px"``).
        out: CSV file to write: the same rows, with the other two columns added or replaced.
        root: folder with the tables, if they are not given.
        to: "mm" or "px".
        calibration: id of the distortion calibration of all points; None: by each row's ``id`` in the pose table.
        plane: "bs" or "fs" for all points; None: each row's ``plane``.

    Raises:
        DataError: a file cannot be read, or a column or a calibration is missing.
        UsageError: neither an option nor a column states the plane or the calibration.
    """
    table = _read_points(source, to)
    study = VeriserumStudy(root, files={POSES: poses, DISTORTIONS: distortion})
    planes = _planes(table, plane)
    numbers = _calibrations(table, calibration, study)
    here, there = (COLUMNS["px"], COLUMNS["mm"]) if to == "mm" else (COLUMNS["mm"], COLUMNS["px"])
    mapped = np.full((len(table), 2), np.nan)
    points = table[list(here)].to_numpy(np.float64)
    distortions = DistortionTable(study)
    for number, side in sorted(set(zip(numbers.tolist(), planes.tolist(), strict=True))):
        model, chosen = distortions.get(number, side), np.flatnonzero((numbers == number) & (planes == side))
        mapped[chosen] = model(points[chosen]) if to == "mm" else model.inverse(points[chosen])
    table[list(there)] = mapped
    make_output_folder(out.parent)
    write_text(out, table.to_csv(index=False, lineterminator="\n"))
    pixels = points if to == "mm" else mapped
    inside = np.all((pixels >= -0.5) & (pixels <= [NATIVE_WIDTH - 0.5, NATIVE_HEIGHT - 0.5]), axis=1)
    return PointsResult(out, len(table), int((~inside).sum()), to)


def _read_points(source: Path, to: str) -> pd.DataFrame:
    """The table as text, so that other columns stay as they are, with the coordinates as numbers."""
    needed = COLUMNS["px" if to == "mm" else "mm"]
    hint = "name a table of points, CSV"
    settings = {"dtype": str, "keep_default_na": False}
    table = read_frame(source, "table of points", needed, _KNOWN, hint, rename=_known_in_lower_case, **settings)
    if table.empty:
        raise DataError(f"{source} has a header and no points")
    for name in needed:
        table[name] = _numbers(table[name], source)
        _check_plausible(table[name], POINT_PX if to == "mm" else POINT_MM, source)
    return table


def _known_in_lower_case(names: list[str]) -> list[str]:
    lower = [name.strip().lower() for name in names]
    return [new if new in _KNOWN else old for old, new in zip(names, lower, strict=True)]


def _check_plausible(column: pd.Series, bound: Bound, source: Path) -> None:
    """Raise :class:`DataError` for a number outside a bound; an empty cell is none."""
    wrong = np.flatnonzero(column.notna() & ~bound.holds(column))
    if len(wrong):
        value = float(column.iloc[wrong[0]])
        raise DataError(f"{source}, line {wrong[0] + 2}: {bound.problem(value, str(column.name))}")


def _numbers(column: pd.Series, source: Path | str) -> pd.Series:
    """A column of text as numbers; an empty cell is NaN."""
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = np.flatnonzero(numbers.isna() & (column.str.strip() != ""))
    if len(wrong):
        raise DataError(f"{source}, line {wrong[0] + 2}: {column.name} is {column.iloc[wrong[0]]!r}, not a number")
    return numbers


def _planes(table: pd.DataFrame, plane: str | None) -> pd.Series:
    if plane is not None:
        return pd.Series(plane, index=table.index)
    if "plane" not in table.columns:
        raise UsageError("the plane of the points is not given", "add --plane bs, or a column plane")
    planes = table["plane"].str.strip().str.lower()
    wrong = np.flatnonzero(~planes.isin(PLANES))
    if len(wrong):
        row = wrong[0]
        raise DataError(f"line {row + 2}: plane is {table['plane'].iloc[row]!r}, not bs or fs")
    return planes


def _calibrations(table: pd.DataFrame, calibration: int | None, study: VeriserumStudy) -> pd.Series:
    """The calibration id of each point."""
    if calibration is not None:
        return pd.Series(calibration, index=table.index)
    if "id" not in table.columns:
        raise UsageError(
            "the calibration of the points is not given", "add --calibration 3, or a column id (of the pose)"
        )
    ids = _numbers(table["id"], "the points")
    numbers = folder_index.whole_numbers(ids.map(study.table(POSES)["distortion_calibration_id"]))
    without = np.flatnonzero(numbers.isna())
    if len(without):
        file = study.table_file(POSES)
        raise DataError(f"id {table['id'].iloc[without[0]]} has no distortion_calibration_id in {file}")
    return numbers
