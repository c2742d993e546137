"""The X-ray pairs that a pair, a trial, a table of poses or a run of ``medcli kinematics`` names; poses and motion."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.errors import DataError, MedcliError, quantity
from medcli.core.tables import read_frame
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.anatomies import KIND_OF, KINDS
from medcli.veriserum.dataset.database import read_measurements
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS, TableKind
from medcli.veriserum.dataset.pose_tables import pose_matrices, with_plausible_poses
from medcli.veriserum.dataset.trial_splits import TRIAL_COLUMNS, find_trials, names_in
from medcli.veriserum.geometry.biplane import PoseFrame
from medcli.veriserum.kinematics.joint_coordinates import COORDINATES
from medcli.veriserum.kinematics.kinematics import TABLE, KinematicsSettings, compute_motion
from medcli.veriserum.kinematics.knee_frames import pair_frames
from medcli.veriserum.kinematics.motion import ASSUMED_RATE
from medcli.veriserum.kinematics.pose_rows import read_pose_rows
from medcli.veriserum.registration.start_poses import Sources, StartPoses
from medcli.viewing.settings import ViewedScene, ViewSettings, ViewTarget
from medcli.viewing.targets import named_in_note, pose_frame_of, settings_in_note

_LOG = logging.getLogger(__name__)
_TABLE = TableKind("table of poses", "poses", ("id", *POSE_COLUMNS), "--root")
_MOST_NAMED = 20
COORDINATE_NAMES = tuple(one.name for one in COORDINATES)


@dataclass
class XrayFrames:
    """The pairs to be shown, in order.

    Attributes:
        starts: images, cameras and implants.
        ids: of the pairs; ``numbers`` (from 1) and ``seconds`` of each.
        poses: id -> ``anatomy_id`` -> (4, 4) implant to world.
        motion: id -> the six joint coordinates, see :data:`COORDINATE_NAMES`; empty: none.
    """

    starts: StartPoses
    ids: list[int]
    poses: dict[int, dict[int, NDArray[np.float64]]]
    numbers: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    motion: dict[int, NDArray[np.float64]] = field(default_factory=dict)


def find_frames(target: ViewTarget, settings: ViewSettings, scene: ViewedScene) -> XrayFrames:
    """The pairs that a target names.

    Raises:
        DataError: a table is missing, there is no such pair or trial, or no pair has a pose.
        UsageError: see :func:`medcli.viewing.targets.pose_frame_of`.
    """
    assert target.root is not None
    options = settings_in_note(target)
    file = target.path if target.kind == "poses" else None
    if target.kind == "motion" and options.get("poses"):
        file = named_in_note(target.path, options["poses"])
        if file is None:
            raise DataError(f"the poses of {target.path} are not found: {options['poses']}", "compute the motion again")
    starts = StartPoses(
        Sources(
            target.root,
            file,
            calibrated=settings.calibrated,
            implants=settings.implants or named_in_note(target.path, options.get("implants")),
            inter_plane=settings.inter_plane or named_in_note(target.path, options.get("inter_plane")),
            frame=PoseFrame(pose_frame_of(target, settings.pose_frame)),
        )
    )
    table = folder_index.read_every_row(file or starts.study.table_file(folder_index.POSES), _TABLE)
    table = table[~folder_index.is_obsolete(table)] if "obsolete" in table.columns else table
    motion: pd.DataFrame | None = None
    if target.kind == "motion":
        motion = _stored_motion(target.path, settings.trials, scene)
        ids = motion["id"].tolist()
    else:
        ids = _ids(target, starts, table, scene)
        motion = _computed_motion(starts, file, ids, settings, scene)
    frames = XrayFrames(starts, ids, _poses(starts, table, ids))
    frames.ids = [number for number in ids if frames.poses.get(number)]
    if not frames.ids:
        raise DataError(f"no pose of {scene.title} can be shown", "medcli check veriserum shows what is wrong")
    _place_in_time(frames, motion, scene)
    return frames


def _ids(target: ViewTarget, starts: StartPoses, table: pd.DataFrame, scene: ViewedScene) -> list[int]:
    there = sorted(set(table.index.tolist()))
    if target.kind == "pair":
        number = int(target.name)
        if number not in there:
            raise DataError(f"no pair {number} has a pose in {target.root}; ids are {there[0]} to {there[-1]}")
        scene.title = f"pair {number}"
        return [number]
    if target.kind == "poses":
        scene.title = target.path.name
        return there
    names = _trial_names(starts)
    ids = [number for number in there if names.get(number) == target.name]
    if not ids:
        known = list(dict.fromkeys(names[number] for number in there if number in names.index))
        shown = ", ".join(known[:_MOST_NAMED]) + (", …" if len(known) > _MOST_NAMED else "")
        raise DataError(f"no trial {target.name} in {target.root}", f"trials with poses: {shown}")
    scene.title = f"trial {target.name}"
    return ids


def _trial_names(starts: StartPoses) -> pd.Series:
    """The name of the trial of each id, as ``medcli kinematics`` names them."""
    table = starts.table
    trials = find_trials(table, starts.study.contents)
    if trials.rule in table.columns:
        return names_in(table[trials.rule])
    if "measurement_id" in table.columns:
        listed = read_measurements(starts.study.contents.databases, TRIAL_COLUMNS)
        if listed is not None and trials.rule.startswith(listed.column):
            return names_in(table["measurement_id"].map(listed.trials))
    return (trials.of + 1).map(str)


def _poses(starts: StartPoses, table: pd.DataFrame, ids: Sequence[int]) -> dict[int, dict[int, NDArray[np.float64]]]:
    rows = table[table.index.isin(ids)]
    anatomies = folder_index.whole_numbers(rows["anatomy_id"]) if "anatomy_id" in rows.columns else None
    if anatomies is None or anatomies.isna().all():
        anatomies = starts.table["anatomy_id"].reindex(rows.index)
    rows = with_plausible_poses(rows.assign(anatomy_id=anatomies), "poses")
    rows = rows[rows["anatomy_id"].notna()]
    found: dict[int, dict[int, NDArray[np.float64]]] = {}
    if len(rows):
        matrices = starts.geometry.to_world(rows.index.to_numpy(), pose_matrices(rows))
        for number, anatomy, matrix in zip(rows.index.tolist(), rows["anatomy_id"].tolist(), matrices, strict=True):
            found.setdefault(number, {}).setdefault(int(anatomy), matrix)
    return found


def _stored_motion(folder: Path, trials: Sequence[str] | None, scene: ViewedScene) -> pd.DataFrame:
    """The rows of some trials of a run of ``medcli kinematics``, or of its first one."""
    columns = ("trial", "frame", "femur_id", "tibia_id", "time_s", *COORDINATE_NAMES)
    table = read_frame(folder / TABLE, "table of knee motion", columns, columns, dtype={"trial": str})
    there = list(dict.fromkeys(table["trial"]))
    wanted = list(trials or there[:1])
    if absent := [name for name in wanted if name not in there]:
        known = ", ".join(there[:_MOST_NAMED])
        raise DataError(f"no trial {', '.join(absent)} in {folder}", f"trials there: {known}; choose with --trials")
    if not trials and len(there) > 1:
        scene.warnings.append(
            f"{folder} has {quantity(len(there), 'trial')}; trial {wanted[0]} is shown (--trials chooses)"
        )
    scene.title = f"trial {', '.join(wanted)} of {folder.name}"
    chosen = table[table["trial"].isin(wanted)]
    return _by_id(chosen)


def _by_id(motion: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of motion with a pose of either component, and the id of the pair as ``id``."""
    femur, tibia = (folder_index.whole_numbers(motion[name]) for name in ("femur_id", "tibia_id"))
    numbers = femur.where(femur.notna(), tibia)
    there = motion[numbers.notna()]
    return there.assign(id=numbers[numbers.notna()].astype("int64"))


def _computed_motion(
    starts: StartPoses, file: Path | None, ids: Sequence[int], settings: ViewSettings, scene: ViewedScene
) -> pd.DataFrame | None:
    """Joint coordinates of the pairs by id; None, with a warning, where they cannot be computed."""
    try:
        rows, source = read_pose_rows(starts.study, file, KIND_OF)
        if len(set(rows["kind"][rows.index.isin(ids)])) < len(KINDS):
            return None  # one component only, as most tables have them
        frames = pair_frames(rows, starts.study.contents, source)
        at = frames.table[list(KINDS)].max(axis=1).to_numpy()
        wanted = np.isin(np.where(at >= 0, rows.index.to_numpy()[np.maximum(at, 0)], -1), ids)
        trials = tuple(dict.fromkeys(frames.table["trial"][wanted]))
        if not trials:
            return None
        chosen = KinematicsSettings(file, trials, settings.side, implants=settings.implants)
        computed = compute_motion(starts.study, chosen)
    except MedcliError as error:
        scene.warnings.append(f"no joint angles: {error.message}")
        return None
    scene.warnings += computed.warnings
    table = _by_id(computed.motion.table)
    return table[table["id"].isin(ids)]


def _place_in_time(frames: XrayFrames, motion: pd.DataFrame | None, scene: ViewedScene) -> None:
    """Numbers, times and joint coordinates: of the motion where there is one, else by the order of ids."""
    frames.numbers = list(range(1, len(frames.ids) + 1))
    frames.seconds = [(number - 1) / ASSUMED_RATE for number in frames.numbers]
    if motion is None:
        if len(frames.ids) > 1:
            scene.warnings.append(f"nothing states the frame rate: {ASSUMED_RATE:g} per second is assumed")
        return
    rows: dict[int, Any] = {int(row["id"]): row for row in motion.to_dict("records")}
    frames.motion = {
        number: np.array([rows[number][name] for name in COORDINATE_NAMES], np.float64)
        for number in frames.ids
        if number in rows
    }
    if motion["trial"].nunique() == 1 and set(frames.ids) <= rows.keys():
        frames.numbers = [int(rows[number]["frame"]) for number in frames.ids]
        frames.seconds = [float(rows[number]["time_s"]) for number in frames.ids]
