"""The cloud of one bone from the masks of its records, as the published registration takes them: merged by anatomy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.ultrabones.dataset.presence import no_masks
from medcli.ultrabones.dataset.records import Sweep
from medcli.ultrabones.labelling.label_origin import poses_of_masks
from medcli.ultrabones.reconstruction.mask_points import MASKS, masks_of, project_masks


@dataclass(frozen=True)
class RecordCloud:
    """Points (N, 3) of some records in CT millimetres, the frames they come from, and what could not be used."""

    points: NDArray[np.float64]
    frames: int
    failures: tuple[str, ...]


def cloud_of(
    sweeps: Sequence[Sweep],
    mask: str,
    poses: str | None = None,
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
    workers: int = 1,
) -> RecordCloud:
    """Put the mask pixels of records into CT.

    Args:
        mask: folder of masks in each record.
        poses: ``initial`` or ``optimized``; None takes those the masks were made from.
        change: applied to each mask first.

    Raises:
        DataError: no record has a usable mask.
    """
    clouds: list[NDArray[np.float64]] = []
    failures: list[str] = []
    for sweep in sweeps:
        masks = masks_of(sweep, mask)
        if masks:
            found, _, lost = project_masks(sweep, poses_of_masks(sweep, mask, poses), masks, workers, change=change)
            clouds += found
            failures += lost
    if not clouds:
        if failures:
            raise DataError(f"no mask of {sweeps[0].name} can be used; {failures[0]}")
        raise no_masks(mask, len(sweeps), {name for one in sweeps for name in MASKS if (one.folder / name).is_dir()})
    return RecordCloud(np.concatenate(clouds), len(clouds), tuple(failures))
