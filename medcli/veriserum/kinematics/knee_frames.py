"""The frames of each trial: the pose of a femur and that of a tibia of one moment, in the order of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.anatomies import KINDS
from medcli.veriserum.dataset.database import read_measurements
from medcli.veriserum.dataset.trial_splits import TRIAL_COLUMNS, named_trials, names_in

Pairing = Literal["auto", "id", "measurement", "order"]
PAIRINGS: Mapping[str, str] = {
    "id": "both poses under one image id",
    "measurement": "both poses under one measurement_id",
    "order": "the n-th pose of each component in a measurement_id",
}
_TINY = 2
_GAP = 5
"""Without a column of trials, more missing frames than these begin another one."""
_JUMP_MM = 30.0
_MOST_FILLED = 10_000
_BOTH = len(KINDS)


@dataclass(frozen=True)
class KneeFrames:
    """The frames of the trials of a table.

    Attributes:
        table: one row a frame, in the order of trials and time: trial (text), frame (from 1), key (the id or
            measurement), femur and tibia (places in ``rows``, -1: none), reason (why it is no complete frame).
        rows: of the pose table, see :func:`medcli.veriserum.kinematics.pose_rows.read_pose_rows`.
        pairing: how poses were paired, of :data:`PAIRINGS`.
        trials: how trials were told apart, in words.
        alone: trials without any complete frame, and the component that they have.
    """

    table: pd.DataFrame
    rows: pd.DataFrame
    pairing: str
    trials: str
    alone: dict[str, str] = field(default_factory=dict)


def pair_frames(
    rows: pd.DataFrame, contents: folder_index.Contents, source: str, pairing: Pairing = "auto"
) -> KneeFrames:
    """Pair the poses of femur and tibia, and group the frames into trials.

    Args:
        rows: of the pose table.
        contents: of the dataset; its databases may name the trials.
        source: of the rows, for messages.
        pairing: ``auto`` takes the image id where an id has both components, else the measurement.

    Raises:
        DataError: no femur can be paired with a tibia.
    """
    kinds = set(rows["kind"])
    if kinds != set(KINDS):
        lacking = next(kind for kind in KINDS if kind not in kinds)
        there = kinds.pop()
        raise DataError(
            f"{source} has poses of the {there} only: motion of the knee needs those of the {lacking} as well",
            "name a table that has both",
        )
    rule = _rule(rows) if pairing == "auto" else pairing
    keys = _keys(rows, rule)
    frames = _frames(rows, keys)
    if not ((frames["femur"] >= 0) & (frames["tibia"] >= 0)).any():
        raise DataError(
            f"{source}: no femur has a tibia by {PAIRINGS[rule]}",
            _pairing_that_fits(rows),
        )
    frames["trial"], words = _trials(frames, rows, rule, contents)
    table, alone = _complete(frames.drop(columns="at"))
    return KneeFrames(table, rows, rule, words, alone)


def _rule(rows: pd.DataFrame) -> str:
    per_id = rows.groupby(level=0)["kind"].nunique()
    if (per_id == _BOTH).any():
        return "id"
    groups = rows.dropna(subset=["measurement_id"]).groupby("measurement_id")["kind"]
    moments = (groups.nunique() == _BOTH) & (groups.size() == _BOTH)
    return "measurement" if moments.any() else "id"


def _pairing_that_fits(rows: pd.DataFrame) -> str:
    """What to try where a rule pairs nothing: by the counts of both components in a measurement."""
    counts = rows.dropna(subset=["measurement_id"]).groupby("measurement_id")["kind"].value_counts().unstack()
    counts = counts.reindex(columns=list(KINDS)).dropna().astype(int)
    if counts.empty:
        return "no measurement_id has both: state it, or one id for both poses of a moment"
    femora, tibiae = counts.iloc[0].tolist()
    way = "measurement" if femora == tibiae == 1 else "order"
    number = counts.index[0]
    said = f"measurement {number} has {quantity(femora, 'femur', 'femora')} and {quantity(tibiae, 'tibia', 'tibiae')}"
    return f"{said}: --pair {way}" + (" pairs the n-th of each" if way == "order" else "")


def _keys(rows: pd.DataFrame, rule: str) -> NDArray[np.int64]:
    """The frame of each row, -1 for a row without one."""
    if rule == "id":
        return rows.index.to_numpy(np.int64)
    if rule == "measurement":
        return np.asarray(rows["measurement_id"].fillna(-1).astype(np.int64))
    ordered = rows.reset_index().sort_values("id", kind="stable")
    place = ordered.groupby(["measurement_id", "kind"]).cumcount()
    femora = ordered[ordered["kind"] == "femur"].assign(place=place)
    first = {(m, p): int(i) for m, p, i in femora[["measurement_id", "place", "id"]].itertuples(index=False)}
    keys = [first.get((m, p), -1) for m, p in zip(ordered["measurement_id"], place, strict=True)]
    return np.asarray(pd.Series(keys, index=ordered.index).sort_index(), np.int64)


def _frames(rows: pd.DataFrame, keys: NDArray[np.int64]) -> pd.DataFrame:
    """One row a frame: key, its first place in ``rows``, places of both poses there, reason."""
    kinds, anatomies = rows["kind"].tolist(), rows["anatomy_id"].tolist()
    found: dict[int, dict[str, list[int]]] = {}
    for place, key in enumerate(keys.tolist()):
        if key >= 0:
            found.setdefault(key, {kind: [] for kind in KINDS})[kinds[place]].append(place)
    lines = []
    for key, places in sorted(found.items()):
        several = [
            f"several poses of the {kind} (anatomies {' '.join(str(anatomies[p]) for p in some)})"
            for kind, some in places.items()
            if len(some) > 1
        ]
        lacking = [f"no pose of the {kind}" for kind, some in places.items() if not some]
        one = {kind: some[0] if len(some) == 1 else -1 for kind, some in places.items()}
        at = min(min(some) for some in places.values() if some)
        lines.append({"key": key, "at": at, **one, "reason": "; ".join(several or lacking)})
    return pd.DataFrame(lines, columns=["key", "at", *KINDS, "reason"])


def _trials(
    frames: pd.DataFrame, rows: pd.DataFrame, rule: str, contents: folder_index.Contents
) -> tuple[pd.Series, str]:
    """The trial of each frame as text, and how they were told apart."""
    first = frames["at"].to_numpy()  # also where several poses of a component leave none
    for name in ("measurement_id", *TRIAL_COLUMNS):
        if name in rows.columns:
            groups = pd.Series(rows[name].to_numpy()[first], index=frames.index)
            if groups.notna().all() and not _is_tiny(groups):
                return groups.map(str), name
    measurements = pd.Series(rows["measurement_id"].to_numpy()[first], index=frames.index)
    listed = read_measurements(contents.databases, TRIAL_COLUMNS)
    if listed is not None:
        groups = measurements.map(listed.trials)
        if groups.notna().all() and not _is_tiny(groups):
            return names_in(groups).map(str), f"{listed.column} of {listed.path.name}"
    return _runs(frames, rows), "runs of consecutive frames"


def _is_tiny(groups: pd.Series) -> bool:
    """Whether most frames are in groups of one or two: such a column numbers moments, not trials."""
    return len(groups) > _TINY and bool((groups.map(groups.value_counts()) <= _TINY).mean() > 0.5)


def _runs(frames: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """Trials by gaps of the key, changes of the implants, and jumps of a pose."""
    begins = np.ones(len(frames), bool)
    begins[1:] = np.diff(frames["key"].to_numpy()) > _GAP
    places = rows[["tx", "ty", "tz"]].to_numpy()
    for kind in KINDS:
        at = frames[kind].to_numpy()
        known = np.flatnonzero(at >= 0)
        anatomy = rows["anatomy_id"].to_numpy()[at[known]]
        away = np.linalg.norm(np.diff(places[at[known]], axis=0), axis=1)
        begins[known[1:]] |= (anatomy[1:] != anatomy[:-1]) | (away > _JUMP_MM)
    names = np.cumsum(begins)
    return pd.Series(names, index=frames.index).map(str)


def _complete(frames: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Frames with their numbers, those that are missing in between added; and the trials without any complete frame."""
    parts, alone = [], {}
    for trial, mine in frames.groupby("trial", sort=False):
        complete = (mine["femur"] >= 0) & (mine["tibia"] >= 0)
        if not complete.any():
            alone[str(trial)] = "; ".join(dict.fromkeys(mine["reason"]))
            continue
        keys = mine["key"].to_numpy()
        steps = np.diff(keys)
        step = int(np.median(steps)) if len(steps) else 1
        numbers = (keys - keys[0]) // max(step, 1)
        if len(steps) and ((steps % step).any() or numbers[-1] >= len(keys) + _MOST_FILLED):
            numbers = np.arange(len(keys))  # irregular keys do not tell what is missing
        mine = mine.assign(frame=numbers + 1)
        absent = np.setdiff1d(np.arange(numbers[-1] + 1), numbers)
        gap = pd.DataFrame(
            {
                "key": keys[0] + absent * step,
                **dict.fromkeys(KINDS, -1),
                "reason": "no pose of either component",
                "trial": trial,
                "frame": absent + 1,
            }
        )
        parts.append(pd.concat([mine, gap]).sort_values("frame", kind="stable") if len(absent) else mine)
    return pd.concat(parts, ignore_index=True), alone


def choose_trials(frames: KneeFrames, wanted: Sequence[str] | None) -> tuple[KneeFrames, list[str]]:
    """Only some trials, and a line for each name that is none.

    Raises:
        DataError: none of them is a trial; names those that are.
    """
    if not wanted:
        return frames, []
    there = list(dict.fromkeys(frames.table["trial"]))
    wanted = named_trials(wanted, [*there, *frames.alone])
    lines = [
        f"trial {name}: {frames.alone[name]}" if name in frames.alone else f"trial {name}: there is none of this name"
        for name in wanted
        if name not in there
    ]
    chosen = frames.table[frames.table["trial"].isin(wanted)]
    if chosen.empty:
        shown = ", ".join(there[:20]) + (", …" if len(there) > 20 else "")
        raise DataError("; ".join(lines), f"trials with both components, by {frames.trials}: {shown}")
    return KneeFrames(chosen.reset_index(drop=True), frames.rows, frames.pairing, frames.trials, {}), lines
