"""Track both components of a knee through the trials of a study (``medcli register trial``)."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core import image_io
from medcli.core.errors import DataError, UsageError, quantity
from medcli.core.files import make_output_folder, usable_cores
from medcli.core.mesh import Mesh
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import note_run
from medcli.core.run_records.earlier_run import refuse_other_run
from medcli.core.threads import run_in_threads
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS
from medcli.veriserum.dataset.pose_tables import PUBLISHED_COLUMNS, read_result_rows, write_result_rows
from medcli.veriserum.dataset.publication import ABOUT
from medcli.veriserum.dataset.trial_splits import as_ranges, find_trials, rows_of_trials, trial_names
from medcli.veriserum.registration.companions import one_of_each, refuse_other_components
from medcli.veriserum.registration.mirrored_images import warn_of_mirrored
from medcli.veriserum.registration.pose_quality import PoseQuality, measured_quality, pose_covariance, status_of
from medcli.veriserum.registration.register import PairFailure
from medcli.veriserum.registration.start_poses import Sources, StartPoses, select
from medcli.veriserum.registration.trial_motion import Intersection, smoothed
from medcli.veriserum.registration.trial_overlays import draw_frame, write_strip, write_video
from medcli.veriserum.registration.trial_tracking import TrackedPose, TrialInput, TrialTracker

VERB = "register trial"
_LOG = logging.getLogger(__name__)
_TRIAL_COLUMNS = ("method", *(field.name for field in fields(PoseQuality)), "intersection_mm")
COLUMNS = (*PUBLISHED_COLUMNS, *_TRIAL_COLUMNS)
"""Columns of the table that ``medcli register trial`` writes."""
_NUMBERS = 5  # decimals


@dataclass(frozen=True)
class TrackedTrial:
    """One trial of a run.

    Attributes:
        first_id: names the trial; ``ids`` are ranges of its frames.
        anatomies: ``anatomy_id`` of its components.
        statuses: number of frames and components by status; ``failed`` ones have no pose.
        failures: id -> why a frame has no pose, or lacks one component.
        matches_mirrored: whether its images match better when both are mirrored; then no pose of it is good.
        deepest_mm: deepest intersection of the components; NaN: only one.
        seconds: of the tracking, with drawing.
    """

    first_id: int
    ids: str
    anatomies: list[int]
    statuses: dict[str, int]
    failures: dict[int, str]
    deepest_mm: float
    seconds: float
    matches_mirrored: bool = False


@dataclass(frozen=True)
class RegisterTrialResult:
    """Result of a run.

    Attributes:
        trials: tracked by this run; ``skipped`` were in the file already.
        failures: trials without any pose, by their first id, and why.
        rule: the column that defines the trials.
    """

    out: Path
    overlays: Path | None
    skipped: int
    rule: str
    planes: list[str]
    smooth: bool
    frame: str
    inter_plane: str
    seconds: float
    trials: list[TrackedTrial]
    failures: list[PairFailure]
    schema: str = "medcli.register-trial.v1"


def register_trials(
    sources: Sources,
    out: Path,
    ids: Sequence[tuple[int, int]] | None = None,
    anatomies: Sequence[int] | None = None,
    least_similarity: float = 0.5,
    smooth: bool = False,
    overlays: Path | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
    named: Sequence[str] | None = None,
) -> RegisterTrialResult:
    """Track the components of each trial and write all poses to one CSV file, a row for each frame and component.

    Args:
        sources: images, tables and implants; the pose table names the trials, calibrations and, unless given, implants.
        out: the CSV file; trials with all frames in it are skipped, and it is written after each trial. One that was
            made from other sources or with other settings is refused: its rows would not be told apart.
        ids: (first, last) ranges; None: every pair with images that is not obsolete.
        anatomies: a femoral and a tibial component, or one of them; None: those that the pose table has for the trial.
        least_similarity: what matches less in the mean of the planes has no pose and the status ``failed``.
        smooth: write the poses of a smoothing spline through each trial, weighted by their standard errors.
        overlays: folder for a strip and a video of each trial.
        workers: trials at a time.
        named: only these trials, by their names; with ``ids``, what both choose.

    Raises:
        DataError: a table is missing, a trial is not there, or there is nothing to do.
        UsageError: ``out`` is no CSV file, or was made otherwise, or has other components of these trials; or
            ``anatomies`` are not one femoral or tibial component or both.
    """
    if out.suffix.lower() != ".csv":
        raise UsageError(f"{out} is not a CSV file", "name a file with --out trials.csv")
    given = None if anatomies is None else one_of_each(list(anatomies), "--anatomies")
    options = {**asdict(sources), "least_similarity": least_similarity, "smooth": smooth}
    refuse_other_run(out, "", VERB, options, overwrite)
    starts = StartPoses(sources)
    chosen, _ = select(starts, ids, None)
    trials = find_trials(starts.table, starts.study.contents)
    of_named = rows_of_trials(trial_names(starts.table, trials), named, trials.rule, "the pose table")
    groups: dict[int, list[int]] = {}
    for number in sorted({*chosen} & {*starts.table.index[of_named].tolist()}):
        groups.setdefault(int(trials.of[number]), []).append(number)
    what = ("tracked trials", "table of tracked poses")
    rows = {} if overwrite else read_result_rows(out, *what, COLUMNS, COLUMNS, _key)
    waiting = [group for group in groups.values() if not {*group} <= {number for number, _ in rows}]
    if not groups:
        raise DataError("no frame of these trials has one of these ids", "check --trials and --ids")
    kept = [group for group in groups.values() if group not in waiting]
    refuse_other_components(given, [number for group in kept for number in group], rows, out)
    if overlays and not all((overlays / f"trial_{group[0]:06d}.png").is_file() for group in kept):
        count = quantity(len(kept), "trial")
        _LOG.warning("%s in %s kept as made, not drawn by this run (--overwrite tracks again)", count, out)

    def note(found: RegisterTrialResult | None = None) -> None:
        note_run(out, VERB, ABOUT, sources.root, {**options, "anatomies": anatomies}, found, "cpu")

    for folder in (out.parent, *([overlays] if overlays and waiting else [])):
        make_output_folder(folder)
    run = _TrialRun(starts, given, least_similarity, smooth, overlays)
    image_io.use_single_threaded_codecs()
    began = time.perf_counter()
    done: list[TrackedTrial] = []
    with progress.task("tracking", sum(map(len, waiting)), "frames") as advance:
        run.advance = advance
        for trial, found in run_in_threads(run.one, waiting, workers or usable_cores()):
            rows |= found
            if not done and (overwrite or not out.exists()):
                note()  # also a table of a run that is killed says what it was made with
            done.append(trial)
            write_result_rows(out, rows, COLUMNS)
    result = RegisterTrialResult(
        out=out,
        overlays=overlays if waiting else None,
        skipped=len(groups) - len(waiting),
        rule=trials.rule,
        planes=list(sources.planes),
        smooth=smooth and bool(waiting),
        frame=sources.frame.value,
        inter_plane=str(sources.inter_plane or "published"),
        seconds=round(time.perf_counter() - began, 3),
        trials=sorted(done, key=lambda trial: trial.first_id),
        failures=_without_poses(done),
    )
    warn_of_mirrored([trial.first_id for trial in done if trial.matches_mirrored], "trial")
    if waiting:
        note(result)
    return result


def _without_poses(trials: Sequence[TrackedTrial]) -> list[PairFailure]:
    """Trials without any pose; of the others, warn of frames that lack one."""
    failed = []
    for trial in sorted(trials, key=lambda one: one.first_id):
        if not trial.failures:
            continue
        number, reason = next(iter(trial.failures.items()))
        if set(trial.statuses) <= {"failed"}:
            failed.append(PairFailure(trial.first_id, f"no pose in this trial: {reason}"))
        else:
            count = quantity(len(trial.failures), "frame")
            _LOG.warning(
                "trial of id %d: %s without a pose of each component; id %d: %s", trial.first_id, count, number, reason
            )
    return failed


class _TrialRun:
    """Tracks one trial at a time; called from several threads."""

    def __init__(
        self,
        starts: StartPoses,
        given: list[int] | None,
        least_similarity: float,
        smooth: bool,
        overlays: Path | None,
    ) -> None:
        self.starts, self.given, self.least = starts, given, least_similarity
        self.smooth, self.overlays = smooth, overlays
        self.advance: Any = lambda count: None

    def one(self, ids: list[int]) -> tuple[TrackedTrial, dict[tuple[int, int], dict[str, Any]]]:
        """A trial and its rows."""
        began = time.perf_counter()
        try:
            trial = self._input(ids)
        except DataError as error:
            self.advance(len(ids))
            return TrackedTrial(ids[0], as_ranges(ids), [], {}, {ids[0]: error.message}, np.nan, 0.0), {}
        tracker = TrialTracker(trial, least_similarity=self.least, advance=self.advance)
        found = tracker.run()
        rows = self._rows(trial, found)
        for row in rows.values() if tracker.matches_mirrored else ():
            row["status"] = "doubtful" if row["status"] == "good" else row["status"]
        statuses = Counter(str(row["status"]) for row in rows.values())
        depths = [float(row["intersection_mm"]) for row in rows.values() if row.get("intersection_mm", "") != ""]
        if self.overlays:
            self._draw(trial, rows)
        report = TrackedTrial(
            first_id=ids[0],
            ids=as_ranges(ids),
            anatomies=list(trial.meshes),
            statuses={name: count for name, count in statuses.items() if count},
            failures=dict(sorted(tracker.failures.items())),
            deepest_mm=max(depths, default=np.nan),
            seconds=round(time.perf_counter() - began, 3),
            matches_mirrored=tracker.matches_mirrored,
        )
        return report, rows

    def _input(self, ids: list[int]) -> TrialInput:
        surfaces = self.starts.study.surfaces
        anatomies = self.given or one_of_each(self.starts.study.components(ids), f"trial of id {ids[0]}")
        meshes = {anatomy: surfaces.implant(anatomy).mesh for anatomy in anatomies}
        return TrialInput(ids, self.starts.images, self.starts.geometry.cameras(ids[0]), meshes)

    def _rows(
        self, trial: TrialInput, found: Mapping[int, Mapping[int, TrackedPose]]
    ) -> dict[tuple[int, int], dict[str, Any]]:
        """(id, anatomy) -> the row of the table."""
        poses: dict[tuple[int, int], NDArray[np.float64]] = {}
        covariances: dict[tuple[int, int], NDArray[np.float64]] = {}
        for anatomy, mesh in trial.meshes.items():
            places = sorted(found[anatomy])
            mine = [self._covariance(trial, place, anatomy, found[anatomy][place]) for place in places]
            path = [found[anatomy][place].pose for place in places]
            if self.smooth:
                path = smoothed(places, path, mine, mesh.bounds.mean(axis=0))
            for place, pose, covariance in zip(places, path, mine, strict=True):
                poses[place, anatomy], covariances[place, anatomy] = pose, covariance
        depths = self._depths(trial, poses)
        failed: dict[tuple[int, int], dict[str, Any]] = {
            (number, anatomy): self._known_cells(number, anatomy) | {"status": "failed"}
            for number in trial.frames
            for anatomy in trial.meshes
        }
        return failed | {
            (trial.frames[place], anatomy): self._row(
                trial, place, anatomy, pose, covariances[place, anatomy], found[anatomy][place], depths.get(place, "")
            )
            for (place, anatomy), pose in sorted(poses.items())
        }

    def _covariance(self, trial: TrialInput, place: int, anatomy: int, found: TrackedPose) -> NDArray[np.float64]:
        return pose_covariance(trial.view(place, anatomy, found.beside), found.pose, found.per_mm)

    def _depths(self, trial: TrialInput, poses: Mapping[tuple[int, int], NDArray[np.float64]]) -> dict[int, float]:
        if len(trial.meshes) < 2:
            return {}
        (first, inner), (second, outer) = trial.meshes.items()
        intersection = Intersection(inner, outer)
        both = [place for place, anatomy in poses if anatomy == first and (place, second) in poses]
        return {place: round(intersection.depth_mm(poses[place, first], poses[place, second]), 3) for place in both}

    def _row(
        self,
        trial: TrialInput,
        place: int,
        anatomy: int,
        pose: NDArray[np.float64],
        covariance: NDArray[np.float64],
        found: TrackedPose,
        depth: float | str,
    ) -> dict[str, Any]:
        number = trial.frames[place]
        status = status_of(found.by_plane, found.margin, self.least)
        quality = measured_quality(
            *(pose, trial.meshes[anatomy], covariance, found.by_plane, found.margin, status),
            lambda one: self.starts.numbers(number, one),
        )
        row = self._known_cells(number, anatomy) | self.starts.pose_cells(number, pose)
        return row | {"method": found.method} | asdict(quality) | {"intersection_mm": depth}

    def _known_cells(self, number: int, anatomy: int) -> dict[str, Any]:
        """The cells of the published columns but the pose."""
        table = self.starts.table
        known: dict[str, Any] = {str(name): table.at[number, name] for name in table.columns}
        known |= {"id": number, "anatomy_id": anatomy} | dict.fromkeys(POSE_COLUMNS, "")
        return {name: "" if pd.isna(known.get(name, "")) else known.get(name, "") for name in PUBLISHED_COLUMNS}

    def _draw(self, trial: TrialInput, rows: Mapping[tuple[int, int], Mapping[str, Any]]) -> None:
        """``trial_000001.png`` and ``trial_000001.mp4``."""
        assert self.overlays is not None

        def draw(number: int) -> NDArray[np.uint8] | None:
            try:
                images = trial.images(number)
            except DataError:
                return None
            placed: list[tuple[Mesh, NDArray[np.float64]]] = []
            for anatomy, mesh in trial.meshes.items():
                if rows[number, anatomy]["status"] != "failed":
                    placed.append((mesh, self.starts.matrix(number, rows[number, anatomy])))
            return draw_frame(images, trial.cameras, placed)

        name = self.overlays / f"trial_{trial.frames[0]:06d}"
        write_strip(name.with_suffix(".png"), trial.frames, draw)
        write_video(name.with_suffix(".mp4"), trial.frames, draw)


def _key(row: Mapping[str, str]) -> tuple[int, int]:
    """Id and anatomy."""
    return int(row["id"]), int(row["anatomy_id"])
