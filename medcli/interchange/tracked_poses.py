"""The frames of a record with the poses of the probe, for files that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError
from medcli.interchange.notes import plain_name
from medcli.ultrabones.dataset.presence import check_frames_present
from medcli.ultrabones.dataset.probe import find_probe
from medcli.ultrabones.dataset.records import Sweep, find_sweeps, read_poses
from medcli.ultrabones.geometry.image_to_ct import corner_to_probe, probe_to_ct


@dataclass(frozen=True)
class TrackedRecord:
    """The frames of a record.

    Attributes:
        name: of the record, in words; ``poses_kind``: ``initial`` or ``optimized``.
        images: paths; ``timestamps``: milliseconds, ascending.
        tracked: (frames,), those with a pose.
        probe_to_reference: (frames, 4, 4), marker of the probe to CT, millimetres; NaN without a pose.
        corner_to_probe: (4, 4), millimetres from the top-left corner of the image to the marker.
        spacing_mm: edge of a pixel.
    """

    name: str
    poses_kind: str
    images: tuple[str, ...]
    timestamps: tuple[int, ...]
    tracked: NDArray[np.bool_]
    probe_to_reference: NDArray[np.float64]
    corner_to_probe: NDArray[np.float64]
    spacing_mm: float


@dataclass(frozen=True)
class TrackedRecords:
    """The records asked for; each is read when it is its turn."""

    sweeps: tuple[Sweep, ...]
    poses: str | None

    def read(self, sweep: Sweep) -> TrackedRecord:
        """The frames and poses of a record.

        Raises:
            DataError: it has no poses, frames of several pixel sizes, or a calibration is missing.
        """
        if not sweep.tracked:
            raise DataError(
                f"{sweep.name} has no poses: no frame in {sweep.folder} has a row in a tracking table",
                "tracking.csv beside UltrasoundImages holds them: timestamp, x y z, euler_x euler_y euler_z",
            )
        poses = read_poses(sweep, self.poses)
        problems = {frame: poses.problem(frame) for frame in range(len(sweep.images)) if sweep.rows[frame] >= 0}
        tracked = np.array([problems.get(frame) == "" for frame in range(len(sweep.images))])
        if not tracked.any():
            raise DataError(f"{sweep.name} has no pose that can be used: {next(iter(problems.values()))}")
        sizes = np.unique(poses.spacing_mm[tracked])
        if len(sizes) > 1:
            raise DataError(
                f"{sweep.name} has pixels of several sizes, {sizes[0]:g} to {sizes[-1]:g} mm (space_factor)",
                "convert frames of one size",
            )
        matrices = probe_to_ct(np.where(tracked[:, None], poses.pose, 0.0))
        matrices[~tracked] = np.nan
        return TrackedRecord(
            name=sweep.name,
            poses_kind=poses.kind,
            images=sweep.images,
            timestamps=sweep.timestamps,
            tracked=tracked,
            probe_to_reference=matrices,
            corner_to_probe=corner_to_probe(sweep.probe),
            spacing_mm=float(sizes[0]),
        )


def record_name(sweep: Sweep) -> str:
    """Its name in names of files: ``specimen90_fibula_record01``."""
    parts = (f"specimen{sweep.specimen:02d}", plain_name(sweep.anatomy), f"record{sweep.record:02d}")
    return "_".join(filter(None, parts))


def find_tracked(
    root: Path,
    specimens: Sequence[int] | None = None,
    records: Sequence[int] | None = None,
    poses: str | None = None,
    probe: str | None = None,
) -> TrackedRecords:
    """The records at or below ``root``.

    Raises:
        DataError: there is none, or one that is asked for is not there.
        UsageError: two records would have one name, or ``probe`` is none.
    """
    check_frames_present(root, specimens)
    sweeps = find_sweeps(root, specimens, records, find_probe(probe))
    names: dict[str, Sweep] = {}
    for sweep in sweeps:
        if other := names.get(record_name(sweep)):
            raise UsageError(
                f"{other.folder} and {sweep.folder} would both be named {record_name(sweep)}",
                "name one of them with --root",
            )
        names[record_name(sweep)] = sweep
    return TrackedRecords(tuple(sweeps), poses)
