"""The mask pixels of a record in CT space, frame by frame."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.image_io import read_grey
from medcli.core.progress import SILENT, Progress
from medcli.core.threads import map_in_threads
from medcli.ultrabones.dataset.folder_layout import FULL_LABEL_FOLDERS, PARTIAL_LABEL_FOLDERS, list_timestamps
from medcli.ultrabones.dataset.presence import unmarked_masks
from medcli.ultrabones.dataset.probe import ULTRABONES100K, Probe
from medcli.ultrabones.dataset.records import OPTIMIZED, Poses, Sweep
from medcli.ultrabones.geometry.image_to_ct import check_frame_size, pixels_to_ct
from medcli.ultrabones.labelling.mesh_section import LABEL

CUT_FROM_CT = (
    "these points were cut from a CT mesh: the distances say nothing about accuracy "
    "(use predictions, or masks drawn in the images)"
)
FITTED_TO_CT = (
    "the optimised poses were fitted to a CT mesh: the distances include that fit, and are no independent "
    "measure of accuracy (--poses initial takes the tracked ones)"
)
MASKS = ("Labels", "Labels_full", "Labels_pred")
logger = logging.getLogger(__name__)


def caution_of(mask: str, poses: str) -> str:
    """Why distances of these masks at these poses say nothing, or less, about accuracy; empty where they do.

    Args:
        mask: name of the folder of masks.
        poses: ``initial`` or ``optimized``.
    """
    if mask in (*PARTIAL_LABEL_FOLDERS, *FULL_LABEL_FOLDERS):
        return CUT_FROM_CT
    return FITTED_TO_CT if poses == OPTIMIZED else ""


def masks_of(sweep: Sweep, folder: str) -> dict[int, Path]:
    """Mask by frame number, for frames that have both a mask in ``folder`` and a row in the tracking table."""
    names, _ = list_timestamps(str(sweep.folder / folder))
    return {
        frame: sweep.folder / folder / names[timestamp]
        for frame, timestamp in enumerate(sweep.timestamps)
        if timestamp in names and sweep.rows[frame] >= 0
    }


def back_project(
    mask: NDArray[np.uint8], pose: NDArray[np.float64], spacing_mm: float, probe: Probe = ULTRABONES100K
) -> NDArray[np.float64]:
    """Pixels of value 255 of a mask (rows, columns) in CT millimetres, (N, 3), row by row."""
    rows, columns = np.nonzero(mask == LABEL)
    return pixels_to_ct(pose, columns, rows, spacing_mm, probe)


def project_masks(
    sweep: Sweep,
    poses: Poses,
    masks: Mapping[int, Path],
    workers: int = 1,
    progress: Progress = SILENT,
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]], list[str]]:
    """Points (N, 3) of each usable mask, the direction to the probe (3,), and why other masks are not used.

    Warns of masks with pixels of other values only.

    Args:
        masks: by frame number, see :func:`masks_of`.
        change: applied to each mask first.
    """

    def project(frame: int) -> tuple[NDArray[np.float64], NDArray[np.float64], bool] | str:
        spacing = float(poses.spacing_mm[frame])
        try:
            if problem := poses.problem(frame):
                raise DataError(problem)
            mask = read_grey(masks[frame])
            check_frame_size(mask.shape, spacing, str(masks[frame]), sweep.probe)
        except DataError as error:
            return f"{sweep.name} {sweep.timestamps[frame]}: {error.message}"
        mask = change(mask) if change else mask
        points = back_project(mask, poses.pose[frame], spacing, sweep.probe)
        upper, lower = pixels_to_ct(poses.pose[frame], [0, 0], [0, 1], spacing, sweep.probe)
        return points, (upper - lower) / np.linalg.norm(upper - lower), bool(len(points) == 0 and mask.any())

    clouds, towards, failures, unmarked = [], [], [], 0
    with progress.task(f"rebuild {sweep.name}", len(masks), "frames") as advance:
        for outcome in map_in_threads(project, masks, workers):
            if isinstance(outcome, str):
                failures.append(outcome)
            else:
                clouds.append(outcome[0])
                towards.append(outcome[1])
                unmarked += outcome[2]
            advance(1)
    if unmarked:
        logger.warning("%s: %s", sweep.name, unmarked_masks(unmarked, next(iter(masks.values())).parent.name))
    return clouds, towards, failures
