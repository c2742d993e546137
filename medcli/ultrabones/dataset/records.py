"""One record's frames with their poses: what labelling and reconstruction both walk through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError
from medcli.core.plausibility import PIXEL_SPACING_MM, pose_bounds, problem_of
from medcli.ultrabones.dataset.folder_layout import sweep_name
from medcli.ultrabones.dataset.presence import refuse_absent
from medcli.ultrabones.dataset.probe import Probe, probe_of_record
from medcli.ultrabones.dataset.tracking_table import OPTIMIZED_POSE_COLUMNS, POSE_COLUMNS, SPACING, read_tracking

if TYPE_CHECKING:
    import pandas as pd

INITIAL, OPTIMIZED = "initial", "optimized"


@dataclass(frozen=True)
class Sweep:
    """The frames of one record.

    Attributes:
        specimen, anatomy, record: which; the anatomy is empty where the layout has none.
        folder: of the record.
        timestamps: of its images, milliseconds, ascending.
        images: their paths.
        rows: (frames,), row of each in the tracking table, -1 where there is none.
        given_probe: what was named instead of the record's own probe.
    """

    specimen: int
    anatomy: str
    record: int
    folder: Path
    timestamps: tuple[int, ...]
    images: tuple[str, ...]
    rows: NDArray[np.int64]
    given_probe: Probe | None = None

    @cached_property
    def probe(self) -> Probe:
        """The probe of its frames.

        Raises:
            DataError: see :func:`probe_of_record`.
        """
        return self.given_probe or probe_of_record(self.folder)

    @property
    def name(self) -> str:
        """``specimen90 fibula record01``."""
        return sweep_name(self.specimen, self.anatomy, self.record)

    @property
    def tracked(self) -> int:
        """How many frames have a row in the tracking table."""
        return int((self.rows >= 0).sum())


@dataclass(frozen=True)
class Poses:
    """Poses of a sweep's frames.

    Attributes:
        kind: ``initial`` or ``optimized``.
        pose: (frames, 6), millimetres and degrees, NaN where the table has none.
        spacing_mm: (frames,), NaN likewise.
    """

    kind: str
    pose: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]

    def problem(self, frame: int) -> str:
        """Why a frame's row cannot be used, empty when it can."""
        if not np.isfinite(self.pose[frame]).all():
            return "the pose in the tracking table is not a number"
        columns = OPTIMIZED_POSE_COLUMNS if self.kind == OPTIMIZED else POSE_COLUMNS
        numbers = dict(zip(columns, self.pose[frame].tolist(), strict=True)) | {SPACING: float(self.spacing_mm[frame])}
        return problem_of(numbers, pose_bounds(columns) | {SPACING: PIXEL_SPACING_MM})


def find_sweeps(
    root: Path | str,
    specimens: Sequence[int] | None = None,
    records: Sequence[int] | None = None,
    probe: Probe | None = None,
) -> list[Sweep]:
    """The records at or below ``root``, of some specimens and record numbers or of all, in a fixed order.

    Args:
        probe: of all of them; None: each record's own, see :func:`probe_of_record`.

    Raises:
        DataError: no frame at all, or a specimen or record that is asked for is not there.
    """
    from medcli.ultrabones.dataset.frame_index import index_frames

    frames = index_frames(root)
    for column, wanted in (("specimen", specimens), ("record", records)):
        if wanted:
            refuse_absent(column, wanted, frames[column].tolist(), root)
            frames = frames[frames[column].isin(list(wanted))]
    if frames.empty:
        raise DataError(f"no record {', '.join(map(str, records or ()))} of the specimens asked for in {root}")
    return list(_as_sweeps(frames, probe))


def read_poses(sweep: Sweep, kind: str | None = None) -> Poses:
    """The poses of a sweep's frames; ``None`` takes optimised poses where the table has them, else initial ones.

    Raises:
        DataError: no table, a column is missing, or no optimised poses though they were asked for.
        UsageError: another kind.
    """
    if kind not in (None, INITIAL, OPTIMIZED):
        raise UsageError(f"poses are {INITIAL} or {OPTIMIZED}, not {kind}")
    table = read_tracking(sweep.folder, spacing_mm=sweep.probe.spacing_mm)
    has_optimized = OPTIMIZED_POSE_COLUMNS[0] in table.columns
    if kind == OPTIMIZED and not has_optimized:
        raise DataError(
            f"tracking table of {sweep.folder} has no optimised poses (columns x_optimized, …)",
            "make them with: medcli label ultrabones --refine",
        )
    chosen = kind or (OPTIMIZED if has_optimized else INITIAL)
    columns = list(OPTIMIZED_POSE_COLUMNS if chosen == OPTIMIZED else POSE_COLUMNS)
    numbers = table[[*columns, SPACING]].to_numpy(np.float64)[sweep.rows]
    numbers[sweep.rows < 0] = np.nan
    return Poses(chosen, np.ascontiguousarray(numbers[:, :6]), numbers[:, 6])


def contradicting_timestamps(sweep: Sweep) -> list[int]:
    """Timestamps of a sweep's images that several rows of its tracking table give different tracked poses.

    Raises:
        DataError: see :func:`read_poses`.
    """
    table = read_tracking(sweep.folder, spacing_mm=sweep.probe.spacing_mm)
    different = table[["timestamp", *POSE_COLUMNS]].drop_duplicates()["timestamp"]
    repeated = set(different[different.duplicated()].tolist())
    return sorted(repeated & set(sweep.timestamps))


def _as_sweeps(frames: pd.DataFrame, probe: Probe | None) -> Iterator[Sweep]:
    from medcli.ultrabones.dataset.frame_index import positions_by_record

    for folder, positions in positions_by_record(frames).items():
        part = frames.iloc[positions]
        first = part.iloc[0]
        yield Sweep(
            specimen=int(first["specimen"]),
            anatomy=str(first["anatomy"]),
            record=int(first["record"]),
            folder=Path(folder),
            timestamps=tuple(part["timestamp"].tolist()),
            images=tuple(part["image"].tolist()),
            rows=part["tracking"].to_numpy(np.int64),
            given_probe=probe,
        )
