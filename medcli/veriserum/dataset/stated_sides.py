"""What a pose table says beyond the published columns: rate, times, and the side of each knee, which may be two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medcli.core.json_text import read_object

if TYPE_CHECKING:
    import pandas as pd

RATE_COLUMNS = ("frame_rate", "framerate", "fps", "frequency_hz")
TIME_COLUMNS = {"time_s": 1.0, "time_ms": 1e3, "timestamp_ms": 1e3, "acquisition_time_s": 1.0}
"""Name of a column of times, and its units in a second."""
SIDE_COLUMNS = ("side", "laterality", "leg", "knee_side")
AXES_FILE = "axes.json"
"""Written by ``medcli kinematics axes``, by default into the current folder; its implants may state a side."""
_SIDES = {"r": "right", "l": "left"}


def first_of(names: Iterable[str], columns: Iterable[str]) -> str | None:
    """The first name that is among the columns."""
    there = set(columns)
    return next((name for name in names if name in there), None)


def stated_sides(poses: pd.DataFrame) -> pd.Series:
    """``right``, ``left`` or empty for each row, from the first column that names sides."""
    import pandas as pd

    column = first_of(SIDE_COLUMNS, poses.columns)
    if column is None:
        return pd.Series("", index=poses.index)
    return poses[column].astype(str).str.strip().str.lower().str[:1].map(_SIDES).fillna("")


def side_conflicts(poses: pd.DataFrame) -> list[str]:
    """A line for each measurement, or else id, whose rows state both sides; ``poses`` by id, one row a component."""
    sides = stated_sides(poses)
    by = "measurement_id" if "measurement_id" in poses.columns else "id"
    groups = poses[by] if by == "measurement_id" else poses.index.to_series()
    known = (sides != "").to_numpy() & groups.notna().to_numpy()
    lines = []
    for key, mine in sides[known].groupby(groups[known].to_numpy(), sort=True):
        counts = mine.value_counts()
        if len(counts) > 1:
            main, other = (str(one) for one in counts.index)
            first = next(number for number, side in mine.items() if side == other)
            column = first_of(SIDE_COLUMNS, poses.columns)
            lines.append(
                f"{by} {key:g}: column {column} says {main} in {counts.iloc[0]:,} and {other} in "
                f"{counts.iloc[1]:,} of its rows, first for id {first}"
            )
    return lines


def conflicts_with_axes(poses: pd.DataFrame, files: Sequence[Path]) -> list[str]:
    """A line for each implant that a file of axes, where it is there, states for another side than its rows."""
    if "anatomy_id" not in poses.columns or not (stated := stated_sides(poses)).any():
        return []
    anatomies, lines = poses["anatomy_id"].astype(str).str.removesuffix(".0"), []
    for file in files:
        implants = read_object(file).get("implants")
        for number, entry in implants.items() if isinstance(implants, dict) else ():
            side = entry.get("side") if isinstance(entry, dict) else None
            others = stated[(anatomies == number).to_numpy() & ~stated.isin(["", side]).to_numpy()]
            if side in _SIDES.values() and len(others):
                column = first_of(SIDE_COLUMNS, poses.columns)
                said = f"column {column} says {others.iloc[0]} (first for id {others.index[0]})"
                lines.append(f"anatomy {number}: {said}, {file} says {side}")
    return lines
