"""The files of a reconstruction: their names, the cleaned cloud, its surface, and the authors' paths."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError, quantity
from medcli.core.files import make_output_folder, write_json
from medcli.core.json_text import read_object
from medcli.core.made_with import differences, reject_other_options
from medcli.core.mesh import write_stl
from medcli.ultrabones.dataset.folder_layout import RECONSTRUCTIONS, specimen_folder
from medcli.ultrabones.dataset.records import OPTIMIZED, Sweep
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.reconstruction.bone_shell import make_shell, measure_shell
from medcli.ultrabones.reconstruction.cleaning import clean
from medcli.ultrabones.reconstruction.cloud_normals import estimate_normals
from medcli.ultrabones.reconstruction.figure import colour_scale_mm, distance_colours, draw_cloud
from medcli.ultrabones.reconstruction.point_cloud import DistanceSummary, write_ply, write_xyz
from medcli.ultrabones.reconstruction.settings import Reconstruction, ReconstructSettings

AUTHORS = "authors"
FEW_POINTS = 10
"""Cleaned clouds with fewer are warned of."""
CONTENTS = "authors-layout.json"
"""Beside the folders of specimens: with which mask and cleaning each cloud in the authors' layout was made."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cloud:
    """Points of a record.

    Attributes:
        points: (N, 3) in CT millimetres.
        distances: (N,) to the CT meshes.
        towards: (frames, 3) unit vectors to the probe, and ``frames`` (N,) which of them a point has.
    """

    points: NDArray[np.float64]
    distances: NDArray[np.float64]
    towards: NDArray[np.float64]
    frames: NDArray[np.int32]


def record_stem(sweep: Sweep, poses: str, settings: ReconstructSettings) -> str:
    """Name of a record's files without suffix; runs that differ in what they rebuild do not share it."""
    cleaning = settings.cleaning
    parts = [f"{cleaning.voxel_mm:g}mm"] if cleaning.voxel_mm > 0 else []
    parts += [f"outliers{cleaning.outlier_sd:g}"] if cleaning.outlier_sd > 0 else []
    parts += [f"radius{cleaning.radius_mm:g}mm"] if cleaning.radius_mm > 0 else []
    return "_".join([record_file_name(sweep), settings.mask, poses, *parts])


def record_file_name(sweep: Sweep) -> str:
    """``specimen90_fibula_record01`` or ``cadaver90_F231091_record01``: from the folders, which differ by release."""
    specimen = specimen_folder(sweep.folder)
    if specimen is None:
        return sweep.name.replace(" ", "_")
    return "_".join([specimen.name, *_below(sweep, specimen)])


def authors_file(sweep: Sweep, poses: str, is_cleaned: bool) -> str:
    """Path below the output folder where the authors' other tools look for a record's cloud."""
    specimen = specimen_folder(sweep.folder)
    parts = [sweep.name.replace(" ", "_")] if specimen is None else _below(sweep, specimen)
    name = f"reconstruction_pcd{'_filtered' if is_cleaned else ''}{'_optimizedPose' if poses == OPTIMIZED else ''}.xyz"
    return "/".join([*([] if specimen is None else [specimen.name]), RECONSTRUCTIONS, *parts, name])


def refuse_other_cloud(out: Path, sweep: Sweep, poses: str, settings: ReconstructSettings) -> None:
    """Make sure that a file of the authors' layout, whose name says little, is not another cloud's.

    Raises:
        UsageError: it was made with another mask or cleaning, or not by this command.
    """
    if settings.layout != AUTHORS or settings.overwrite:
        return
    name, now = authors_file(sweep, poses, _is_cleaned(settings)), _what_is_in(settings)
    before = read_object(out / CONTENTS).get(name)
    remedy = "--overwrite replaces it; or name another --out"
    if isinstance(before, dict):
        reject_other_options(out / name, differences(before, now), remedy)
    elif (out / name).exists():
        raise UsageError(f"{out / name} is there, and {out / CONTENTS} does not say what it was made from", remedy)


def _what_is_in(settings: ReconstructSettings) -> dict[str, object]:
    return {"mask": settings.mask, **vars(settings.cleaning)}


def _is_cleaned(settings: ReconstructSettings) -> bool:
    return settings.cleaning.drops_points or settings.cleaning.voxel_mm > 0


def refuse_equal_names(sweeps: Sequence[Sweep]) -> None:
    """Raise :class:`DataError` where two records would write the same files."""
    folders: dict[str, Path] = {}
    for sweep in sweeps:
        name = record_file_name(sweep).lower()  # there are file systems to which case is the same
        if name in folders:
            raise DataError(
                f"two records are named {record_file_name(sweep)}: {folders[name]} and {sweep.folder}",
                "rebuild one at a time with --root, each into an --out of its own",
            )
        folders[name] = sweep.folder


def write_record(
    out: Path,
    stem: str,
    sweep: Sweep,
    cloud: Cloud,
    surfaces: Sequence[Surface],
    settings: ReconstructSettings,
    record: Reconstruction,
    workers: int,
) -> Reconstruction:
    """Clean the cloud, write its files, and add to the record what they hold.

    Raises:
        DataError: cleaning leaves nothing.
    """
    assert record.distance_mm is not None
    cleaning = settings.cleaning
    kept = clean(cloud.points, cleaning, workers)
    points, distances = cloud.points[kept], cloud.distances[kept]
    if len(points) < min(FEW_POINTS, len(cloud.points)):
        left = quantity(len(points), "point is", "points are")
        logger.warning(
            "%s: %s left of %s: lengths are in millimetres, too large a --voxel-mm?",
            record.name,
            left,
            f"{len(cloud.points):,}",
        )
    needs_normals = settings.normals or settings.surface
    normals = estimate_normals(points, cloud.towards[cloud.frames[kept]]) if needs_normals else None
    colours = distance_colours(distances, colour_scale_mm(cloud.distances))
    write_ply(out / f"{stem}.ply", points, distances, colours, normals if settings.normals else None)
    files = [f"{stem}.ply", f"{stem}.xyz", f"{stem}.png"]
    if settings.layout == AUTHORS:
        files[1] = authors_file(sweep, record.poses, _is_cleaned(settings))
        make_output_folder((out / files[1]).parent)
        write_json(out / CONTENTS, {**read_object(out / CONTENTS), files[1]: _what_is_in(settings)})
    write_xyz(out / files[1], points)
    title = (
        f"{record.name}, {record.mask}, {record.poses} poses: {quantity(record.points, 'point')}, "
        f"mean {record.distance_mm.mean:.3f} mm, 95 % below {record.distance_mm.percentile_95:.3f} mm"
    )
    draw_cloud(out / f"{stem}.png", cloud.points, cloud.distances, surfaces, title)
    record = replace(record, points_written=len(points), files=tuple(files))
    if cleaning.drops_points:
        record = replace(record, cleaned_mm=DistanceSummary.of(distances))
    if settings.surface and normals is not None:
        record = _add_shell(out, stem, points, normals, surfaces, settings, record, workers)
    return record


def _add_shell(
    out: Path,
    stem: str,
    points: NDArray[np.float64],
    normals: NDArray[np.float64],
    surfaces: Sequence[Surface],
    settings: ReconstructSettings,
    record: Reconstruction,
    workers: int,
) -> Reconstruction:
    """The record with its surface; a cloud that has none keeps its other files and is warned of."""
    assert settings.surface is not None
    name = f"{stem}_{settings.surface}.stl"
    try:
        mesh = make_shell(points, normals, settings.surface, workers)
    except DataError as error:
        logger.warning("%s: no surface: %s", record.name, error.message)
        return record
    write_stl(mesh, out / name)
    fit = measure_shell(mesh, settings.surface, name, points, surfaces, settings.seed, workers)
    return replace(record, surface=fit, files=(*record.files, name))


def _below(sweep: Sweep, specimen: Path) -> list[str]:
    return [part for part in sweep.folder.relative_to(specimen).parts if part != "ultrasound_records"]
