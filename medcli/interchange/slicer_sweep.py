"""Tracked ultrasound for 3D Slicer (``medcli convert slicer-ultrabones``): poses, points of bone, meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError
from medcli.core.folders.whole_folder import replacing_folder
from medcli.core.mesh import read_stl, write_stl
from medcli.core.progress import SILENT, Progress
from medcli.core.shell import spell
from medcli.interchange.notes import check_made_folder, check_slicer_packages, write_made_note
from medcli.interchange.plus_sequence import image_to_probe_of
from medcli.interchange.slicer_files import (
    TRANSFORM_SUFFIXES,
    write_markups,
    write_transform,
    write_transform_sequence,
)
from medcli.interchange.tracked_poses import TrackedRecord, TrackedRecords, find_tracked, record_name
from medcli.ultrabones.dataset.folder_layout import IMAGE_FOLDER, list_timestamps
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.records import Sweep
from medcli.ultrabones.registration.record_clouds import cloud_of

POSE = "ProbeToReference"
_COMMAND = "medcli convert slicer-ultrabones"


@dataclass(frozen=True)
class SlicerSweep:
    """A record that was written.

    Attributes:
        out: its folder.
        poses: transforms in it.
        points: of bone, in ``bone.mrk.json``.
        meshes: names of its meshes.
    """

    record: str
    out: Path
    poses: int
    points: int
    meshes: tuple[str, ...]


@dataclass(frozen=True)
class SlicerSweeps:
    """The answer of ``medcli convert slicer-ultrabones``; ``failures``: records that could not be converted."""

    root: Path
    out: Path
    mask: str
    sweeps: tuple[SlicerSweep, ...]
    coordinates: str = "CT taken as LPS; .seq.mha in RAS, to parent; .tfm and .h5 in LPS, from parent"
    failures: tuple[str, ...] = ()
    schema: str = "medcli.convert-slicer-ultrabones.v1"


@dataclass(frozen=True)
class SlicerSweepSettings:
    """What to write of each record.

    Attributes:
        mask: folder of masks whose pixels become points; empty: none.
        points: at most so many of them, evenly: Slicer shows some hundred points fluently.
        meshes: folder of meshes; None: those of each specimen.
        format: of the single transforms, ``tfm`` or ``h5``.
    """

    mask: str = "Labels"
    points: int = 500
    meshes: Path | None = None
    format: str = "tfm"

    def __post_init__(self) -> None:
        if self.format not in TRANSFORM_SUFFIXES:
            raise UsageError(f"--format is {self.format}, expected {' or '.join(TRANSFORM_SUFFIXES)}")
        if self.points < 0:
            raise UsageError(f"--points is {self.points}, expected 0 or more")


def convert_sweeps_to_slicer(
    root: Path,
    out: Path,
    specimens: Sequence[int] | None = None,
    records: Sequence[int] | None = None,
    settings: SlicerSweepSettings = SlicerSweepSettings(),
    poses: str | None = None,
    probe: str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> SlicerSweeps:
    """Write a folder for each record, whole or not at all.

    Raises:
        DataError: there is no record, or none can be converted; the first reason.
        UsageError: a folder exists and may not be replaced.
        MedcliError: SimpleITK is not installed.
    """
    check_slicer_packages()
    found = find_tracked(root, specimens, records, poses, probe)
    for sweep in found.sweeps:
        check_made_folder(out / record_name(sweep), overwrite, _COMMAND)
    done, failures = [], []
    with progress.task("for 3D Slicer", len(found.sweeps), "records") as advance:
        for sweep in found.sweeps:
            try:
                done.append(_write_sweep(found, sweep, out / record_name(sweep), settings))
            except DataError as error:
                failures.append(error)
            advance(1)
    if failures and not done:
        raise failures[0]
    lines = tuple(error.message for error in failures)
    return SlicerSweeps(root, out, settings.mask, tuple(done), failures=lines)


def _write_sweep(found: TrackedRecords, sweep: Sweep, out: Path, settings: SlicerSweepSettings) -> SlicerSweep:
    record = found.read(sweep)
    points = _points(record, sweep, settings)
    meshes = {path.stem: read_stl(path) for path in _meshes(sweep, settings)}
    with replacing_folder(out) as part:
        times = [stamp / 1000 for stamp in record.timestamps]
        write_transform_sequence(part / f"{POSE}.seq.mha", POSE, record.probe_to_reference, times)
        write_transform(part / f"ImageToProbe.{settings.format}", image_to_probe_of(record))
        (part / "transforms").mkdir()
        _write_transforms(record, part / "transforms", settings.format)
        if settings.mask:
            write_markups(part / "bone.mrk.json", {f"B{place + 1}": point for place, point in enumerate(points)})
        for name, mesh in meshes.items():
            write_stl(mesh, part / f"{name}.stl")
        count = int(record.tracked.sum())
        result = SlicerSweep(record.name, out, count, len(points), tuple(sorted(meshes)))
        write_made_note(part, result, _COMMAND)
    return result


def _write_transforms(record: TrackedRecord, folder: Path, suffix: str) -> None:
    for number in np.flatnonzero(record.tracked):
        name = f"{POSE}_{record.timestamps[number]}.{suffix}"
        write_transform(folder / name, record.probe_to_reference[number])


def _points(record: TrackedRecord, sweep: Sweep, settings: SlicerSweepSettings) -> NDArray[np.float64]:
    """(N, 3) in CT millimetres, by the poses that are written, evenly chosen; none where the record has no masks."""
    if not settings.mask or not settings.points:
        return np.empty((0, 3))
    if not list_timestamps(str(sweep.folder / settings.mask))[0]:
        folders = sorted(one.name for one in sweep.folder.iterdir() if one.is_dir() and one.name != IMAGE_FOLDER)
        others = [name for name in folders if list_timestamps(str(sweep.folder / name))[0]]
        if others or settings.mask != SlicerSweepSettings.mask:
            raise DataError(
                f"{sweep.name} has no masks in {settings.mask}; there are {', '.join(others) or 'none'}",
                f"{spell('--mask', others[0])}, or --mask none" if others else "--mask none",
            )
        return np.empty((0, 3))
    cloud = cloud_of([sweep], settings.mask, record.poses_kind).points
    chosen = np.linspace(0, len(cloud) - 1, min(settings.points, len(cloud))).round().astype(int)
    return np.asarray(cloud[chosen])


def _meshes(sweep: Sweep, settings: SlicerSweepSettings) -> list[Path]:
    try:
        return find_meshes(sweep.folder, sweep.specimen, settings.meshes)
    except DataError:
        if settings.meshes is not None:
            raise
        return []  # a record is converted without the meshes that it does not have
