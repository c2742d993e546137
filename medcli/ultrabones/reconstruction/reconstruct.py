"""Rebuild bone in 3D from masks and poses, and measure it against the CT (``medcli reconstruct ultrabones``)."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from medcli.core.errors import DataError
from medcli.core.files import make_output_folder, usable_cores, write_text
from medcli.core.image_io import use_single_threaded_codecs
from medcli.core.json_text import read_object
from medcli.core.made_with import fingerprint
from medcli.core.progress import SILENT, Progress, record_part
from medcli.core.run_provenance import note_run
from medcli.ultrabones.dataset.probe import Probe
from medcli.ultrabones.dataset.publication import about_records
from medcli.ultrabones.dataset.records import INITIAL, Poses, Sweep, find_sweeps, read_poses
from medcli.ultrabones.geometry.bone_meshes import digest, for_each_record
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.labelling.label_origin import poses_of_masks, stamp_of_probe
from medcli.ultrabones.pose_refinement.echo_distance import SurfaceCheck, check_echoes
from medcli.ultrabones.pose_refinement.refinement_summary import mesh_doubt, read_checks
from medcli.ultrabones.reconstruction.bone_shell import ShellFit
from medcli.ultrabones.reconstruction.cleaning_options import check_cleaning, check_surface_extra
from medcli.ultrabones.reconstruction.cloud_files import (
    Cloud,
    record_stem,
    refuse_equal_names,
    refuse_other_cloud,
    write_record,
)
from medcli.ultrabones.reconstruction.mask_points import MASKS, caution_of, masks_of, project_masks
from medcli.ultrabones.reconstruction.point_cloud import (
    DistanceSummary,
    published_distance,
    seen_share,
    surface_distances,
)
from medcli.ultrabones.reconstruction.settings import Reconstruction, ReconstructResult, ReconstructSettings

logger = logging.getLogger(__name__)
_DEFAULTS = ReconstructSettings()


def reconstruct_ultrabones(
    root: Path | str,
    out: Path | str,
    specimens: Sequence[int] | None = None,
    records: Sequence[int] | None = None,
    settings: ReconstructSettings = _DEFAULTS,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> ReconstructResult:
    """Put the mask pixels of each record into CT space and measure their distance to the bone.

    Writes ``<specimen>_<anatomy>_<record>_<mask>_<poses>`` (thinned: and ``_<voxel>mm``) as ``.ply``, ``.xyz``,
    ``.png`` and, last, ``.json`` into ``out``; a record whose ``.json`` says that it was made from the same things is
    left alone unless ``overwrite``.

    Raises:
        DataError: no frames, two records of one name, or no record could be rebuilt (the first reason).
        UsageError: numbers of the cleaning that cannot be meant, or a cloud in the authors' layout that was made with
            another mask or cleaning is there and ``overwrite`` is off.
    """
    check_cleaning(settings.cleaning)
    check_surface_extra(settings.surface)
    sweeps = find_sweeps(root, specimens, records, settings.probe)
    refuse_equal_names(sweeps)
    use_single_threaded_codecs()
    out = Path(out)
    was_there = out.exists()
    if not settings.dry_run:
        make_output_folder(out)
    rebuild = partial(_rebuild, out=out, settings=settings, workers=workers or usable_cores())

    def rebuild_part(sweep: Sweep, surfaces: list[Surface]) -> tuple[Reconstruction, list[str]]:
        with record_part(advance, sweep.tracked, f"measure and draw {sweep.name}") as part:
            record, failures = rebuild(sweep, surfaces, progress=part)
        if record.doubt:
            logger.warning("%s: %s", record.name, record.doubt)
        return record, failures

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
        about = about_records(sweep.folder for sweep in sweeps)
        note_run(out, "reconstruct ultrabones", about, Path(root), settings, result, "cpu")
    return result


def _rebuild(
    sweep: Sweep, surfaces: list[Surface], out: Path, settings: ReconstructSettings, workers: int, progress: Progress
) -> tuple[Reconstruction, list[str]]:
    masks = _find_masks(sweep, settings.mask)
    poses = poses_of_masks(sweep, settings.mask, settings.poses)
    stem = record_stem(sweep, poses.kind, settings)
    refuse_other_cloud(out, sweep, poses.kind, settings)
    if settings.dry_run:
        plan = Reconstruction(
            sweep.name, settings.mask, poses.kind, len(masks), 0, 0, 0, None, None, {}, (), probe=sweep.probe.name
        )
        return plan, []
    made_from = _fingerprint(masks, poses, surfaces, settings, sweep.probe)
    earlier = None if settings.overwrite else _read_earlier(out, stem, made_from)
    if earlier is not None:
        logger.info("%s is up to date in %s", sweep.name, out)
        return earlier, []
    clouds, towards, failures = project_masks(sweep, poses, masks, workers, progress)
    if not clouds:
        raise DataError(f"no mask of {sweep.name} can be used; {failures[0]}")
    points = np.concatenate([np.empty((0, 3)), *clouds])
    frames = np.repeat(np.arange(len(clouds), dtype=np.int32), [len(cloud) for cloud in clouds])
    distances = surface_distances(points, surfaces, workers)
    record = Reconstruction(
        name=sweep.name,
        mask=settings.mask,
        poses=poses.kind,
        frames=len(clouds),
        empty=sum(len(cloud) == 0 for cloud in clouds),
        points=len(points),
        points_written=0,
        distance_mm=DistanceSummary.of(distances) if len(points) else None,
        published_mm=published_distance(points, surfaces, settings.seed, workers) if len(points) else None,
        seen={surface.name: seen_share(surface, points, seed=settings.seed, workers=workers) for surface in surfaces},
        files=(),
        probe=sweep.probe.name,
        echoes=(echoes := _check_echoes(sweep, poses, surfaces, workers)),
        doubt=mesh_doubt([echoes] if echoes else []),
        caution=caution_of(settings.mask, poses.kind),
    )
    if len(points):
        cloud = Cloud(points, distances, np.array(towards), frames)
        record = write_record(out, stem, sweep, cloud, surfaces, settings, record, workers)
    if len(points) and not failures:  # else the next run tries again and says again what is wrong
        text = json.dumps({"made_from": made_from, "reconstruction": asdict(record)}, indent=2)
        write_text(out / f"{stem}.json", text + "\n")
    return record, failures


def _check_echoes(sweep: Sweep, poses: Poses, surfaces: Sequence[Surface], workers: int) -> SurfaceCheck | None:
    compared = [poses] if poses.kind == INITIAL else [read_poses(sweep, INITIAL), poses]
    return check_echoes(sweep, compared, surfaces, workers)


def _find_masks(sweep: Sweep, folder: str) -> dict[int, Path]:
    """:func:`masks_of` a sweep that has some."""
    found = masks_of(sweep, folder)
    if not found:
        others = [name for name in MASKS if (sweep.folder / name).is_dir()]
        have = f"; there is {', '.join(others)} (--mask)" if others else ""
        make = "medcli predict" if folder == "Labels_pred" else "medcli label"
        raise DataError(f"no tracked frame of {sweep.folder} has a mask in {folder}{have}", f"make masks with: {make}")
    return found


def _fingerprint(
    masks: dict[int, Path], poses: Poses, surfaces: Sequence[Surface], settings: ReconstructSettings, probe: Probe
) -> str:
    chosen = repr((digest(surfaces), settings.mask, settings.voxel_mm, settings.seed))
    more = settings.outlier_sd, settings.radius_mm, settings.normals, settings.layout, settings.surface
    chosen += repr(more) if any(more) else ""
    states = [(frame, path.name, path.stat()) for frame, path in masks.items()]
    files = [repr((frame, name, state.st_size, state.st_mtime_ns)) for frame, name, state in states]
    files += stamp_of_probe(probe).values()
    return fingerprint(chosen, poses.pose.tobytes(), poses.spacing_mm.tobytes(), *files)


def _read_earlier(out: Path, stem: str, made_from: str) -> Reconstruction | None:
    """What an earlier run made from the same things, if all its files are still there."""
    found = read_object(out / f"{stem}.json")
    if found.get("made_from") != made_from:
        return None
    try:
        values = found["reconstruction"]
        read = {name: _summary(values.get(name)) for name in ("distance_mm", "cleaned_mm")}
        shell = values.get("surface")
        if shell:
            fits = {name: _summary(shell[name]) for name in ("to_ct", "from_ct")}
            shell = ShellFit(**{**shell, **fits})
        echoes = next(iter(read_checks({"checks": [values["echoes"]] if values.get("echoes") else []})), None)
        changed = {**read, "surface": shell, "files": tuple(values["files"]), "echoes": echoes}
        changed["doubt"] = mesh_doubt([echoes] if echoes else [])
        changed["caution"] = caution_of(values["mask"], values["poses"])
        record = Reconstruction(**{**values, **changed})
    except (KeyError, TypeError):
        return None
    return record if all((out / name).is_file() for name in record.files) else None


def _summary(values: dict[str, float] | None) -> DistanceSummary | None:
    return DistanceSummary(**values) if values else None
