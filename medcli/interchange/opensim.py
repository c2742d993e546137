"""Knee motion as motion files of OpenSim (``medcli convert opensim``), from a table of ``medcli kinematics``.

``medcli kinematics veriserum`` writes such files itself; this is for a table that was filtered, corrected or merged
since. Source: the page *Motion (.mot) Files* of OpenSim's documentation, and :mod:`medcli.veriserum.kinematics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medcli.core.errors import DataError, printable
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
    table = _read_motion(path)
    there = list(dict.fromkeys(table["trial"].tolist()))
    if absent := [name for name in trials or () if name not in there]:
        raise DataError(f"{path} has no trial {', '.join(absent)}", f"it has {', '.join(map(str, there[:20]))}")
    chosen = [name for name in there if not trials or name in trials]
    stems = _stems(there)
    targets = {name: out / f"{stems[name]}.mot" for name in chosen}
    for target in targets.values():
        check_replaceable(target, overwrite)
    summary = read_object(path.with_name(SUMMARY))
    done, failures = [], []
    for name in chosen:
        motion = table[table["trial"] == name].sort_values("time_s", kind="stable")
        missing = int((motion["status"] == MISSING).sum())
        if missing == len(motion):
            failures.append(f"trial {name}: no frame has all coordinates")
            continue
        usable = motion["time_s"][motion["status"] != MISSING]
        if (twice := usable[usable.duplicated()]).size:
            failures.append(f"trial {name}: two frames have the time {twice.iloc[0]:g} s")
            continue
        side = str(motion["side"].iloc[0])
        words = str(summary.get("time_from", path.name)), str(summary.get("axes", f"those of {path.name}"))
        make_output_folder(out)
        write_mot(motion, f"trial {name}", side, *words, targets[name])
        done.append(OpensimMotion(name, targets[name], side, len(motion) - missing, missing))
    if not done:
        raise DataError(f"{path}: {failures[0]}")
    return OpensimResult(path, out, tuple(done), tuple(failures))


def _read_motion(path: Path) -> pd.DataFrame:
    """The table, with numbers as numbers, and frames that lack one marked as missing."""
    columns = [*_VALUES, "time_s"]
    words = dict.fromkeys(("trial", "side", "status"), str)
    table = read_frame(path, "table of knee motion", _NEEDED, dtype=words, skip_blank_lines=False)
    table = table[table.notna().any(axis=1)]  # blank lines, which are counted
    if table.empty:
        raise DataError(f"{path} has no rows", "make it: medcli kinematics veriserum")
    numbers = table[columns].apply(pd.to_numeric, errors="coerce")
    for line, column in zip(*np.nonzero((table[columns].notna() & ~np.isfinite(numbers)).to_numpy()), strict=True):
        cell = printable(str(table[columns].iloc[line, column]))
        raise DataError(f"{path}, line {table.index[line] + 2}, {columns[column]}: {cell!r} is no number")
    if (unnamed := table.index[table["trial"].isna()]).size:
        raise DataError(f"{path}, line {unnamed[0] + 2}: no trial is named")
    if odd := sorted(set(table["side"].dropna()) - set(SIDES)):
        raise DataError(f"{path}: side is {odd[0]}, expected {' or '.join(SIDES)}")
    status = table["status"].where(numbers.notna().all(axis=1), MISSING)
    return table.assign(**numbers, status=status)


def _stems(trials: Sequence[str]) -> dict[str, str]:
    """The name of each trial's file, without its ending: numbered where two differ in signs or case only."""
    stems: dict[str, str] = {}
    for name in trials:
        stem = base = f"trial_{file_stem(name)}"
        number = 1
        while stem.casefold() in (other.casefold() for other in stems.values()):
            number += 1
            stem = f"{base}_{number}"
        stems[name] = stem
    return stems
