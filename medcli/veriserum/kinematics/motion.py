"""The motion of a knee from its frames: joint coordinates, low points, standard errors, and what is doubtful."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.rigid_transforms import invert_rigid
from medcli.veriserum.dataset.anatomies import KINDS
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS
from medcli.veriserum.dataset.pose_tables import matrices_of
from medcli.veriserum.kinematics.axes_guess import KnownAxes
from medcli.veriserum.kinematics.error_bars import ERROR_COLUMNS, spread_of
from medcli.veriserum.kinematics.joint_coordinates import (
    COORDINATES,
    SIDES,
    joint_coordinates,
    undefined_reason,
    unwrap_flexion,
)
from medcli.veriserum.kinematics.knee_frames import KneeFrames
from medcli.veriserum.kinematics.knee_sides import sides_of
from medcli.veriserum.kinematics.low_points import LOW_POINT_COLUMNS, LowPoints, as_columns, find_low_points
from medcli.veriserum.kinematics.pose_rows import doubt_of

Array = NDArray[np.float64]
GOOD, DOUBTFUL, MISSING = "good", "doubtful", "missing"
VALUE_COLUMNS = (*(one.name for one in COORDINATES), *LOW_POINT_COLUMNS)
ASSUMED_RATE = 25.0
"""Frames per second where nothing states them; the published recordings are to be checked."""
PLAUSIBLE = {
    "flexion_deg": (-30.0, 170.0),
    "adduction_deg": (-30.0, 30.0),
    "internal_rotation_deg": (-60.0, 60.0),
    "medial_low_height_mm": (0.0, 60.0),
    "lateral_low_height_mm": (0.0, 60.0),
}
"""Beyond these a frame is doubtful: twice what knees reach, and femoral metal inside the tray or far above it."""
_APART_MM = 150.0


@dataclass(frozen=True)
class KneeMotion:
    """The motion of all trials.

    Attributes:
        table: one row a frame; its columns are described in ``docs/kinematics.md``.
        warnings: what a reader of the numbers must know.
        rate: frames per second, and ``time_from`` where times are from.
    """

    table: pd.DataFrame
    warnings: tuple[str, ...]
    rate: float
    time_from: str


def knee_motion(
    frames: KneeFrames, known: KnownAxes, side: str | None = None, frame_rate: float | None = None
) -> KneeMotion:
    """Compute the motion of the frames of all trials.

    Args:
        frames: of :func:`medcli.veriserum.kinematics.knee_frames.pair_frames`.
        known: axes and meshes of the implants.
        side: of the knee, for all frames; None: as the table or the axes state it.
        frame_rate: per second; None: from the table.
    """
    table = frames.table.reset_index(drop=True)
    frames = KneeFrames(table, frames.rows, frames.pairing, frames.trials)
    sides, side_reasons, warnings = sides_of(frames, known.axes, side)
    numbers, errors, reasons = _poses(frames, known)
    reasons = _joined(table["reason"], reasons, side_reasons)
    numbers[(reasons != "").to_numpy()] = np.nan
    sign: Array = np.asarray(sides.map(SIDES), np.float64)
    axes = _axes(frames, known)
    femur, tibia = (matrices_of(np.nan_to_num(numbers[:, i])) @ axes[i] for i in range(2))
    femur[~np.isfinite(numbers).all(axis=(1, 2))] = np.nan
    values = joint_coordinates(femur, tibia, sign)
    reasons = _joined(reasons, pd.Series([undefined_reason(row) for row in values]))
    for _, mine in table.groupby("trial", sort=False):
        values[mine.index, 0] = unwrap_flexion(values[mine.index, 0])
    low = _low_points(frames, known, femur, tibia, axes[0], sign)
    spread, low_spread = spread_of(numbers, errors, (axes[0], axes[1]), sign, low)
    rate, time_s, time_from = _times(frames, frame_rate)
    found = _described(frames, sides, time_s)
    found[[*VALUE_COLUMNS]] = np.concatenate([values, as_columns(low.places, sign)], axis=1)
    found[[f"se_{name}" for name in VALUE_COLUMNS]] = np.concatenate([spread, low_spread], axis=1)
    for i, kind in enumerate(KINDS):
        found[[f"{kind}_{name}" for name in POSE_COLUMNS]] = numbers[:, i]
    apart = np.linalg.norm(tibia[:, :3, 3] - femur[:, :3, 3], axis=1)
    doubts = _doubts(frames, found, apart)
    found["reason"] = reasons.where(reasons != "", doubts)
    is_missing = ~np.isfinite(values).all(axis=1)
    found["status"] = np.where(is_missing, MISSING, np.where(doubts != "", DOUBTFUL, GOOD))
    warnings += _odd_motion(found)
    return KneeMotion(found, tuple(warnings), rate, time_from)


def _joined(*parts: pd.Series) -> pd.Series:
    """The first text of each row that is not empty."""
    first = parts[0].astype(str).reset_index(drop=True)
    for part in parts[1:]:
        first = first.where(first != "", part.reset_index(drop=True))
    return first


def _poses(frames: KneeFrames, known: KnownAxes) -> tuple[Array, Array, pd.Series]:
    """Poses (N, 2, 6) and their standard errors, and why a frame cannot be used."""
    count = len(frames.table)
    numbers, errors = np.full((count, 2, 6), np.nan), np.full((count, 2, 6), np.nan)
    reasons = np.full(count, "", object)
    poses, spread = frames.rows[list(POSE_COLUMNS)].to_numpy(), frames.rows[list(ERROR_COLUMNS)].to_numpy()
    problems, anatomies = frames.rows["problem"].tolist(), frames.rows["anatomy_id"].astype(int).tolist()
    spread = np.where(spread >= 0, spread, np.nan)
    for i, kind in enumerate(KINDS):
        at = frames.table[kind].to_numpy()
        there = at >= 0
        numbers[there, i], errors[there, i] = poses[at[there]], spread[at[there]]
        for frame in np.flatnonzero(there):
            anatomy = anatomies[at[frame]]
            no_axes = "" if anatomy in known.axes else f"anatomy {anatomy} has no axes"
            if (problem := problems[at[frame]] or no_axes) and not reasons[frame]:
                reasons[frame] = f"{kind}: {problem}"
    return numbers, errors, pd.Series(reasons)


def _axes(frames: KneeFrames, known: KnownAxes) -> Array:
    """(2, N, 4, 4): the axes of femur and tibia of each frame, in the coordinates of their meshes."""
    anatomies = frames.rows["anatomy_id"].astype(int).to_numpy()
    matrices = {number: one.matrix() for number, one in known.axes.items()}
    found = np.broadcast_to(np.eye(4), (len(KINDS), len(frames.table), 4, 4)).copy()
    for i, kind in enumerate(KINDS):
        at = frames.table[kind].to_numpy()
        for frame in np.flatnonzero(at >= 0):
            found[i, frame] = matrices.get(int(anatomies[at[frame]]), np.eye(4))
    return found


def _low_points(
    frames: KneeFrames, known: KnownAxes, femur: Array, tibia: Array, femoral_axes: Array, sign: Array
) -> LowPoints:
    """Low points; NaN for frames of a femur without a mesh."""
    in_tray = invert_rigid(tibia) @ femur @ invert_rigid(femoral_axes)
    places = np.full((len(femur), 2, 3), np.nan)
    stiffness = np.zeros((len(femur), 2, 2, 2))
    anatomies = frames.rows["anatomy_id"].astype(int).to_numpy()
    at = frames.table["femur"].to_numpy()
    of_frame = np.where(at >= 0, anatomies[np.maximum(at, 0)], -1)
    for anatomy in set(of_frame.tolist()) & known.meshes.keys() & known.axes.keys():
        some = of_frame == anatomy
        vertices, axes = known.meshes[anatomy].vertices, known.axes[anatomy].matrix()
        across = (vertices - axes[:3, 3]) @ axes[:3, 0]
        low = find_low_points(in_tray[some], vertices, across, sign[some])
        places[some], stiffness[some] = low.places, low.stiffness
    return LowPoints(places, stiffness)


def _times(frames: KneeFrames, frame_rate: float | None) -> tuple[float, Array, str]:
    """Frames per second, times (N,) from the first frame of each trial, and where they are from."""
    at = frames.table[list(KINDS)].max(axis=1).to_numpy()
    number = frames.table["frame"].to_numpy(np.float64) - 1
    rates = frames.rows["rate"][frames.rows["rate"].between(1, 1000)]
    stated = np.where(at >= 0, frames.rows["time_s"].to_numpy()[np.maximum(at, 0)], np.nan)
    if frame_rate is None and np.isfinite(stated[at >= 0]).all():
        times = pd.Series(stated)
        begin = times.groupby(frames.table["trial"], sort=False).transform("min")
        steps = times.groupby(frames.table["trial"], sort=False).diff()
        step = float(steps[steps > 0].median()) if (steps > 0).any() else np.nan
        filled = (times - begin).where(times.notna(), number * step)
        return 1 / step if step else np.nan, filled.to_numpy(np.float64), "times of the pose table"
    rate, source = (
        (frame_rate, "--frame-rate")
        if frame_rate
        else (float(rates.median()), "frame rate of the pose table")
        if len(rates)
        else (ASSUMED_RATE, f"{ASSUMED_RATE:g} frames per second, assumed")
    )
    return rate, number / rate, source


def _described(frames: KneeFrames, sides: pd.Series, time_s: Array) -> pd.DataFrame:
    """The columns that say which frame it is."""
    found = frames.table[["trial", "frame"]].copy()
    found["time_s"] = time_s
    ids, anatomies = frames.rows.index.to_numpy(), frames.rows["anatomy_id"].astype(int).to_numpy()
    for name, values in (("id", ids), ("anatomy", anatomies)):
        for kind in KINDS:
            at = frames.table[kind].to_numpy()
            found[f"{kind}_{name}"] = pd.array([int(values[i]) if i >= 0 else None for i in at], dtype="Int64")
    found["side"] = sides
    found["status"], found["reason"] = "", ""
    return found


def _doubts(frames: KneeFrames, found: pd.DataFrame, apart_mm: Array) -> pd.Series:
    """What speaks against each frame, empty for a good one."""
    statuses = frames.rows["status"].tolist()
    doubts = pd.Series("", index=found.index)
    for name, (low, high) in PLAUSIBLE.items():
        odd = (found[name] < low) | (found[name] > high)
        words = f"{name} is beyond {low:g} to {high:g}"
        doubts = doubts.mask(odd & (doubts == ""), words)
    far = pd.Series(apart_mm > _APART_MM, index=found.index)
    doubts = doubts.mask(far & (doubts == ""), f"the components are more than {_APART_MM:g} mm apart")
    for kind in KINDS:
        said = [f"{kind}: {text}" if i >= 0 and (text := doubt_of(statuses[i])) else "" for i in frames.table[kind]]
        doubts = doubts.where(doubts != "", pd.Series(said, index=found.index))
    return doubts


def _odd_motion(found: pd.DataFrame) -> list[str]:
    """Warnings about a trial that is doubtful as a whole."""
    lines = []
    for trial, mine in found.groupby("trial", sort=False):
        usable = mine[mine["status"] != MISSING]
        heights = usable[["medial_low_height_mm", "lateral_low_height_mm"]].mean(axis=1)
        if len(usable) and (heights < 0).mean() > 0.5:
            lines.append(
                f"trial {trial}: the femur lies below the tray: are femur and tibia exchanged in the table, or the "
                "axes wrong?"
            )
        elif len(usable) and (usable["status"] == DOUBTFUL).mean() > 0.5:
            reason = usable.loc[usable["status"] == DOUBTFUL, "reason"].mode().iloc[0]
            lines.append(f"trial {trial}: most frames are doubtful: {reason}")
    return lines


def ranges_of(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Least and largest of each of :data:`VALUE_COLUMNS` over the frames that are not missing; NaN where none is."""
    usable = table[table["status"] != MISSING]
    return {name: (float(usable[name].min()), float(usable[name].max())) for name in VALUE_COLUMNS}
