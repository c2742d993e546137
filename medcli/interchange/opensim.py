"""Knee motion as motion files of OpenSim (``medcli convert opensim``), from a table of ``medcli kinematics``.

``medcli kinematics veriserum`` writes such files itself; this is for a table that was filtered, corrected or merged
since. Source: the page *Motion (.mot) Files* of OpenSim's documentation, and :mod:`medcli.veriserum.kinematics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from medcli.core.errors import DataError
from medcli.core.files import check_replaceable, make_output_folder
from medcli.core.json_text import read_object
from medcli.core.tables import read_frame
from medcli.veriserum.kinematics.joint_coordinates import COORDINATES, SIDES
from medcli.veriserum.kinematics.kinematics import SUMMARY, TABLE, file_stem
from medcli.veriserum.kinematics.motion import MISSING
from medcli.veriserum.kinematics.opensim_file import write_mot

_VALUES = tuple(one.name for one in COORDINATES)
_NEEDED = ("trial", "side", "status", "time_s", *_VALUES)


@dataclass(frozen=True)
class OpensimMotion:
    """A file that was written: frames in it, and ``missing``: those left out, since a coordinate is missing."""

    trial: str
    path: Path
    side: str
    frames: int
    missing: int


@dataclass(frozen=True)
class OpensimResult:
    """The answer of ``medcli convert opensim``; ``failures``: trials that have no frame, one line each."""

    table: Path
    out: Path
    motions: tuple[OpensimMotion, ...]
    failures: tuple[str, ...] = ()
    schema: str = "medcli.convert-opensim.v1"


def motion_table(run: Path) -> Path:
    """The table of a run of ``medcli kinematics``, or the file itself.

    Raises:
        DataError: there is none.
    """
    path = run / TABLE if run.is_dir() else run
    if not path.is_file():
        raise DataError(f"there is no {path}", "make it: medcli kinematics veriserum")
    return path


def convert_to_opensim(
    run: Path, out: Path, trials: Sequence[str] | None = None, overwrite: bool = False
) -> OpensimResult:
    """Write a ``.mot`` file for each trial; each is complete or absent.

    Args:
        run: a folder of ``medcli kinematics veriserum``, or a table like its ``kinematics.csv``.

    Raises:
        DataError: no such table, no such trial, or no frame with all coordinates.
        UsageError: a file exists and may not be replaced.
    """
    path = motion_table(run)
    table = read_frame(path, "table of knee motion", _NEEDED, dtype={"trial": str, "side": str, "status": str})
    table[[*_VALUES, "time_s"]] = table[[*_VALUES, "time_s"]].apply(pd.to_numeric, errors="coerce")
    table["status"] = table["status"].where(table[[*_VALUES, "time_s"]].notna().all(axis=1), MISSING)
    if odd := sorted(set(table["side"].dropna()) - set(SIDES)):
        raise DataError(f"{path}: side is {odd[0]}, expected {' or '.join(SIDES)}")
    there = list(dict.fromkeys(table["trial"].tolist()))
    if absent := [name for name in trials or () if name not in there]:
        raise DataError(f"{path} has no trial {', '.join(absent)}", f"it has {', '.join(map(str, there[:20]))}")
    chosen = [name for name in there if not trials or name in trials]
    targets = {name: out / f"trial_{file_stem(name)}.mot" for name in chosen}
    for target in targets.values():
        check_replaceable(target, overwrite)
    make_output_folder(out)
    summary = read_object(path.with_name(SUMMARY))
    done, failures = [], []
    for name in chosen:
        motion = table[table["trial"] == name]
        missing = int((motion["status"] == MISSING).sum())
        if missing == len(motion):
            failures.append(f"trial {name}: no frame has all coordinates")
            continue
        side = str(motion["side"].iloc[0])
        words = str(summary.get("time_from", path.name)), str(summary.get("axes", f"those of {path.name}"))
        write_mot(motion, f"trial {name}", side, *words, targets[name])
        done.append(OpensimMotion(name, targets[name], side, len(motion) - missing, missing))
    if not done:
        raise DataError(f"{path}: {failures[0]}")
    return OpensimResult(path, out, tuple(done), tuple(failures))
