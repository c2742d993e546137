"""What the tables of a probe calibration must have, checked before NumPy is loaded."""

from __future__ import annotations

from pathlib import Path

from medcli.core.errors import DataError
from medcli.core.tables import check_columns, header_of, read_table_text
from medcli.ultrabones.dataset.tracking_table import POSE_COLUMNS

POINTS, POSES, PHANTOM = "table of segmented points", "table of poses", "table of the phantom"
ENDS = ("x1", "y1", "z1", "x2", "y2", "z2")
"""Columns of the ends of a wire."""
PLACE = ("x", "y", "z")
"""Columns of a point."""


def check_calibration_tables(points: Path, poses: Path, phantom: Path | None) -> None:
    """What the first lines of the tables show to be wrong.

    Raises:
        DataError: a table is missing, is none, or lacks columns.
    """
    names = header_of(read_table_text(points, POINTS))
    target = "wire" if "wire" in names else "point"
    check_columns(names, ("frame", "u", "v", target), points, POINTS)
    names = header_of(read_table_text(poses, POSES))
    check_columns(names, ("frame" if "frame" in names else "timestamp", *POSE_COLUMNS), poses, POSES)
    if phantom is not None:
        places = ENDS if target == "wire" else PLACE
        check_columns(header_of(read_table_text(phantom, PHANTOM)), (target, *places), phantom, PHANTOM)
    elif target == "wire":
        raise DataError(
            f"{points} has points on wires, and where the wires are is not known",
            f"name a table of wire, {', '.join(ENDS)} (mm, in the coordinates of the poses) with --phantom",
        )
