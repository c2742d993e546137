"""Grouping of pairs into trials, and splits that do not divide trials.

Consecutive pairs of a recording differ by a fraction of a millimetre. If neighbours are shared between the splits,
an error measures memorisation rather than performance on a new recording. So splits are by trial, and
the column that defines the trials is part of every result.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.database import read_measurements

_LOG = logging.getLogger(__name__)
TRIAL_COLUMNS = ("trials_id", "trial_id")
RUNS = "runs of consecutive ids"
PUBLISHED_IDS, PUBLISHED_SHARE = 1000, 0.8
VAL_SHARE = TEST_SHARE = 0.15
_TINY = 2
"""A group of this size or less is not a recording: one measurement per pair does not identify trials."""
_NEAR_MM, _NEAR_DEG = 5.0, 5.0
"""Neighbouring frames of a trial are closer to each other than this (at 25 frames per second or more)."""

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Trials:
    """The trial of each pair.

    Attributes:
        of: id -> number of its trial.
        rule: the column that defines the trials, or :data:`RUNS`.
    """

    of: pd.Series
    rule: str


@dataclass(frozen=True)
class TrialSplit:
    """Pose ids of each split.

    Attributes:
        train, val, test: ids in ascending order.
        rule: how trials were defined.
        trials: number of trials in each split.
        leaks: validation and test pairs whose neighbour in a recording is a training pair.
        warnings: limitations of the metrics.
    """

    train: Ids
    val: Ids
    test: Ids
    rule: str
    trials: dict[str, int] = field(default_factory=dict)
    leaks: int = 0
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint's description: ids as ranges."""
        sides = {name: as_ranges(getattr(self, name)) for name in ("train", "val", "test")}
        return {**sides, "rule": self.rule, "trials": self.trials, "leaks": self.leaks, "warnings": list(self.warnings)}


def find_trials(poses: pd.DataFrame, contents: folder_index.Contents) -> Trials:
    """Group the pairs of a pose table into trials.

    Args:
        poses: as :func:`medcli.veriserum.dataset.folder_index.read_table` gives it.
        contents: lists databases that may have a table of measurements.

    ``measurement_id`` is used if its groups are recordings. If most of them contain one or two pairs, a trial id is
    used: a column of the pose table, or of the database's table of measurements. If there is none, runs of
    consecutive ids are trials; a run ends when the anatomy or calibration changes or the pose jumps.
    """
    if "measurement_id" in poses.columns and not _is_tiny(poses["measurement_id"]):
        return Trials(_numbered(poses["measurement_id"]), "measurement_id")
    for name in TRIAL_COLUMNS:
        if name in poses.columns and not _is_tiny(poses[name]):
            return Trials(_numbered(poses[name]), name)
    if "measurement_id" in poses.columns:
        found = read_measurements(contents.databases, TRIAL_COLUMNS)
        if found is not None:
            trials = poses["measurement_id"].map(found.trials)
            if trials.notna().all() and not _is_tiny(trials):
                return Trials(_numbered(trials), f"{found.column} of {found.path.name}")
    return Trials(_runs(poses), RUNS)


def names_in(column: pd.Series) -> pd.Series:
    """The trials in a column as text, numbers without decimals (``7`` for 7.0); missing in a cell without one."""
    text = column.astype("string").str.strip()
    numbers = folder_index.whole_numbers(column).astype("string")
    return numbers.where(numbers.notna(), text.where(text != ""))


def trial_names(table: pd.DataFrame, trials: Trials) -> NDArray[np.object_]:
    """(N,) the name of each row's trial, as ``--trials`` takes it: the value of the column that defines trials, or
    their number from 1."""
    if trials.rule in table.columns:
        values = names_in(table[trials.rule])
        return np.array([f"unnamed{row}" if pd.isna(v) else str(v) for row, v in enumerate(values)], object)
    return np.array([str(number + 1) for number in trials.of.loc[table.index].tolist()], object)


def named_trials(wanted: Sequence[str], there: Iterable[str]) -> list[str]:
    """The names of trials that are wanted: ``3``, ``gait``, and all that ``2-5`` has, unless a trial is named so.

    A name that is none of ``there``, and a range without any, remain as they are.
    """
    names = list(dict.fromkeys(there))
    found: list[str] = []
    for name in wanted:
        ends = re.fullmatch(r"(\d{1,9})-(\d{1,9})", name) if name not in names else None
        low, high = (int(ends[1]), int(ends[2])) if ends else (0, -1)
        inside = [one for one in names if one.isdecimal() and low <= int(one) <= high]
        found += inside or [name]
    return list(dict.fromkeys(found))


def rows_of_trials(
    names: NDArray[np.object_], wanted: Sequence[str] | None, rule: str, source: object
) -> NDArray[np.bool_]:
    """Which rows are of the trials that are wanted, see :func:`named_trials`; None: all.

    Raises:
        DataError: there is no such trial; names those that are.
    """
    wanted = named_trials(wanted, names) if wanted else None
    if absent := [name for name in wanted or () if name not in names]:
        there = list(dict.fromkeys(names))
        shown = ", ".join(there[:20]) + (", …" if len(there) > 20 else "")
        raise DataError(f"{source} has no trial {', '.join(absent)}", f"trials by {rule}: {shown}")
    return np.isin(names, list(wanted)) if wanted else np.ones(len(names), bool)


def split_by_trial(poses: pd.DataFrame, trials: Trials) -> TrialSplit:
    """70 % of the pairs for training, 15 % for validation and 15 % for testing, by complete trials.

    Trials are assigned in the order of a hash of their first id, so that the split of a dataset is reproducible.

    Raises:
        DataError: fewer than three trials.
    """
    mine = trials.of.loc[poses.index]
    names = {int(trial): int(mine.index[mine == trial].min()) for trial in mine.unique()}
    if len(names) < 3:
        raise DataError(
            f"{quantity(len(poses), 'pair is', 'pairs are')} from {quantity(len(names), 'trial')} (by "
            f"{trials.rule}): a split needs three",
            "choose another --anatomy, or --split published, which does not keep trials apart",
        )
    order = sorted(names, key=lambda trial: hashlib.sha256(str(names[trial]).encode()).hexdigest())
    counts = mine.value_counts()
    side_of: dict[int, str] = {}
    for side, share in (("val", VAL_SHARE), ("test", TEST_SHARE)):
        wanted, taken = share * len(poses), 0
        while order and (taken == 0 or taken + counts[order[0]] / 2 <= wanted) and len(order) > (side == "val") + 1:
            side_of[order[0]] = side
            taken += int(counts[order.pop(0)])
    side_of |= dict.fromkeys(order, "train")
    sides = mine.map(side_of)
    return _finish(poses, {name: _ids(poses.index[sides == name]) for name in ("train", "val", "test")}, trials)


def split_as_published(poses: pd.DataFrame, trials: Trials) -> TrialSplit:
    """The first 1,000 ids in their order, the first 80 % for training and the rest for both validation and testing."""
    chosen = _ids(poses.index)[:PUBLISHED_IDS]
    cut = int(PUBLISHED_SHARE * len(chosen))
    if not 0 < cut < len(chosen):
        raise DataError(f"{quantity(len(chosen), 'pair')} cannot be split")
    return _finish(poses, {"train": chosen[:cut], "val": chosen[cut:], "test": chosen[cut:]}, trials)


SPLIT_RULES = {"trial": split_by_trial, "published": split_as_published}
"""Every split rule by name."""


def count_leaks(poses: pd.DataFrame, train: Ids, other: Ids) -> int:
    """Number of ``other`` pairs directly before or after a training pair with nearly the same pose."""
    if not set(folder_index.POSE_COLUMNS) <= set(poses.columns):
        return 0
    in_train = set(train.tolist())
    pairs = [(i, i + step) for i in other.tolist() for step in (-1, 1) if i + step in in_train]
    if not pairs:
        return 0
    here, there = (poses.loc[list(side)] for side in zip(*pairs, strict=True))
    same = np.ones(len(pairs), bool)
    if "anatomy_id" in poses.columns:
        same = here["anatomy_id"].to_numpy() == there["anatomy_id"].to_numpy()
    near = same & (_steps(here, there) < 1)
    return len({pair[0] for pair, is_near in zip(pairs, near, strict=True) if is_near})


def as_ranges(ids: Sequence[int] | Ids) -> str:
    """``1-40,61,70-90`` for ascending ids."""
    parts, ids = [], [int(i) for i in ids]
    starts = [i for i in range(len(ids)) if i == 0 or ids[i] != ids[i - 1] + 1]
    for k, start in enumerate(starts):
        end = starts[k + 1] if k + 1 < len(starts) else len(ids)
        first, last = ids[start], ids[end - 1]
        parts.append(str(first) if first == last else f"{first}-{last}")
    return ",".join(parts)


def from_ranges(text: str) -> Ids:
    """The inverse of :func:`as_ranges`."""
    spans = [part.partition("-") for part in text.split(",") if part]
    return _ids([i for first, _, last in spans for i in range(int(first), int(last or first) + 1)])


def _finish(poses: pd.DataFrame, sides: dict[str, Ids], trials: Trials) -> TrialSplit:
    groups = {name: set(trials.of[trials.of.index.isin(ids)].tolist()) for name, ids in sides.items()}
    held_out = _ids(sorted({*sides["val"].tolist(), *sides["test"].tolist()}))
    leaks = count_leaks(poses, sides["train"], held_out)
    shared = groups["train"] & (groups["val"] | groups["test"])
    warnings = []
    if shared:
        warnings.append(
            f"{quantity(len(shared), 'trial is', 'trials are')} shared between the splits: "
            "errors underestimate those on new recordings"
        )
    if leaks:
        warnings.append(
            f"{leaks} of {len(held_out)} held-out pairs are neighbours of training pairs in nearly the same pose"
        )
    if trials.rule == RUNS:
        warnings.append(
            "no column identifies the trials; pairs were grouped by runs of consecutive ids, split at jumps of the pose"
        )
    counts = {name: len(found) for name, found in groups.items()}
    return TrialSplit(**sides, rule=trials.rule, trials=counts, leaks=leaks, warnings=tuple(warnings))


def _is_tiny(groups: pd.Series) -> bool:
    """Whether most pairs are in groups of one or two, or in no group."""
    sizes = groups.map(groups.value_counts())
    return bool((sizes.fillna(0) <= _TINY).mean() > 0.5)


def _numbered(groups: pd.Series) -> pd.Series:
    """Groups as whole numbers from 0; a pair without one forms a separate group."""
    numbers, names = pd.factorize(groups)
    alone = numbers < 0
    numbers = numbers.astype(np.int64)
    numbers[alone] = len(names) + np.arange(int(alone.sum()))
    return pd.Series(numbers, index=groups.index)


def _runs(poses: pd.DataFrame) -> pd.Series:
    ordered = poses.sort_index()
    begins = np.ones(len(ordered), bool)
    begins[1:] = np.diff(ordered.index.to_numpy()) > 1
    for name in ("anatomy_id", "distortion_calibration_id", "source_int_calibration_id"):
        if name in ordered.columns:
            values = ordered[name].to_numpy()
            begins[1:] |= values[1:] != values[:-1]
    if set(folder_index.POSE_COLUMNS) <= set(ordered.columns):
        begins[1:] |= _steps(ordered.iloc[:-1], ordered.iloc[1:]) > 4
    return pd.Series(np.cumsum(begins) - 1, index=ordered.index).loc[poses.index]


def _steps(here: pd.DataFrame, there: pd.DataFrame) -> NDArray[np.float64]:
    """Distance between poses, row by row: below 1 they are nearly the same in position and orientation."""
    from scipy.spatial.transform import Rotation

    from medcli.core.rigid_transforms import VERISERUM_EULER

    one, other = (side[list(folder_index.POSE_COLUMNS)].to_numpy(np.float64) for side in (here, there))
    away_mm = np.linalg.norm(one[:, :3] - other[:, :3], axis=1)
    turns = [Rotation.from_euler(VERISERUM_EULER, side[:, 3:], degrees=True) for side in (one, other)]
    return np.asarray(np.maximum(away_mm / _NEAR_MM, np.degrees((turns[0].inv() * turns[1]).magnitude()) / _NEAR_DEG))


def _ids(values: Any) -> Ids:
    return np.sort(np.asarray(list(values), dtype=np.int64))
