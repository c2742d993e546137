"""Refine all poses of a record: a report for each frame, and optimised poses in its tracking table.

Frame by frame, the report is also the journal: it is written whenever some seconds of work are done, each row with a
key of all that its pose depends on. A killed run resumes from it and ends with the same files as one complete run. A
sweep that is refined as one is done completely or not at all; records that are done are not done again.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.files import read_whole, write_bytes
from medcli.core.image_io import read_grey
from medcli.core.made_with import fingerprint
from medcli.core.progress import SILENT, Advance, Progress, activity
from medcli.core.rigid_transforms import transform_points
from medcli.core.threads import map_in_threads
from medcli.ultrabones.dataset.probe import Probe
from medcli.ultrabones.dataset.records import INITIAL, OPTIMIZED, Poses, Sweep, read_poses
from medcli.ultrabones.dataset.tracking_table import (
    OPTIMIZED_POSE_COLUMNS,
    POSE_COLUMNS,
    has_optimized_poses,
    read_tracking_cells,
    standard_names,
    tracking_file,
)
from medcli.ultrabones.geometry.bone_meshes import digest
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.image_to_ct import check_frame_size, corner_to_probe, image_to_ct
from medcli.ultrabones.pose_refinement.distance_field import DistanceField
from medcli.ultrabones.pose_refinement.echo_distance import check_echoes, check_predictions
from medcli.ultrabones.pose_refinement.refine_frame import Refinement, RefineSettings, refine_frame
from medcli.ultrabones.pose_refinement.refine_together import refine_together, unreadable
from medcli.ultrabones.pose_refinement.refinement_report import (
    FRAMES,
    REPORT,
    SWEEP,
    Row,
    as_row,
    frame_key,
    ingredients,
    poses_by_row,
    read_report,
    refuse_other_settings,
    write_rows,
)
from medcli.ultrabones.pose_refinement.refinement_summary import (
    SweepRefinement,
    curve_entries,
    read_checks,
    read_summary,
    summarise_refinement,
    write_summary,
)
from medcli.ultrabones.pose_refinement.sweep_objective import BAND_MM

ORIGINAL_ENDING = "_original"
"""Of the name of the tracking table as it was."""
_GRIDS = {FRAMES: (0.5, 0.2), SWEEP: (BAND_MM, 0.3)}
"""Band and step of the distance field, millimetres; the curve is judged by exact distances in the end."""
_SAVE_EVERY_S = 10.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RefinementPlan:
    """Report rows that are there by timestamp, the key of each frame, and the frames still to refine."""

    done: dict[int, Row]
    keys: list[str]
    todo: list[int]


def refine_sweep(
    sweep: Sweep,
    surfaces: Sequence[Surface],
    settings: RefineSettings,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
    way: str = FRAMES,
) -> SweepRefinement:
    """Refine the poses of a sweep; writes ``refinement.csv``, ``refinement.json`` and the ``_optimized`` columns.

    Frames that are not refined get their tracked pose. The table as it was is kept once, as ``…_original.csv``.

    Args:
        way: ``frames``, each by itself as published, or ``sweep``, one smooth correction of all.

    Raises:
        DataError: no table, or a report made with other settings, poses, images or meshes and ``overwrite`` is off.
    """
    plan = plan_refinement(sweep, surfaces, settings, overwrite, way)
    if plan is None:
        return SweepRefinement(foreign=True)
    poses = read_poses(sweep, INITIAL)
    done, todo, failures = _retry_failed(sweep, poses, plan) if way == SWEEP else (plan.done, plan.todo, [])
    curve: Mapping[str, object] = {}
    if todo:
        with activity(f"{sweep.name}: computing distances to the meshes"):
            field = _field_for(todo, poses, surfaces, settings, workers, sweep.probe, *_GRIDS[way])
        with progress.task(f"refine {sweep.name}", len(todo), "frames") as advance:
            if way == SWEEP:
                known = (sweep, poses, todo, plan.keys, surfaces, field, settings, workers)
                rows, found, failures = refine_together(*known, advance)
                done, curve = {int(row["timestamp"]): row for row in rows}, curve_entries(found)
            else:
                failures = _refine_each(sweep, poses, plan, surfaces, field, settings, workers, advance)
    made_from = fingerprint(way, *plan.keys)
    earlier = read_summary(sweep.folder, made_from)
    if todo and not (way == SWEEP and failures and not done):
        write_rows(sweep.folder / REPORT, done)
    write_optimized_poses(sweep.folder, poses_by_row(sweep, done))
    if earlier and not todo:
        kept = earlier.get("curve")
        curve, checks = kept if isinstance(kept, dict) else {}, read_checks(earlier)
    else:
        compared = [poses, read_poses(sweep, OPTIMIZED)]
        with activity(f"{sweep.name}: measuring echoes"):
            found_checks = [check(sweep, compared, surfaces, workers) for check in (check_echoes, check_predictions)]
        checks = tuple(check for check in found_checks if check is not None)
    result = summarise_refinement(sweep, poses, done, len(todo), failures, way, curve, checks)
    if result.doubt:
        logger.warning("%s: %s", sweep.name, result.doubt)
    if not earlier or todo:
        made_with = ingredients(settings, digest(surfaces), sweep, poses, way)
        write_summary(sweep.folder, made_from, made_with, result, curve)
    return result


def _retry_failed(sweep: Sweep, poses: Poses, plan: RefinementPlan) -> tuple[dict[int, Row], list[int], list[str]]:
    """Rows that count, frames to refine and failures of a sweep that is refined as one: all of it again if a frame that
    failed can be read by now, else nothing."""
    if not (plan.done and plan.todo):
        return plan.done, plan.todo, []
    failures = unreadable(sweep, poses, plan.todo)
    if len(failures) == len(plan.todo):
        return plan.done, [], failures
    return {}, np.flatnonzero(sweep.rows >= 0).tolist(), []


def _refine_each(
    sweep: Sweep,
    poses: Poses,
    plan: RefinementPlan,
    surfaces: Sequence[Surface],
    field: DistanceField,
    settings: RefineSettings,
    workers: int,
    advance: Advance,
) -> list[str]:
    """Refine the frames of a plan one by one into its rows; returns what failed."""

    def refine(frame: int) -> Row | str:
        try:
            found = _refine_one(sweep, poses, frame, surfaces, field, settings)
        except DataError as error:
            return f"{sweep.name} {sweep.timestamps[frame]}: {error.message}"
        return as_row(found, poses.pose[frame], settings.bound, plan.keys[frame])

    failures, saved_at = [], time.monotonic()
    for outcome in map_in_threads(refine, plan.todo, workers):
        if isinstance(outcome, str):
            failures.append(outcome)
        else:
            plan.done[int(outcome["timestamp"])] = outcome
        advance(1)
        if time.monotonic() - saved_at > _SAVE_EVERY_S:
            write_rows(sweep.folder / REPORT, plan.done)
            saved_at = time.monotonic()
    return failures


def plan_refinement(
    sweep: Sweep,
    surfaces: Sequence[Surface],
    settings: RefineSettings,
    overwrite: bool = False,
    way: str = FRAMES,
) -> RefinementPlan | None:
    """What refining a sweep would do, with the errors of :func:`refine_sweep`; None when foreign poses are kept."""
    poses = read_poses(sweep, INITIAL)
    report = sweep.folder / REPORT
    done = {} if overwrite else read_report(report)
    if is_foreign(sweep) and not overwrite:
        logger.warning("%s has optimised poses of another origin; kept (--overwrite replaces them)", sweep.folder)
        return None
    mesh = digest(surfaces)
    keys = [frame_key(settings, mesh, sweep, poses, frame) for frame in range(len(sweep.timestamps))]
    if way == SWEEP:  # every pose depends on every frame
        keys = [fingerprint(SWEEP, *keys)] * len(keys)
    before = read_summary(sweep.folder).get("made_with")
    known = before if isinstance(before, dict) else {}
    now = partial(ingredients, settings, mesh, sweep, poses, way)
    refuse_other_settings(done, dict(zip(sweep.timestamps, keys, strict=True)), report, known, now)
    usable = [frame for frame in range(len(keys)) if sweep.rows[frame] >= 0]
    if way == SWEEP and not read_summary(sweep.folder, fingerprint(way, *keys)):
        done = {}  # killed between report and summary, which alone holds the curve
    todo = [frame for frame in usable if sweep.timestamps[frame] not in done]
    return RefinementPlan(done, keys, usable if way == SWEEP and todo and not done else todo)


def write_optimized_poses(record_dir: Path, poses: dict[int, NDArray[np.float64]]) -> bool:
    """Set the ``_optimized`` columns of a record's tracking table; every other column keeps its text.

    Args:
        poses: pose (6,) by row of the table; other rows get their tracked pose.

    Returns:
        whether the file had to be written. The first time, the table as it was is kept beside it.
    """
    import pandas as pd

    path = tracking_file(record_dir)
    if path is None:
        raise DataError(f"no tracking table in {record_dir}")
    table = read_tracking_cells(path, rename=False, dtype=str, keep_default_na=False)
    written = table.columns.str.strip().tolist()
    table.columns = pd.Index(standard_names(written))
    columns = {name: table[name].tolist() for name in POSE_COLUMNS}
    for row, pose in poses.items():
        for name, value in zip(POSE_COLUMNS, pose.tolist(), strict=True):
            columns[name][row] = repr(value)
    for name, optimized in zip(POSE_COLUMNS, OPTIMIZED_POSE_COLUMNS, strict=True):
        table[optimized] = columns[name]
    table.columns = pd.Index(written + table.columns.tolist()[len(written) :])
    content = table.to_csv(index=False, lineterminator="\n").encode("utf-8")
    before = read_whole(path)
    if content == before:
        return False
    original = path.with_name(path.stem + ORIGINAL_ENDING + path.suffix)
    if not original.exists():
        write_bytes(original, before)
    write_bytes(path, content)
    return True


def is_foreign(sweep: Sweep) -> bool:
    """Whether the table has optimised poses, as the published one has, without a report of this command."""
    return has_optimized_poses(sweep.folder) and not (sweep.folder / REPORT).exists()


def _field_for(
    frames: Sequence[int],
    poses: Poses,
    surfaces: Sequence[Surface],
    settings: RefineSettings,
    workers: int,
    probe: Probe,
    band_mm: float,
    step_mm: float,
) -> DistanceField:
    """The distance field where the refinement of these frames can look: a sweep rarely sees the whole of each bone."""
    step = 1.0
    height_mm, width_mm = probe.rows * probe.spacing_mm, probe.columns * probe.spacing_mm
    shape = (math.ceil(height_mm / step) + 1, math.ceil(width_mm / step) + 1)
    limit = settings.reach_mm + step
    places = [np.empty((0, 3))]
    for frame in frames:
        if poses.problem(frame):
            continue
        plane = image_to_ct(poses.pose[frame], probe)
        distances = [surface.plane_distances(plane, shape, step, limit) for surface in surfaces]
        rows, columns = np.nonzero(np.min(distances, axis=0) < limit)
        places.append(transform_points(plane, np.stack([columns * step, rows * step, 0.0 * rows], axis=1)))
    # how far a pixel can move: three axes of translation, and a rotation about the marker, which is far away
    to_probe = corner_to_probe(probe)
    corners = np.array([[x * probe.columns, y * probe.rows, 0] for x in (0, 1) for y in (0, 1)]) * probe.spacing_mm
    lever_mm = max(np.linalg.norm(to_probe[:3, :3] @ corner + to_probe[:3, 3]) for corner in corners)
    reach = math.sqrt(3) * settings.bound * (1 + math.radians(1) * float(lever_mm)) + step
    return DistanceField.around(
        surfaces, band_mm, step_mm, workers=workers, places=np.concatenate(places), reach_mm=reach
    )


def _refine_one(
    sweep: Sweep,
    poses: Poses,
    frame: int,
    surfaces: Sequence[Surface],
    field: DistanceField,
    settings: RefineSettings,
) -> Refinement:
    problem = poses.problem(frame)
    if problem:
        raise DataError(problem)
    image = read_grey(sweep.images[frame])
    spacing = float(poses.spacing_mm[frame])
    check_frame_size(image.shape, spacing, sweep.images[frame], sweep.probe)
    pose, timestamp = poses.pose[frame], sweep.timestamps[frame]
    return refine_frame(image, pose, spacing, surfaces, field, timestamp, settings, sweep.probe)
