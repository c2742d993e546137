"""Poses of many pairs: estimated by a network, or looked up in a table; and the table of estimated ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli import __version__
from medcli.core.errors import DataError, quantity, spaced
from medcli.core.progress import Progress
from medcli.veriserum.dataset.anatomies import KIND_OF, KINDS
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS, whole_columns
from medcli.veriserum.dataset.pose_tables import (
    ID_COLUMNS,
    PUBLISHED_COLUMNS,
    pose_matrices,
    pose_numbers,
    read_predictions,
)
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.dataset.trial_splits import Ids
from medcli.veriserum.pose.checkpoint_metadata import PoseMetadata
from medcli.veriserum.pose.inference import PosePredictor
from medcli.veriserum.pose.pair_images import PairFiles, PairReader, read_together

_LOG = logging.getLogger(__name__)
_BATCH = 64


@dataclass(frozen=True)
class Estimates:
    """Poses of pairs, and the failures of the others.

    Attributes:
        ids: (N,) of the pairs with a pose.
        poses: (N, 4, 4) implant to the frame of the poses.
        failures: one line for each of the others.
    """

    ids: Ids
    poses: NDArray[np.float64]
    failures: list[str]


def estimate(
    predictor: PosePredictor, reader: PairReader, files: Sequence[PairFiles], title: str, progress: Progress
) -> Estimates:
    """Estimate the poses of pairs; unreadable pairs are failures.

    Args:
        predictor: the network.
        reader: of the network's input size.
        files: at least one pair.
        title, progress: name of the task, and receiver of its progress.
    """
    ids: list[int] = []
    poses, failures = [], []
    with progress.task(title, len(files), "pairs") as advance:
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            good, planes, failed = read_together(reader, batch)
            failures += failed
            ids += [batch[i].id for i in good]
            poses.append(predictor.predict(planes))
            advance(len(batch))
    return Estimates(np.array(ids, np.int64), np.concatenate(poses), failures)


def estimates_from_table(predictions: Path, anatomies: pd.Series) -> Estimates:
    """The poses in a table of poses, see :func:`medcli.veriserum.dataset.pose_tables.read_predictions`.

    Args:
        anatomies: the ``anatomy_id`` of each wanted pose, by id.

    Raises:
        DataError: the file does not exist or is not a table of poses.
    """
    table = read_predictions(predictions, anatomies=anatomies)
    ids = anatomies.index.to_numpy(np.int64)
    there = ids[np.isin(ids, table.index.to_numpy())]
    failures = [
        f"pair {number}: no pose of anatomy {anatomy} in {predictions}"
        for number, anatomy in anatomies.astype(int).items()
        if number not in table.index
    ]
    poses = pose_matrices(table.loc[there.tolist()]) if len(there) else np.zeros((0, 4, 4))
    return Estimates(there, poses, failures)


def known_ids(study: VeriserumStudy, trained: PoseMetadata, anatomy: int | None) -> pd.DataFrame:
    """What the pose table says of each pair, whole numbers by id: the row of a component that the network estimates.

    Args:
        anatomy: the component, where the network was trained on several; None: any that it was trained on, or one of
            their kind.

    Returns:
        Measurement, component and calibrations; empty if there is no table. The component is not known where the id
        has only rows of the other kind.
    """
    wanted = _estimated(trained, anatomy)
    both = len({KIND_OF.get(number) for number in wanted}) > 1  # then one of them is warned of
    try:
        table = whole_columns(study.poses_of(None if both else wanted), ID_COLUMNS)
    except DataError as error:
        _LOG.debug("%s", error.message)
        return whole_columns(pd.DataFrame(), ID_COLUMNS)
    if "anatomy_id" in table.columns:
        table["anatomy_id"] = table["anatomy_id"].where(table["anatomy_id"].isin(list(wanted)))
    return table


def _estimated(trained: PoseMetadata, anatomy: int | None) -> set[int]:
    """The components whose poses a network estimates: those that it was trained on, and others of their kind."""
    own = trained.anatomies if anatomy is None else (anatomy,)
    return {*own, *(other for number in own for other in KINDS.get(KIND_OF.get(number, ""), ()))}


def table_of_estimates(
    done: Sequence[PairFiles],
    poses: NDArray[np.float64],
    known: pd.DataFrame,
    trained: PoseMetadata,
    anatomy: int | None,
) -> pd.DataFrame:
    """The table of estimated poses (N, 4, 4) of pairs, with the published columns; unknown cells are empty.

    Args:
        known: of :func:`known_ids`.
        anatomy: the component of pairs of which it is not known; None: the network's, if it has only one.
    """
    default = anatomy or (trained.anatomies[0] if len(trained.anatomies) == 1 else None)
    ids = [item.id for item in done]
    table = known.reindex(ids).astype("Int64")
    if default is not None:
        table["anatomy_id"] = table["anatomy_id"].fillna(default)
    used = pd.Series([item.calibration for item in done], index=ids, dtype="Int64")
    table["distortion_calibration_id"] = used.fillna(table["distortion_calibration_id"])
    table[list(POSE_COLUMNS)] = pose_numbers(poses).round(5)
    table = table.rename_axis("id").reset_index().assign(obsolete=0, git_repo=f"medcli {__version__}")
    others = table["anatomy_id"][table["anatomy_id"].notna() & ~table["anatomy_id"].isin(list(trained.anatomies))]
    if len(others):
        _LOG.warning(
            "%s of anatomy %s, the network was trained on anatomy %s: less accurate there; refine them with "
            "medcli register pose",
            *(quantity(len(others), "pose is", "poses are"), spaced(sorted(set(others.astype(int))))),
            spaced(trained.anatomies),
        )
    return table.reindex(columns=list(PUBLISHED_COLUMNS))
