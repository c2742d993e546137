"""Register the implants of a study in both planes, with or without start poses (``medcli register pose``)."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core import image_io
from medcli.core.errors import DataError, UsageError
from medcli.core.files import make_output_folder, usable_cores
from medcli.core.mesh import Mesh
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import note_path, note_run
from medcli.core.run_records.earlier_run import refuse_other_run
from medcli.core.threads import run_in_threads
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.pose_tables import PUBLISHED_COLUMNS, read_result_rows, write_result_rows
from medcli.veriserum.dataset.publication import ABOUT
from medcli.veriserum.geometry.biplane import DualPlane
from medcli.veriserum.geometry.outline_overlay import AFTER, BEFORE, draw_planes
from medcli.veriserum.registration.companions import other_component
from medcli.veriserum.registration.gradient_matching import ImplantView, refine
from medcli.veriserum.registration.mirrored_images import gain_by_mirroring, warn_of_mirrored
from medcli.veriserum.registration.pose_quality import (
    PoseQuality,
    measured_quality,
    pose_covariance,
    status_of,
)
from medcli.veriserum.registration.pose_search import FoundPose, compare_with_twins, search_pose
from medcli.veriserum.registration.resolution_levels import LOG_LEVELS
from medcli.veriserum.registration.start_poses import Sources, StartPoses, select

VERB = "register pose"
_LOG = logging.getLogger(__name__)
_START_COLUMNS = tuple(f"start_{name}" for name in folder_index.POSE_COLUMNS)
_REPORT_COLUMNS = ("similarity_before", "similarity_after", "displacement_mm", "rotation_deg")
_QUALITY_COLUMNS = ("method", *(field.name for field in fields(PoseQuality)))
_COLUMNS = [*PUBLISHED_COLUMNS, *_START_COLUMNS, *_REPORT_COLUMNS, *_QUALITY_COLUMNS]
_KEEP_EVERY_S = 20.0
_LEAST_DEPTH_MM = 200.0


@dataclass(frozen=True)
class PairFailure:
    """A pair that could not be registered, and why."""

    id: int
    reason: str

    def __str__(self) -> str:
        return f"id {self.id}: {self.reason}"


@dataclass(frozen=True)
class PoseReport:
    """One registered pair; poses are tx ty tz (mm), rz rx ry (degrees).

    Attributes:
        start: the start pose that was given; without one, the pose that the search found before the finest level.
        method: ``start`` or ``search``.
        similarity_before, similarity_after: gradient correlation, mean over both planes, -1 to 1, each about its pose.
        displacement_mm, rotation_deg: displacement of the implant's centre, and rotation of the implant.
        matches_mirrored: whether it matches better when both images are mirrored; such a pose is doubtful.
    """

    id: int
    anatomy_id: int
    start: dict[str, float]
    result: dict[str, float]
    similarity_before: float
    similarity_after: float
    displacement_mm: float
    rotation_deg: float
    method: str
    quality: PoseQuality
    matches_mirrored: bool = False


@dataclass(frozen=True)
class RegisterResult:
    """Result of a run.

    Attributes:
        out: the table; None: nothing was registered, and there is no such file.
        done: registered by this run; ``skipped`` were already in the file; ``without_images`` were omitted.
        searched: of those done, the ones that were searched for; with start poses, since these did not lead there.
        start: ``search``, ``table`` (the pose table, that is, from the reference) or the file of start poses.
        statuses: number of poses of this run by status.
        mirrored: number of poses that match better when both images are mirrored.
        frame: of the poses; inter_plane: origin of the inter-plane geometry.
        seconds: wall time of the matching with all workers.
    """

    out: Path | None
    overlays: Path | None
    done: int
    searched: int
    skipped: int
    without_images: int
    start: str
    statuses: dict[str, int]
    mirrored: int
    frame: str
    inter_plane: str
    seconds: float
    poses: list[PoseReport]
    failures: list[PairFailure]
    schema: str = "medcli.register-pose.v1"


def register_poses(
    sources: Sources,
    out: Path,
    ids: Sequence[tuple[int, int]] | None = None,
    anatomy: int | None = None,
    least_similarity: float = 0.5,
    overlays: Path | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
    fall_back: bool = True,
) -> RegisterResult:
    """Find implants, or refine start poses, and write them to a CSV file with the published columns and report columns.

    Args:
        sources: images, tables and implants.
        out: the CSV file; ids already in it are skipped. It is kept up to date during long runs, and a table that was
            made from other sources or with other settings is refused: its rows would not be told apart.
        ids: (first, last) ranges; None: every start pose with images that is not obsolete.
        anatomy: only poses of this implant.
        least_similarity: results below it in the mean of the planes are failures.
        overlays: folder for images of the outlines before and after.
        workers: pairs at a time; the result is bitwise the same for any number.
        overwrite: replace the file.
        fall_back: search for the implant where the result from the start pose is not good.

    Raises:
        DataError: a table is missing, or there is nothing to do.
        UsageError: ``out`` is no CSV file, or was made from other sources or with other settings.
        MedcliError: the results cannot be written.
    """
    if out.suffix.lower() != ".csv":
        raise UsageError(f"{out} is not a CSV file", "name a file with --out poses.csv")
    if not fall_back and sources.start is None:
        raise UsageError("--no-search refines start poses, and none are given", "name them: --start FILE, or table")
    options = {**asdict(sources), "least_similarity": least_similarity, "search": fall_back}
    refuse_other_run(out, "", VERB, options, overwrite)
    starts = StartPoses(sources, None if anatomy is None else {anatomy})
    chosen, without_images = select(starts, ids, anatomy)
    make_output_folder(out.parent)
    needed = ("id", *folder_index.POSE_COLUMNS, *_REPORT_COLUMNS)
    what = ("registered poses", "table of registered poses")
    rows = {} if overwrite else read_result_rows(out, *what, needed, _COLUMNS, lambda row: int(row["id"]))
    there = {number: rows[number]["anatomy_id"] for number in chosen if rows.get(number, {}).get("anatomy_id")}
    starts.refuse_other_anatomies(there, out)
    waiting = [number for number in chosen if number not in rows]
    run = _Run(starts, least_similarity, overlays, fall_back)

    def note(found: RegisterResult | None = None) -> None:
        note_run(out, VERB, ABOUT, sources.root, {**options, "anatomy": anatomy}, found, "cpu")

    started = time.perf_counter()
    note_first = note if overwrite or not out.exists() else None
    reports, failures = _work(run, waiting, out, rows, workers or usable_cores(), progress, note_first)
    result = RegisterResult(
        out=out if out.exists() else None,
        overlays=overlays,
        done=len(reports),
        searched=sum(report.method == "search" for report in reports),
        skipped=len(chosen) - len(waiting),
        without_images=without_images,
        start="search" if sources.start is None else str(sources.start),
        statuses=dict(Counter([*(str(report.quality.status) for report in reports), *["failed"] * len(failures)])),
        mirrored=warn_of_mirrored([report.id for report in reports if report.matches_mirrored], "pose"),
        frame=sources.frame.value,
        inter_plane=str(sources.inter_plane or "published"),
        seconds=round(time.perf_counter() - started, 3),
        poses=sorted(reports, key=lambda report: report.id),
        failures=sorted(failures, key=lambda failure: failure.id),
    )
    if waiting or not note_path(out, VERB).exists():
        note(result)
    return result


def _work(
    run: _Run,
    waiting: list[int],
    out: Path,
    rows: dict[int, dict[str, Any]],
    workers: int,
    progress: Progress,
    note_first: Callable[[], None] | None,
) -> tuple[list[PoseReport], list[PairFailure]]:
    """Register the pending pairs; ``rows`` and the file grow with each result.

    ``note_first`` is called before a new file is written: also one of a run that is killed says what it was made with.
    """
    image_io.use_single_threaded_codecs()
    if run.overlays and waiting:
        make_output_folder(run.overlays)
    reports: list[PoseReport] = []
    failures: list[PairFailure] = []
    kept = time.monotonic()

    def keep() -> None:
        nonlocal note_first
        if note_first:
            note_first()
            note_first = None
        write_result_rows(out, rows, _COLUMNS)

    try:
        with progress.task("registering", len(waiting), "pairs") as advance:
            for done in run_in_threads(run.one, waiting, workers):
                if isinstance(done, PairFailure):
                    failures.append(done)
                else:
                    reports.append(done)
                    rows[done.id] = run.row(done)
                advance(1)
                if time.monotonic() - kept > _KEEP_EVERY_S:
                    keep()
                    kept = time.monotonic()
    finally:
        if reports:
            keep()
    return reports, failures


class _Run:
    """Registers one pair at a time; called from several threads."""

    def __init__(self, starts: StartPoses, least_similarity: float, overlays: Path | None, fall_back: bool) -> None:
        self.starts, self.fall_back = starts, fall_back
        self.least_similarity, self.overlays = least_similarity, overlays

    def one(self, number: int) -> PoseReport | PairFailure:
        try:
            return self._register(number)
        except DataError as error:
            return PairFailure(number, error.message)

    def _register(self, number: int) -> PoseReport:
        starts, geometry = self.starts, self.starts.geometry
        cameras, mesh = geometry.cameras(number), geometry.implant(number).mesh
        view = ImplantView(starts.images(number), cameras, mesh)
        method, start, found, seen = self._found(number, view)
        refined = found.refined
        if self.overlays:
            outlines = [(mesh, start, BEFORE), (mesh, refined.pose, AFTER)]
            path = self.overlays / f"register_{number:06d}.png"
            image_io.write_image(path, np.concatenate(draw_planes(view.images, cameras, outlines), axis=1))
        status = status_of(refined.after_planes, found.margin, self.least_similarity)
        if status == "failed":
            near = ", and a start within about 5 mm and 5 degrees" if method == "start" else ""
            raise DataError(
                f"the best match has similarity {refined.after:.2f}, less than {self.least_similarity:g}: "
                f"is it the right implant, calibration, frame{near}?"
            )
        is_mirrored = gain_by_mirroring(seen, refined.pose, refined.per_mm) > 0
        status = "doubtful" if is_mirrored and status == "good" else status
        covariance = pose_covariance(view, refined.pose, refined.per_mm)
        quality = measured_quality(
            *(refined.pose, mesh, covariance, refined.after_planes, found.margin, status),
            lambda pose: starts.numbers(number, pose),
        )
        return PoseReport(
            id=number,
            anatomy_id=geometry.number(number, "anatomy_id"),
            start=starts.pose_cells(number, start),
            result=starts.pose_cells(number, refined.pose),
            similarity_before=round(refined.before, 5),
            similarity_after=round(refined.after, 5),
            displacement_mm=round(refined.displacement_mm, 5),
            rotation_deg=round(refined.rotation_deg, 5),
            method=method,
            quality=quality,
            matches_mirrored=is_mirrored,
        )

    def _found(self, number: int, view: ImplantView) -> tuple[str, NDArray[np.float64], FoundPose, ImplantView]:
        """How the pose was found, where the refinement began, the pose, and the view, with what was found beside it."""
        from_start: tuple[str, NDArray[np.float64], FoundPose, ImplantView] | None = None
        before, start = math.nan, None
        if self.starts.has_starts:
            start = self.starts.pose(number)
            _check_in_front(view.cameras, view.mesh, start)
            try:
                refined = refine(view.in_logarithms(), start, LOG_LEVELS)
            except DataError:
                if not self.fall_back:
                    raise
            else:
                before = refined.before
                found = compare_with_twins(view, refined)
                found = replace(found, refined=found.refined.since(start, before, view.mesh))
                from_start = "start", start, found, view
                is_good = status_of(found.refined.after_planes, found.margin, self.least_similarity) == "good"
                if is_good or not self.fall_back:
                    return from_start
        view = replace(view, beside=other_component(self.starts, number, view.images, view.cameras))
        found = search_pose(view)
        if from_start and from_start[2].refined.after >= found.refined.after:
            return from_start
        if start is not None:  # of the given start, not of what the search began with
            return "search", start, replace(found, refined=found.refined.since(start, before, view.mesh)), view
        return "search", found.start, found, view

    def row(self, report: PoseReport) -> dict[str, Any]:
        """The row of the CSV file: the start's row with the new pose and the report."""
        # Cell by cell, since extracting a row would convert integers to floats.
        table = self.starts.table
        start = {name: table.at[report.id, name] for name in table.columns} | {"id": report.id}
        row: dict[str, Any] = {name: start.get(name, "") for name in PUBLISHED_COLUMNS}
        row = {name: "" if pd.isna(value) else value for name, value in row.items()}
        row |= report.result | {f"start_{name}": value for name, value in report.start.items()}
        row |= {name: asdict(report)[name] for name in _REPORT_COLUMNS}
        return row | {"method": report.method} | asdict(report.quality)


def _check_in_front(cameras: DualPlane, mesh: Mesh, pose: NDArray[np.float64]) -> None:
    """Check that an implant is clearly on the detector's side of both sources."""
    corners = mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
    for plane in PLANES:
        depth = corners @ cameras.camera(plane).matrix[2, :3] + cameras.camera(plane).matrix[2, 3]
        if depth.min() < _LEAST_DEPTH_MM:
            raise DataError(
                f"the implant is at or behind the source of plane {plane}; are pose and --pose-frame right?"
            )
