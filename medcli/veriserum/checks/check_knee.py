"""Checks of what knee motion is computed from: both components of each moment, near each other, frame after frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.checking.check_lines import Checklist, some_of
from medcli.core.errors import DataError, quantity
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.anatomies import KIND_OF, KINDS
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS, POSES
from medcli.veriserum.dataset.pose_tables import matrices_of
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.kinematics.knee_frames import KneeFrames, pair_frames
from medcli.veriserum.kinematics.pose_rows import read_pose_rows

_TOGETHER_MM = 80.0
"""The middles of a femoral and a tibial component are 25 to 55 mm apart, whatever the flexion."""


def check_components(checks: Checklist, study: VeriserumStudy, poses: pd.DataFrame) -> None:
    """Both components under one measurement or id, and near each other: what knee motion is computed from."""
    name = "femur and tibia"
    if not {"measurement_id", "anatomy_id"} <= set(poses.columns):
        checks.unknown(name, "the pose table has no measurement_id or anatomy_id", "pair them by image id")
        return
    rows = folder_index.read_every_row(study.table_file(POSES), POSES)
    kinds = folder_index.whole_numbers(rows["anatomy_id"]).map(KIND_OF)
    groups, ids = kinds.groupby(rows["measurement_id"]), kinds.groupby(level=0)
    both, total = int((groups.nunique() == len(KINDS)).sum()), groups.ngroups
    by_id, middle = int((ids.nunique() == len(KINDS)).sum()), groups.size().median() if total else 0
    figure = f"{some_of(both, quantity(total, 'measurement'))} and {some_of(by_id, quantity(ids.ngroups, 'id'))} hold "
    figure += f"both; median {middle:g} {'row' if middle == 1 else 'rows'} a measurement"
    present = sorted(set(kinds.dropna()))
    lacking = [] if both or by_id else [f"only {' and '.join(present)} poses" if present else "no known implant"]
    advice = "femur and tibia are never together: medcli kinematics has nothing to compute, the rest works"
    checks.add(name, figure, warn=lacking, advice=advice)
    try:
        usable, source = read_pose_rows(study, None, KIND_OF)
        frames = pair_frames(usable, study.contents, source)
    except DataError:
        return  # the line above says why
    _check_together(checks, study, frames)


def _check_together(checks: Checklist, study: VeriserumStudy, frames: KneeFrames) -> None:
    """Poses that are both from the implant to one frame leave the components next to each other."""
    table = frames.table[(frames.table["femur"] >= 0) & (frames.table["tibia"] >= 0)]
    apart = np.linalg.norm(_middles(study, frames, table, "femur") - _middles(study, frames, table, "tibia"), axis=1)
    known = np.isfinite(apart)
    gaps = len(frames.table) - len(table)
    if not known.any():
        checks.unknown("components together", "needs the surfaces of the implants", "medcli download veriserum")
        return
    far = [
        f"trial {trial}, frame {frame}: {distance:.0f} mm"
        for trial, frame, distance in zip(table["trial"], table["frame"], apart, strict=True)
        if distance > _TOGETHER_MM
    ]
    figure = (
        f"median {np.median(apart[known]):.0f} mm apart, {some_of(len(far), int(known.sum()))} by more than "
        f"{_TOGETHER_MM:g} mm; {quantity(table['trial'].nunique(), 'trial')}, "
        f"{some_of(gaps, quantity(len(frames.table), 'frame'))} without both poses"
    )
    many = len(far) > known.sum() / 2
    advice = "are both poses from the implant to one frame? or pair them otherwise: medcli kinematics --pair"
    checks.add("components together", figure, far if many else [], [] if many else far, advice)


def _middles(study: VeriserumStudy, frames: KneeFrames, table: pd.DataFrame, kind: str) -> NDArray[np.float64]:
    """(N, 3): the middle of each frame's component in the frame of the poses; NaN without a surface or pose."""
    rows = frames.rows.iloc[table[kind].to_numpy()]
    found = np.full((len(rows), 3), np.nan)
    fine = (rows["problem"] == "").to_numpy()
    for anatomy in set(rows["anatomy_id"].astype(int)):
        try:
            middle = study.surfaces.implant(anatomy).mesh.bounds.mean(axis=0)
        except DataError:
            continue
        some = fine & (rows["anatomy_id"] == anatomy).to_numpy(bool)
        poses = matrices_of(rows.loc[some, list(POSE_COLUMNS)].to_numpy(np.float64))
        found[some] = poses[:, :3, :3] @ middle + poses[:, :3, 3]
    return found
