"""Which knee a frame shows: as the user says, else the implants' axes, else the pose table; else right is assumed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medcli.core.errors import quantity
from medcli.veriserum.dataset.anatomies import KINDS
from medcli.veriserum.kinematics.implant_axes import ImplantAxes
from medcli.veriserum.kinematics.knee_frames import KneeFrames

ASSUMED = "right"


def sides_of(
    frames: KneeFrames, axes: Mapping[int, ImplantAxes], given: str | None
) -> tuple[pd.Series, pd.Series, list[str]]:
    """The side of each frame, why a frame cannot be used, and warnings.

    Frames whose poses or implants state two sides cannot be used; neither can the fewer frames of a trial in which
    some state one side and some the other.

    Args:
        frames: of the trials.
        axes: by ``anatomy_id``; they may state the side of an implant.
        given: the side that the user states, for all frames; None: as stated by implants and table.
    """
    stated = pd.DataFrame({kind: _stated(frames, kind, axes) for kind in KINDS})
    femur, tibia = stated["femur"], stated["tibia"]
    contrary = (femur != "") & (tibia != "") & (femur != tibia)
    found = femur.where(femur != "", tibia)
    reasons = pd.Series("", index=found.index)
    warnings = [] if given else _axes_against_table(frames, axes)
    if given:
        others = int((~femur.isin(["", given]) | ~tibia.isin(["", given])).sum())
        if others:
            warnings.append(
                f"{quantity(others, 'frame states', 'frames state')} the other side than --side {given}, which is used"
            )
        return pd.Series(given, index=found.index), reasons, warnings
    for trial, mine in found.groupby(frames.table["trial"], sort=False):
        known = mine[(mine != "") & ~contrary.loc[mine.index]]
        counts = known.value_counts()
        if counts.empty:
            continue
        main = str(counts.index[0])
        odd = known.index[known != main]
        reasons.loc[odd] = f"two sides in one trial: this frame is of a {counts.index[-1]} knee, most are {main}"
        if len(odd):
            warnings.append(
                f"trial {trial}: poses of two sides are mixed, {quantity(len(odd), 'frame is', 'frames are')} left out"
            )
        found.loc[mine.index[mine == ""]] = main
    words = "the femur is of the " + femur + " knee, the tibia of the " + tibia
    reasons = reasons.where(~contrary, words)
    unknown = int((found == "").sum())
    if unknown:
        warnings.append(
            f"nothing states the side of {quantity(unknown, 'frame')}: {ASSUMED} is assumed; adduction, rotation and "
            "lateral shift have the other sign on a left knee (--side left)"
        )
    return found.replace("", ASSUMED), reasons, warnings


def _axes_against_table(frames: KneeFrames, axes: Mapping[int, ImplantAxes]) -> list[str]:
    """A warning for each implant whose axes state the other side than the pose table."""
    places = frames.table[list(KINDS)].to_numpy().ravel()
    used = frames.rows.iloc[np.unique(places[places >= 0])]
    warnings = []
    for number, one in axes.items():
        said = used["side"][(used["anatomy_id"] == number).to_numpy(bool)]
        others = int((~said.isin(["", one.side])).sum())
        if one.side and others:
            other = next(side for side in said if side not in ("", one.side))
            warnings.append(
                f"anatomy {number}: its axes say {one.side}, the pose table {other} in {quantity(others, 'frame')}; "
                "the axes are used (--side overrides both)"
            )
    return warnings


def _stated(frames: KneeFrames, kind: str, axes: Mapping[int, ImplantAxes]) -> list[str]:
    places = frames.table[kind].to_numpy()
    anatomies, sides = frames.rows["anatomy_id"].tolist(), frames.rows["side"].tolist()
    by_implant = {number: one.side or "" for number, one in axes.items()}
    return [
        (by_implant.get(int(anatomies[place]), "") or sides[place]) if place >= 0 else ""
        for place in np.asarray(places)
    ]
