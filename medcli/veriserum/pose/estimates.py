"""Poses of many pairs: estimated by a network, or looked up in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.progress import Progress
from medcli.veriserum.dataset.pose_tables import pose_matrices, read_predictions
from medcli.veriserum.dataset.trial_splits import Ids
from medcli.veriserum.pose.inference import PosePredictor
from medcli.veriserum.pose.pair_images import PairFiles, PairReader, read_together

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
