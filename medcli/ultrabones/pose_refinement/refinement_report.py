"""``refinement.csv``: one row for each frame with what became of its pose, and a key of all that the pose depends on.

The report is also the journal of a run: rows with the same key are not computed again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.core.files import open_regular, write_text
from medcli.core.made_with import differences, fingerprint, reject_other_options
from medcli.core.plausibility import pose_bounds, problem_of
from medcli.core.tables import csv_text, read_dicts
from medcli.ultrabones.dataset.records import Poses, Sweep
from medcli.ultrabones.dataset.tracking_table import POSE_COLUMNS
from medcli.ultrabones.pose_refinement.refine_frame import Refinement, RefineSettings

REPORT = "refinement.csv"
FRAMES, SWEEP = "frames", "sweep"
"""The ways to refine: each frame by itself, as published, or one smooth correction of the whole sweep."""
REFINED, KEPT, FILLED = "refined", "kept", "from neighbours"
"""Status of a row: changed by its own pixels, left as tracked, or given the curve's value between its neighbours."""
MOVED = (REFINED, FILLED)
AT_BOUND, LITTLE_GAIN, DARKER = "at bound", "little gain", "darker"
LITTLE = 1.05
"""A gain below this in the weight of the bright pixels on the bone is little."""
_FIRST_COLUMNS = (
    "timestamp", "status", "reason", "displacement_mm", "rotation_deg", "j_before", "j_after", *POSE_COLUMNS, "key",
)  # fmt: skip
REPORT_COLUMNS = (*_FIRST_COLUMNS, "gain", "grey_before", "grey_after", "flags")
_TAIL = 32  # Adler-32 and CRC of the pixels, and the end chunk

Row = dict[str, str]


def frame_key(settings: RefineSettings, mesh: str, sweep: Sweep, poses: Poses, frame: int) -> str:
    """A text that changes when anything that the refinement of a frame depends on does."""
    pose = poses.pose[frame].tolist()
    text = repr((astuple(settings), mesh, pose, float(poses.spacing_mm[frame]), _image_mark(sweep.images[frame])))
    return fingerprint(text, *([] if sweep.probe.is_published else [sweep.probe.digest]))


def _image_mark(path: str) -> tuple[int, bytes]:
    """Size and last bytes of a PNG file: the checksum of all its pixels is among them, and copying keeps them."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            return size, file.read()
    except OSError:
        return 0, b""  # the frame fails by itself when it is read


def ingredients(settings: RefineSettings, mesh: str, sweep: Sweep, poses: Poses, way: str) -> dict[str, object]:
    """What a refinement depends on, so that a later run can name what differs: numbers, fingerprints of the rest."""
    return {
        "settings": {"--refine": way, **asdict(settings)},
        "meshes": mesh,
        "tracked poses": fingerprint(poses.pose.tobytes(), poses.spacing_mm.tobytes()),
        "images": fingerprint(*(repr(_image_mark(path)) for path in sweep.images)),
        "probe": sweep.probe.digest,
    }


def refuse_other_settings(
    done: Mapping[int, Row],
    keys: Mapping[int, str],
    report: Path,
    before: Mapping[str, Any],
    now: Callable[[], Mapping[str, Any]],
) -> None:
    """Raise :class:`DataError` for rows that were made from something else, and name it as far as it is known.

    Args:
        before: the :func:`ingredients` of the rows, empty where they are not known, and ``now`` those of this run.
    """
    changed = [timestamp for timestamp, row in done.items() if keys.get(timestamp, row["key"]) != row["key"]]
    if not changed:
        return
    frames, text = quantity(len(changed), "frame"), ""
    if before:
        these, settings = now(), before.get("settings")
        named = differences(settings, these["settings"]) if isinstance(settings, dict) else []
        named += [f"other {name}" for name in these if name != "settings" and before.get(name) != these[name]]
        text = f"{', '.join(named)} ({frames})" if named else ""
    text = text or f"settings, poses, images or meshes of {frames} differ"
    reject_other_options(report, [text], "give --overwrite to refine again", DataError)


def as_row(found: Refinement, tracked: NDArray[np.float64], bound: float, key: str, status: str = "") -> Row:
    """The row of a frame, with its flags; ``tracked`` (6,) is its pose before, ``status`` overrides the usual one."""
    numbers = {
        "displacement_mm": found.displacement_mm,
        "rotation_deg": found.rotation_deg,
        "j_before": found.j_before,
        "j_after": found.j_after,
        "gain": found.gain,
        "grey_before": found.grey_before,
        "grey_after": found.grey_after,
        **dict(zip(POSE_COLUMNS, found.pose.tolist(), strict=True)),
    }
    texts = {name: "" if np.isnan(value) else repr(float(value)) for name, value in numbers.items()}
    status = status or (REFINED if found.refined else KEPT)
    row = {"timestamp": str(found.timestamp), "status": status, "reason": found.reason, **texts, "key": key}
    return row | {"flags": "; ".join(_flags(found, tracked, bound) if found.refined else [])}


def _flags(found: Refinement, tracked: NDArray[np.float64], bound: float) -> list[str]:
    change = np.abs(found.pose - tracked)
    limits = [name for name, far in zip(POSE_COLUMNS, change >= 0.999 * bound, strict=True) if far]
    flags = [f"{AT_BOUND} ({', '.join(limits)})"] if limits else []
    flags += [LITTLE_GAIN] if found.gain < LITTLE else []
    return flags + ([DARKER] if found.grey_after < found.grey_before else [])


def read_report(path: Path) -> dict[int, Row]:
    """The rows of a report by timestamp, none where there is no file; rows of earlier versions lack the flags.

    Raises:
        DataError: the file is none of this command, or damaged.
    """
    if not path.exists():
        return {}
    try:
        _, rows = read_dicts(path, "report of this command", _FIRST_COLUMNS)
        return {int(row["timestamp"]): _checked(row) for row in rows}
    except (DataError, ValueError) as error:
        raise DataError(f"{path} is not a report of this command: {error}", "move it away, or --overwrite") from error


def _checked(row: Row) -> Row:
    """A row of the report; ValueError when the numbers of a changed pose are none, or not plausible."""
    if row["status"] in MOVED:
        problem = problem_of({name: float(row[name]) for name in POSE_COLUMNS}, pose_bounds(POSE_COLUMNS))
        needed = ("displacement_mm", "j_before", "j_after") if row["status"] == REFINED else ("displacement_mm",)
        if problem or not all(math.isfinite(float(row[name])) for name in needed):
            raise ValueError(problem or "a number that is not finite")
    return {name: row.get(name, "") for name in REPORT_COLUMNS}


def write_rows(path: Path, rows: Mapping[int, Row]) -> None:
    """Write the rows, sorted by timestamp."""
    write_text(path, csv_text([rows[timestamp] for timestamp in sorted(rows)], REPORT_COLUMNS))


def pose_of(row: Row) -> NDArray[np.float64]:
    """The pose (6,) of a row."""
    return np.array([float(row[name]) for name in POSE_COLUMNS])


def poses_by_row(sweep: Sweep, done: Mapping[int, Row]) -> dict[int, NDArray[np.float64]]:
    """The changed poses (6,) by row of the tracking table."""
    return {
        int(row): pose_of(done[timestamp])
        for timestamp, row in zip(sweep.timestamps, sweep.rows, strict=True)
        if timestamp in done and row >= 0 and done[timestamp]["status"] in MOVED
    }


def column_numbers(rows: Sequence[Row], name: str) -> NDArray[np.float64]:
    """A column as numbers, NaN where a row has none."""
    return np.array([float(row[name]) if row[name] else math.nan for row in rows])
