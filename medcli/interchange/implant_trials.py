"""Poses of implants by trial with both cameras, for programs that match implants to X-ray images.

The world is plane bs's (:mod:`medcli.veriserum.geometry.biplane`): h to the right, v up, n towards the source.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.core.files import write_text
from medcli.core.tables import csv_text
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.anatomies import KIND_OF, KINDS
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS, POSES, SOURCES
from medcli.veriserum.dataset.pose_tables import matrices_of
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.dataset.trial_splits import find_trials, rows_of_trials, trial_names
from medcli.veriserum.geometry.biplane import DualPlane, PoseFrame, read_inter_plane
from medcli.veriserum.geometry.pair_geometry import PairGeometry
from medcli.veriserum.kinematics.kinematics import file_stem
from medcli.veriserum.kinematics.pose_rows import read_pose_rows

_LOG = logging.getLogger(__name__)
FRAMES = "frames.csv"
"""Beside the poses of a trial: the id of each of their rows."""
FRAME_COLUMNS = ("row", "id", "measurement_id", "source_int_calibration_id")


@dataclass(frozen=True)
class ImplantSources:
    """Where poses and cameras are from; None: found below ``root``."""

    root: Path
    poses: Path | None = None
    source_calibration: Path | None = None
    implants: Path | None = None
    inter_plane: Path | None = None
    frame: PoseFrame = PoseFrame.WORLD


@dataclass(frozen=True)
class ImplantTrial:
    """The frames of a trial.

    Attributes:
        name: of the trial; ``stem``: in names of folders, ``trial_000012``.
        ids: of its frames, ascending.
        measurements: of each frame; -1 where unknown.
        calibration: id of its source-intensifier calibration.
        cameras: of both planes.
        poses: kind (``femur``, ``tibia``) -> (frames, 4, 4), implant to world, millimetres; NaN without a pose.
        anatomies: kind -> ``anatomy_id``.
        times_s: of each frame, as stated by the table, else NaN.
    """

    name: str
    ids: tuple[int, ...]
    measurements: tuple[int, ...]
    calibration: int
    cameras: DualPlane
    poses: Mapping[str, NDArray[np.float64]]
    anatomies: Mapping[str, int]
    times_s: NDArray[np.float64]

    @property
    def stem(self) -> str:
        return f"trial_{file_stem(self.name)}"

    @property
    def missing(self) -> int:
        """How many poses are missing."""
        return int(sum(np.isnan(found[:, 0, 0]).sum() for found in self.poses.values()))


@dataclass(frozen=True)
class ImplantTrials:
    """The trials of a table of poses.

    Attributes:
        study: the dataset, with the implants' surfaces.
        source: which table.
        rule: how trials were told apart.
        failures: trials that cannot be converted, one line each.
    """

    study: VeriserumStudy
    trials: tuple[ImplantTrial, ...]
    source: str
    rule: str
    failures: tuple[str, ...] = field(default=())


def read_implant_trials(sources: ImplantSources, wanted: Sequence[str] | None = None) -> ImplantTrials:
    """The trials of a study or of a table of poses.

    Args:
        wanted: names of trials; None: all.

    Raises:
        DataError: a table or calibration is missing, or no trial can be converted; the first reason.
    """
    files = {POSES: None, SOURCES: sources.source_calibration}
    study = VeriserumStudy(sources.root, None, sources.implants, files)
    rows, source = read_pose_rows(study, sources.poses, KIND_OF)
    table = _calibrated(rows, sources.poses, study)
    geometry = PairGeometry(study, table, read_inter_plane(sources.inter_plane), sources.frame)
    found = find_trials(table, study.contents)
    names, rule = trial_names(table, found), found.rule
    chosen = list(dict.fromkeys(names[rows_of_trials(names, wanted, rule, source)]))
    trials, failures = [], []
    for name in chosen:
        try:
            trials.append(_trial(name, rows[rows.index.isin(table.index[names == name])], table, geometry))
        except DataError as error:
            failures.append(f"trial {name}: {error.message}")
    if not trials:
        raise DataError(failures[0] if failures else f"{source} has no trial")
    return ImplantTrials(study, tuple(trials), source, rule, tuple(failures))


def write_frames(path: Path, trial: ImplantTrial) -> None:
    """Write which id each row of the files of a trial belongs to; rows are counted from 1."""
    rows = [
        {"row": row, "id": number, "measurement_id": measurement, "source_int_calibration_id": trial.calibration}
        for row, (number, measurement) in enumerate(zip(trial.ids, trial.measurements, strict=True), start=1)
    ]
    write_text(path, csv_text(rows, FRAME_COLUMNS))


def _calibrated(rows: pd.DataFrame, file: Path | None, study: VeriserumStudy) -> pd.DataFrame:
    """One row an id, with the ids of its calibrations, from the file or else from the dataset's own table.

    Its pose is that of the component with more poses throughout, carried on where an id lacks it: what a trial is told
    by when nothing names it does not jump from one component to the other.
    """
    rows = rows.sort_index(kind="stable")
    first = rows[~rows.index.duplicated()].copy()
    leading = rows[rows["kind"] == rows["kind"].value_counts().idxmax()]
    leading = leading[~leading.index.duplicated()]
    for column in ("anatomy_id", *POSE_COLUMNS):
        first[column] = leading[column].reindex(first.index).ffill().bfill()
    given = folder_index.read_every_row(file, folder_index.POSE_FILE) if file else study.table(POSES)
    given = given[~given.index.duplicated()]
    name = "source_int_calibration_id"
    if name not in given.columns:
        own = study.files.get(POSES) or folder_index.locate(study.contents, POSES)
        given = study.table(POSES) if own else given
    if name not in given.columns:
        raise DataError(f"nothing names the cameras of the poses: no column {name}", "add the column to the table")
    more = [one for one in (name, "distortion_calibration_id") if one in given.columns]
    return first.join(given[more].reindex(first.index))


def _trial(name: str, rows: pd.DataFrame, table: pd.DataFrame, geometry: PairGeometry) -> ImplantTrial:
    ids = sorted(set(rows.index.tolist()))
    calibrations = {geometry.number(number, "source_int_calibration_id") for number in ids}
    if len(calibrations) > 1:
        raise DataError(f"its frames have {quantity(len(calibrations), 'source calibration')}, expected one")
    cameras = geometry.cameras(ids[0])
    to_world = cameras.frame_to_world(geometry.frame)
    poses, anatomies = {}, {}
    for kind in KINDS:
        mine = rows[rows["kind"] == kind]
        if mine.empty:
            continue
        numbers = sorted(set(mine["anatomy_id"].astype(int).tolist()))
        if len(numbers) > 1 or mine.index.has_duplicates:
            raise DataError(f"several poses of the {kind} (anatomies {' '.join(map(str, numbers))})")
        anatomies[kind] = numbers[0]
        usable = (mine["problem"] == "").to_numpy()
        values = mine[list(POSE_COLUMNS)].to_numpy(np.float64)
        found = np.full((len(ids), 4, 4), np.nan)
        places = np.searchsorted(ids, mine.index.to_numpy())
        found[places[usable]] = to_world @ matrices_of(values[usable])
        poses[kind] = found
    measurements = table["measurement_id"].reindex(ids) if "measurement_id" in table.columns else pd.Series(pd.NA, ids)
    times = table["time_s"].reindex(ids).to_numpy(np.float64)
    known = tuple(-1 if pd.isna(value) else int(value) for value in measurements)
    return ImplantTrial(name, tuple(ids), known, calibrations.pop(), cameras, poses, anatomies, times)
