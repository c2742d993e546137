"""Refine all poses of a record: a report for each frame, and optimised poses in its tracking table.

The report is also the journal: it is written whenever some seconds of work are done, each row with a key of all that
its pose depends on. A killed run resumes from it and ends with the same files as one complete run.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.core.files import open_regular, read_whole, write_bytes, write_text
from medcli.core.image_io import read_grey
from medcli.core.made_with import fingerprint, reject_other_options
from medcli.core.plausibility import pose_bounds, problem_of
from medcli.core.progress import SILENT, Progress, activity
from medcli.core.rigid_transforms import transform_points
from medcli.core.tables import csv_text, read_dicts
from medcli.core.threads import map_in_threads
from medcli.ultrabones.dataset.probe import Probe
from medcli.ultrabones.dataset.records import INITIAL, Poses, Sweep, read_poses
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
from medcli.ultrabones.pose_refinement.refine_frame import Refinement, RefineSettings, refine_frame

REPORT = "refinement.csv"
ORIGINAL_ENDING = "_original"
"""Of the name of the tracking table as it was."""
REPORT_COLUMNS = (
    "timestamp", "status", "reason", "displacement_mm", "rotation_deg", "j_before", "j_after", *POSE_COLUMNS, "key",
)  # fmt: skip
_SAVE_EVERY_S = 10.0
_TAIL = 32  # Adler-32 and CRC of the pixels, and the end chunk

logger = logging.getLogger(__name__)

Row = dict[str, str]


@dataclass(frozen=True)
class SweepRefinement:
    """What became of a record's poses.

    Attributes:
        refined: frames whose pose was changed.
        kept: frames whose pose stays as tracked; the report says why.
        computed: frames refined or looked at by this run; the others were done before.
        displacement_mm: median distance that refined poses moved.
        objective_before: sum of J over refined frames, as tracked.
        objective_after: the same at the refined poses.
        foreign: the table already had optimised poses that this command did not make; they were left alone.
        failures: frames that could not be looked at.
    """

    refined: int = 0
    kept: int = 0
    computed: int = 0
    displacement_mm: float = 0.0
    objective_before: float = 0.0
    objective_after: float = 0.0
    foreign: bool = False
    failures: tuple[str, ...] = ()


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
) -> SweepRefinement:
    """Refine the poses of a sweep; writes ``refinement.csv`` and the ``_optimized`` columns of its tracking table.

    Frames that are not refined get their tracked pose. The table as it was is kept once, as ``…_original.csv``.

    Raises:
        DataError: no table, or a report made with other settings, poses, images or meshes and ``overwrite`` is off.
    """
    plan = plan_refinement(sweep, surfaces, settings, overwrite)
    if plan is None:
        return SweepRefinement(foreign=True)
    poses, report = read_poses(sweep, INITIAL), sweep.folder / REPORT
    done, keys, todo = plan.done, plan.keys, plan.todo
    with activity(f"{sweep.name}: computing distances to the meshes"):
        field = _field_for(todo, poses, surfaces, settings, workers, sweep.probe)

    def refine(frame: int) -> Row | str:
        try:
            found = _refine_one(sweep, poses, frame, surfaces, field, settings)
        except DataError as error:
            return f"{sweep.name} {sweep.timestamps[frame]}: {error.message}"
        return _as_row(found, keys[frame])

    failures, saved_at = [], time.monotonic()
    with progress.task(f"refine {sweep.name}", len(todo), "frames") as advance:
        for outcome in map_in_threads(refine, todo, workers):
            if isinstance(outcome, str):
                failures.append(outcome)
            else:
                done[int(outcome["timestamp"])] = outcome
            advance(1)
            if time.monotonic() - saved_at > _SAVE_EVERY_S:
                _write_report(report, done)
                saved_at = time.monotonic()
    if todo:
        _write_report(report, done)
    write_optimized_poses(sweep.folder, _poses_by_row(sweep, done))
    return _summary(done, len(todo), failures)


def plan_refinement(
    sweep: Sweep, surfaces: Sequence[Surface], settings: RefineSettings, overwrite: bool = False
) -> RefinementPlan | None:
    """What refining a sweep would do, with the errors of :func:`refine_sweep`; None when foreign poses are kept."""
    poses = read_poses(sweep, INITIAL)
    report = sweep.folder / REPORT
    done = {} if overwrite else _read_report(report)
    if is_foreign(sweep) and not overwrite:
        logger.warning("%s has optimised poses of another origin; kept (--overwrite replaces them)", sweep.folder)
        return None
    mesh = digest(surfaces)
    keys = [_key(settings, mesh, sweep, poses, frame) for frame in range(len(sweep.timestamps))]
    _refuse_other_settings(done, dict(zip(sweep.timestamps, keys, strict=True)), report)
    usable = [frame for frame in range(len(keys)) if sweep.rows[frame] >= 0]
    return RefinementPlan(done, keys, [frame for frame in usable if sweep.timestamps[frame] not in done])


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
    return DistanceField.around(surfaces, workers=workers, places=np.concatenate(places), reach_mm=reach)


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


def _key(settings: RefineSettings, mesh: str, sweep: Sweep, poses: Poses, frame: int) -> str:
    pose = poses.pose[frame].tolist()
    text = repr((astuple(settings), mesh, pose, float(poses.spacing_mm[frame]), _image_mark(sweep.images[frame])))
    return fingerprint(text, *([] if sweep.probe.is_published else [sweep.probe.digest]))


def _image_mark(path: str) -> tuple[int, bytes]:
    """Size and last bytes of a PNG file: the checksum of all its pixels is among them, and copying keeps them."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            return size, file.read()
    except OSError:
        return 0, b""  # the frame fails by itself when it is read


def _refuse_other_settings(done: dict[int, Row], keys: dict[int, str], report: Path) -> None:
    changed = [timestamp for timestamp, row in done.items() if keys.get(timestamp, row["key"]) != row["key"]]
    differing = [f"settings, poses, images or meshes of {quantity(len(changed), 'frame')} differ"] if changed else []
    reject_other_options(report, differing, "give --overwrite to refine again", DataError)


def _as_row(found: Refinement, key: str) -> Row:
    numbers = {
        "displacement_mm": found.displacement_mm,
        "rotation_deg": found.rotation_deg,
        "j_before": found.j_before,
        "j_after": found.j_after,
        **dict(zip(POSE_COLUMNS, found.pose.tolist(), strict=True)),
    }
    texts = {name: "" if np.isnan(value) else repr(float(value)) for name, value in numbers.items()}
    status = "refined" if found.refined else "kept"
    return {"timestamp": str(found.timestamp), "status": status, "reason": found.reason, **texts, "key": key}


def _read_report(path: Path) -> dict[int, Row]:
    if not path.exists():
        return {}
    try:
        _, rows = read_dicts(path, "report of this command", REPORT_COLUMNS)
        return {int(row["timestamp"]): _checked(row) for row in rows}
    except (DataError, ValueError) as error:
        raise DataError(f"{path} is not a report of this command: {error}", "move it away, or --overwrite") from error


def _checked(row: Row) -> Row:
    """A row of the report; ValueError when the numbers of a refined pose are none, or not plausible."""
    if row["status"] == "refined":
        problem = problem_of({name: float(row[name]) for name in POSE_COLUMNS}, pose_bounds(POSE_COLUMNS))
        if problem or not all(math.isfinite(float(row[name])) for name in ("displacement_mm", "j_before", "j_after")):
            raise ValueError(problem or "a number that is not finite")
    return {name: row[name] for name in REPORT_COLUMNS}


def _write_report(path: Path, rows: dict[int, Row]) -> None:
    write_text(path, csv_text([rows[timestamp] for timestamp in sorted(rows)], REPORT_COLUMNS))


def _poses_by_row(sweep: Sweep, done: dict[int, Row]) -> dict[int, NDArray[np.float64]]:
    return {
        int(row): np.array([float(done[timestamp][name]) for name in POSE_COLUMNS])
        for timestamp, row in zip(sweep.timestamps, sweep.rows, strict=True)
        if timestamp in done and row >= 0 and done[timestamp]["status"] == "refined"
    }


def _summary(done: dict[int, Row], computed: int, failures: Sequence[str]) -> SweepRefinement:
    refined = [row for row in done.values() if row["status"] == "refined"]
    return SweepRefinement(
        refined=len(refined),
        kept=len(done) - len(refined),
        computed=computed,
        displacement_mm=float(np.median([float(row["displacement_mm"]) for row in refined])) if refined else 0.0,
        objective_before=sum(float(row["j_before"]) for row in refined),
        objective_after=sum(float(row["j_after"]) for row in refined),
        failures=tuple(failures),
    )
