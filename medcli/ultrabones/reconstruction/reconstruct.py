"""Rebuild bone in 3D from masks and poses, and measure it against the CT (``medcli reconstruct ultrabones``)."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.core.files import make_output_folder, usable_cores, write_text
from medcli.core.image_io import read_grey, use_single_threaded_codecs
from medcli.core.json_text import read_object
from medcli.core.made_with import fingerprint
from medcli.core.progress import SILENT, Progress, record_part
from medcli.core.run_provenance import note_run
from medcli.core.threads import map_in_threads
from medcli.ultrabones.dataset.folder_layout import list_timestamps, specimen_folder
from medcli.ultrabones.dataset.publication import ABOUT
from medcli.ultrabones.dataset.records import INITIAL, Poses, Sweep, find_sweeps, read_poses
from medcli.ultrabones.geometry.bone_meshes import digest, for_each_record
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.image_to_ct import check_frame_size, pixels_to_ct
from medcli.ultrabones.labelling.label_origin import poses_of_masks
from medcli.ultrabones.labelling.mesh_section import LABEL
from medcli.ultrabones.pose_refinement.echo_distance import SurfaceCheck, check_echoes
from medcli.ultrabones.pose_refinement.refinement_summary import read_checks
from medcli.ultrabones.reconstruction.figure import colour_scale_mm, distance_colours, draw_cloud
from medcli.ultrabones.reconstruction.point_cloud import (
    DistanceSummary,
    published_distance,
    seen_share,
    surface_distances,
    thin,
    write_ply,
    write_xyz,
)

MASKS = ("Labels", "Labels_full", "Labels_pred")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReconstructSettings:
    """What to rebuild.

    Attributes:
        mask: folder of masks in each record: ``Labels``, ``Labels_full``, ``Labels_pred`` or another.
        poses: ``initial`` or ``optimized``; None takes those the masks were made from, see
            :func:`medcli.ultrabones.labelling.label_origin.poses_of_masks`.
        voxel_mm: keep one point a cube of this size in the files; 0 keeps all. Figures are of all points.
        meshes: folder of meshes, None for the specimen's own.
        merged: use the merged mesh of all bones.
        seed: of the random points on the mesh in the published metric.
        overwrite: rebuild what is there.
        dry_run: only say what would be done.
    """

    mask: str = "Labels"
    poses: str | None = None
    voxel_mm: float = 0.0
    meshes: Path | None = None
    merged: bool = False
    seed: int = 0
    overwrite: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Reconstruction:
    """One record in 3D.

    Attributes:
        name: specimen, anatomy and record.
        mask: folder of its masks.
        poses: ``initial`` or ``optimized``.
        frames: masks used; ``empty`` of them had no pixel.
        points: label pixels in space.
        points_written: of them in the files.
        distance_mm: exact distances of the points to the nearest triangle of the meshes; None without points.
        published_mm: the published metric: mean distance to the nearest of a million random mesh points.
        seen: bone -> share of its area that has a point within 1 mm.
        files: what was written.
        echoes: distances of the images' echoes to the meshes, which need no label: at the tracked poses, and at those
            used if they are others.
    """

    name: str
    mask: str
    poses: str
    frames: int
    empty: int
    points: int
    points_written: int
    distance_mm: DistanceSummary | None
    published_mm: float | None
    seen: dict[str, float]
    files: tuple[str, ...]
    echoes: SurfaceCheck | None = None


@dataclass(frozen=True)
class ReconstructResult:
    """The answer of ``medcli reconstruct ultrabones``."""

    root: Path
    out: Path
    dry_run: bool
    records: tuple[Reconstruction, ...]
    failures: tuple[str, ...] = ()
    schema: str = "medcli.reconstruct.v1"


def reconstruct_ultrabones(
    root: Path | str,
    out: Path | str,
    specimens: Sequence[int] | None = None,
    records: Sequence[int] | None = None,
    settings: ReconstructSettings = ReconstructSettings(),
    workers: int | None = None,
    progress: Progress = SILENT,
) -> ReconstructResult:
    """Put the mask pixels of each record into CT space and measure their distance to the bone.

    Writes ``<specimen>_<anatomy>_<record>_<mask>_<poses>`` (thinned: and ``_<voxel>mm``) as ``.ply``, ``.xyz``,
    ``.png`` and, last, ``.json`` into ``out``; a record whose ``.json`` says that it was made from the same things is
    left alone unless ``overwrite``.

    Raises:
        DataError: no frames, two records of one name, or no record could be rebuilt (the first reason).
    """
    sweeps = find_sweeps(root, specimens, records)
    _refuse_equal_names(sweeps)
    use_single_threaded_codecs()
    out = Path(out)
    was_there = out.exists()
    if not settings.dry_run:
        make_output_folder(out)
    rebuild = partial(_rebuild, out=out, settings=settings, workers=workers or usable_cores())

    def rebuild_part(sweep: Sweep, surfaces: list[Surface]) -> tuple[Reconstruction, list[str]]:
        with record_part(advance, sweep.tracked, f"measure and draw {sweep.name}") as part:
            return rebuild(sweep, surfaces, progress=part)

    shown = SILENT if settings.dry_run else progress
    try:
        with shown.task("rebuilding", sum(sweep.tracked for sweep in sweeps), "frames") as advance:
            rebuilt, failures = for_each_record(sweeps, settings.meshes, settings.merged, rebuild_part)
    finally:
        if not was_there and not settings.dry_run:
            with suppress(OSError):
                out.rmdir()  # no record left anything in it
    result = ReconstructResult(Path(root), out, settings.dry_run, tuple(rebuilt), tuple(failures))
    if not settings.dry_run and out.is_dir():
        note_run(out, "reconstruct ultrabones", ABOUT, Path(root), settings, result, "cpu")
    return result


def back_project(mask: NDArray[np.uint8], pose: NDArray[np.float64], spacing_mm: float) -> NDArray[np.float64]:
    """Pixels of value 255 of a mask (rows, columns) in CT millimetres, (N, 3), row by row."""
    rows, columns = np.nonzero(mask == LABEL)
    return pixels_to_ct(pose, columns, rows, spacing_mm)


def _rebuild(
    sweep: Sweep, surfaces: list[Surface], out: Path, settings: ReconstructSettings, workers: int, progress: Progress
) -> tuple[Reconstruction, list[str]]:
    masks = _find_masks(sweep, settings.mask)
    poses = poses_of_masks(sweep, settings.mask, settings.poses)
    stem = _stem(sweep, poses.kind, settings)
    if settings.dry_run:
        plan = Reconstruction(sweep.name, settings.mask, poses.kind, len(masks), 0, 0, 0, None, None, {}, ())
        return plan, []
    made_from = _fingerprint(masks, poses, surfaces, settings)
    earlier = None if settings.overwrite else _read_earlier(out, stem, made_from)
    if earlier is not None:
        logger.info("%s is up to date in %s", sweep.name, out)
        return earlier, []
    clouds, failures = _back_project_all(sweep, poses, masks, workers, progress)
    points = np.concatenate([np.empty((0, 3)), *clouds])
    distances = surface_distances(points, surfaces, workers)
    record = Reconstruction(
        name=sweep.name,
        mask=settings.mask,
        poses=poses.kind,
        frames=len(clouds),
        empty=sum(len(cloud) == 0 for cloud in clouds),
        points=len(points),
        points_written=len(thin(points, settings.voxel_mm)[0]),
        distance_mm=DistanceSummary.of(distances) if len(points) else None,
        published_mm=published_distance(points, surfaces, settings.seed, workers) if len(points) else None,
        seen={surface.name: seen_share(surface, points, seed=settings.seed, workers=workers) for surface in surfaces},
        files=tuple(f"{stem}{suffix}" for suffix in (".ply", ".xyz", ".png")) if len(points) else (),
        echoes=_check_echoes(sweep, poses, surfaces, workers),
    )
    if len(points):
        _write(out, stem, points, distances, surfaces, settings, record)
    if len(points) and not failures:  # else the next run tries again and says again what is wrong
        text = json.dumps({"made_from": made_from, "reconstruction": asdict(record)}, indent=2)
        write_text(out / f"{stem}.json", text + "\n")
    return record, failures


def _check_echoes(sweep: Sweep, poses: Poses, surfaces: Sequence[Surface], workers: int) -> SurfaceCheck | None:
    compared = [poses] if poses.kind == INITIAL else [read_poses(sweep, INITIAL), poses]
    return check_echoes(sweep, compared, surfaces, workers)


def _record_name(sweep: Sweep) -> str:
    """``specimen90_fibula_record01`` or ``cadaver90_F231091_record01``: from the folders, which differ by release."""
    specimen = specimen_folder(sweep.folder)
    if specimen is None:
        return sweep.name.replace(" ", "_")
    below = [part for part in sweep.folder.relative_to(specimen).parts if part != "ultrasound_records"]
    return "_".join([specimen.name, *below])


def _stem(sweep: Sweep, poses: str, settings: ReconstructSettings) -> str:
    """Name of a record's files without suffix; runs that differ in what they rebuild do not share it."""
    voxel = [f"{settings.voxel_mm:g}mm"] if settings.voxel_mm > 0 else []
    return "_".join([_record_name(sweep), settings.mask, poses, *voxel])


def _refuse_equal_names(sweeps: Sequence[Sweep]) -> None:
    folders: dict[str, Path] = {}
    for sweep in sweeps:
        name = _record_name(sweep).lower()  # there are file systems to which case is the same
        if name in folders:
            raise DataError(
                f"two records are named {_record_name(sweep)}: {folders[name]} and {sweep.folder}",
                "rebuild one at a time with --root, each into an --out of its own",
            )
        folders[name] = sweep.folder


def _write(
    out: Path,
    stem: str,
    points: NDArray[np.float64],
    distances: NDArray[np.float64],
    surfaces: Sequence[Surface],
    settings: ReconstructSettings,
    record: Reconstruction,
) -> None:
    assert record.distance_mm is not None
    kept_points, kept = thin(points, settings.voxel_mm)
    colours = distance_colours(distances[kept], colour_scale_mm(distances))
    write_ply(out / f"{stem}.ply", kept_points, distances[kept], colours)
    write_xyz(out / f"{stem}.xyz", kept_points)
    title = (
        f"{record.name}, {record.mask}, {record.poses} poses: {quantity(record.points, 'point')}, "
        f"mean {record.distance_mm.mean:.3f} mm, 95 % below {record.distance_mm.percentile_95:.3f} mm"
    )
    draw_cloud(out / f"{stem}.png", points, distances, surfaces, title)


def _find_masks(sweep: Sweep, folder: str) -> dict[int, Path]:
    """Mask by frame number, for frames that have both a mask and a row in the tracking table."""
    names, _ = list_timestamps(str(sweep.folder / folder))
    found = {
        frame: sweep.folder / folder / names[timestamp]
        for frame, timestamp in enumerate(sweep.timestamps)
        if timestamp in names and sweep.rows[frame] >= 0
    }
    if not found:
        others = [name for name in MASKS if (sweep.folder / name).is_dir()]
        have = f"; there is {', '.join(others)} (--mask)" if others else ""
        make = "medcli predict" if folder == "Labels_pred" else "medcli label"
        raise DataError(f"no tracked frame of {sweep.folder} has a mask in {folder}{have}", f"make masks with: {make}")
    return found


def _back_project_all(
    sweep: Sweep, poses: Poses, masks: dict[int, Path], workers: int, progress: Progress
) -> tuple[list[NDArray[np.float64]], list[str]]:
    """Points of each usable mask, and why the others are not; warns of masks with pixels of other values only.

    Raises:
        DataError: not one mask can be used.
    """

    def project(frame: int) -> tuple[NDArray[np.float64], bool] | str:
        try:
            if poses.problem(frame):
                raise DataError(poses.problem(frame))
            mask = read_grey(masks[frame])
            check_frame_size(mask.shape, float(poses.spacing_mm[frame]), str(masks[frame]))
        except DataError as error:
            return f"{sweep.name} {sweep.timestamps[frame]}: {error.message}"
        points = back_project(mask, poses.pose[frame], float(poses.spacing_mm[frame]))
        return points, bool(len(points) == 0 and mask.any())

    clouds, failures, unmarked = [], [], 0
    with progress.task(f"rebuild {sweep.name}", len(masks), "frames") as advance:
        for outcome in map_in_threads(project, masks, workers):
            if isinstance(outcome, str):
                failures.append(outcome)
            else:
                clouds.append(outcome[0])
                unmarked += outcome[1]
            advance(1)
    if failures and not clouds:
        raise DataError(f"no mask of {sweep.name} can be used; {failures[0]}")
    if unmarked:
        folder = next(iter(masks.values())).parent.name
        of_value = f"none of value {LABEL}, the only one that counts as bone"
        logger.warning(
            "%s: %s pixels but %s",
            sweep.name,
            quantity(unmarked, f"mask in {folder} has", f"masks in {folder} have"),
            of_value,
        )
    return clouds, failures


def _fingerprint(
    masks: dict[int, Path], poses: Poses, surfaces: Sequence[Surface], settings: ReconstructSettings
) -> str:
    chosen = repr((digest(surfaces), settings.mask, settings.voxel_mm, settings.seed))
    states = [(frame, path.name, path.stat()) for frame, path in masks.items()]
    files = [repr((frame, name, state.st_size, state.st_mtime_ns)) for frame, name, state in states]
    return fingerprint(chosen, poses.pose.tobytes(), poses.spacing_mm.tobytes(), *files)


def _read_earlier(out: Path, stem: str, made_from: str) -> Reconstruction | None:
    """What an earlier run made from the same things, if all its files are still there."""
    found = read_object(out / f"{stem}.json")
    if found.get("made_from") != made_from:
        return None
    try:
        values = found["reconstruction"]
        distance = DistanceSummary(**values["distance_mm"]) if values["distance_mm"] else None
        echoes = next(iter(read_checks({"checks": [values["echoes"]] if values.get("echoes") else []})), None)
        changed = {"distance_mm": distance, "files": tuple(values["files"]), "echoes": echoes}
        record = Reconstruction(**{**values, **changed})
    except (KeyError, TypeError):
        return None
    return record if all((out / name).is_file() for name in record.files) else None
