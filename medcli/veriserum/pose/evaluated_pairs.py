"""Which pairs an evaluation of poses uses: ``medcli evaluate pose``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medcli.core.errors import DataError, UsageError, spaced
from medcli.veriserum.dataset.folder_index import (
    POSE_COLUMNS,
    POSES,
    PREDICTIONS,
    read_every_row,
    select_ids,
    whole_numbers,
)
from medcli.veriserum.dataset.pose_tables import MANUAL, read_reference
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.dataset.trial_splits import Ids, from_ranges
from medcli.veriserum.geometry.biplane import PoseFrame
from medcli.veriserum.pose.checkpoint_metadata import PoseMetadata
from medcli.veriserum.pose.pairs import Pairs, choose_pairs, find_pairs

SIDES = ("test", "val", "train", "all")


@dataclass(frozen=True)
class PoseEvaluationSettings:
    """Settings of an evaluation.

    Attributes:
        anatomy: ``femur``, ``tibia`` or an ``anatomy_id``; None: those the checkpoint was trained on, or all.
        split: ``test``, ``val``, ``train`` or ``all``: of the checkpoint's splits, or of the splits by trial.
        ids: (first, last) ranges, both included, instead of a split.
        reference: ``manual``, or a file with poses; None: the pose table.
        frame: the frame of the poses.
        calibrated: folder of calibrated images.
        inter_plane: JSON file with the inter-plane geometry; None: the published one.
    """

    anatomy: str | None = None
    split: str = "test"
    ids: Sequence[tuple[int, int]] | None = None
    reference: str | None = None
    frame: PoseFrame = PoseFrame.WORLD
    calibrated: Path | None = None
    inter_plane: Path | None = None


@dataclass(frozen=True)
class EvaluatedPairs:
    """What an evaluation compares.

    Attributes:
        pairs: the pairs with their reference poses.
        reference: origin of the reference poses.
        ids: those to evaluate.
        split: their description.
        train: ids that the network was trained on, if known.
    """

    pairs: Pairs
    reference: str
    ids: Ids
    split: str
    train: Ids | None


def choose_evaluated(
    study: VeriserumStudy,
    settings: PoseEvaluationSettings,
    trained: PoseMetadata | None,
    predictions: Path | None = None,
) -> EvaluatedPairs:
    """The pairs that the settings name.

    Args:
        trained: description of the network to evaluate; None where a table of poses is evaluated, without images.
        predictions: that table; of an id with several components, its row says which is evaluated.

    Raises:
        DataError: there are none, or a table is missing.
        UsageError: there is no such split, or ids have several components and nothing says which is meant.
    """
    pairs, reference = _reference(study, settings, trained, predictions)
    return EvaluatedPairs(pairs, reference, *_choose(pairs, settings, trained))


def _reference(
    study: VeriserumStudy, settings: PoseEvaluationSettings, trained: PoseMetadata | None, predictions: Path | None
) -> tuple[Pairs, str]:
    """The pairs with their reference poses, and where these come from."""
    trained_on = trained.settings.get("anatomy") if trained else None
    anatomy = settings.anatomy or (None if trained_on is None else str(trained_on))
    components = _components(study, predictions) if anatomy is None else None
    pairs = find_pairs(study, anatomy, trained is not None, components)
    if settings.reference is None:
        return pairs, f"pose table {study.table_file(POSES)}"
    table, where = read_reference(study, settings.reference, pairs.poses["anatomy_id"])
    kept = pairs.poses[pairs.poses.index.isin(table.index)].copy()
    if kept.empty:
        raise DataError(f"{where} has no pose of these pairs")
    kept[list(POSE_COLUMNS)] = table.loc[kept.index, list(POSE_COLUMNS)].astype(float)
    where = f"{MANUAL} poses of {where}" if settings.reference == MANUAL else where
    return dataclasses.replace(pairs, poses=kept), where


def _components(study: VeriserumStudy, predictions: Path | None) -> pd.Series | None:
    """The component of each id that a table of poses names; None where no id of the pose table has several."""
    if not _several(study.every_pose):
        return None
    both = study.table_file(POSES)
    hint = "choose with --anatomy femur, tibia or an anatomy_id"
    if predictions is None:
        raise UsageError(f"{both} has poses of several components of an id", hint)
    table = read_every_row(predictions, PREDICTIONS)
    if several := _several(table):
        raise UsageError(f"{predictions} has poses of several components of an id: {several}", hint)
    if "anatomy_id" not in table.columns or (stated := whole_numbers(table["anatomy_id"]).dropna()).empty:
        fault = f"{predictions} has no anatomy_id, and {both} has poses of several components of an id"
        raise UsageError(f"{fault}: nothing says which is evaluated", hint)
    return stated[~stated.index.duplicated()].astype("float64")


def _several(table: pd.DataFrame) -> str:
    """The first id with poses of several components, in words; empty where none has."""
    if "anatomy_id" not in table.columns:
        return ""
    stated = whole_numbers(table["anatomy_id"]).dropna()
    counts = stated.groupby(level=0).nunique()
    if not (counts > 1).any():
        return ""
    first = counts.index[counts > 1][0]
    return f"id {first} of anatomies {spaced(sorted(set(stated.loc[[first]].astype(int))))}"


def _choose(
    pairs: Pairs, settings: PoseEvaluationSettings, trained: PoseMetadata | None
) -> tuple[Ids, str, Ids | None]:
    """Ids to evaluate, their description, and the training ids if known."""
    present = pairs.poses.index.to_numpy(np.int64)
    splits = trained.splits if trained else {}
    train = from_ranges(str(splits["train"])) if splits.get("train") else None
    if settings.ids is not None:
        chosen = np.array(select_ids(present.tolist(), settings.ids), np.int64)
        words = "chosen ids"
    elif settings.split == "all":
        chosen, words = present, "all pairs"
    elif settings.split not in SIDES:
        raise UsageError(f"--split '{settings.split}' is not one of {', '.join(SIDES)}")
    elif splits.get(settings.split) is not None:
        chosen = np.intersect1d(from_ranges(str(splits[settings.split])), present)
        words = f"{settings.split} pairs of the checkpoint's split by {splits.get('rule')}"
    else:
        split = choose_pairs(pairs)
        chosen, words = (
            getattr(split, settings.split),
            f"{settings.split} pairs of the split by {split.rule}",
        )
    if not len(chosen):
        raise DataError(f"no pair to evaluate ({words})", "choose with --split or --ids")
    return chosen, words, train
