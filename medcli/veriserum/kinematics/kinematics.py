"""Knee motion of a study from any pose table: ``medcli kinematics veriserum``."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medcli.core.errors import DataError, UsageError, quantity
from medcli.core.files import make_output_folder, write_json, write_text
from medcli.core.json_text import read_object, recorded_path, to_plain
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import note_path, note_run
from medcli.core.run_records.earlier_run import REMEDY, refuse_other_run
from medcli.veriserum.dataset.anatomies import KIND_OF, KINDS
from medcli.veriserum.dataset.publication import ABOUT
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.kinematics.axes_guess import KnownAxes, known_axes
from medcli.veriserum.kinematics.implant_axes import SCHEMA, read_axes
from medcli.veriserum.kinematics.joint_coordinates import SIDES
from medcli.veriserum.kinematics.knee_frames import KneeFrames, Pairing, choose_trials, pair_frames
from medcli.veriserum.kinematics.motion import DOUBTFUL, MISSING, KneeMotion, knee_motion, ranges_of
from medcli.veriserum.kinematics.pose_rows import read_pose_rows

_LOG = logging.getLogger(__name__)
VERB = "kinematics veriserum"
TABLE, SUMMARY, AXES = "kinematics.csv", "kinematics.json", "axes.json"


@dataclass(frozen=True)
class KinematicsSettings:
    """What is computed, and how; paths may be given as text.

    Raises:
        UsageError: ``side`` is no side.

    Attributes:
        poses: table of poses; None: the dataset's own.
        trials: only these; None: all.
        side: ``right`` or ``left``; None: as the pose table or the axes state it.
        axes: file of implant axes; None: all are guessed.
        implants: folder of ``ana_NNNNNN.stl``; None: below the data folder.
        frame_rate: per second; None: as the pose table states it.
        pairing: how femur and tibia are paired.
    """

    poses: Path | None = None
    trials: tuple[str, ...] | None = None
    side: str | None = None
    axes: Path | None = None
    implants: Path | None = None
    frame_rate: float | None = None
    pairing: Pairing = "auto"

    def __post_init__(self) -> None:
        if self.side is not None and self.side not in SIDES:
            raise UsageError(f"side {self.side!r} is not one of {', '.join(SIDES)}")
        for name in ("poses", "axes", "implants"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(value))


@dataclass(frozen=True)
class TrialMotion:
    """Summary of a trial; NaN where there is no value.

    Attributes:
        side: of the knee.
        frames: of the trial; of these ``missing`` have no coordinates, ``doubtful`` should be looked at.
        seconds: from the first to the last frame.
        ranges: column -> least and largest value.
        reasons: why frames are missing or doubtful, and how many.
        figure, mot: its files.
    """

    trial: str
    side: str
    frames: int
    missing: int
    doubtful: int
    seconds: float
    ranges: dict[str, tuple[float, float]]
    reasons: dict[str, int]
    figure: Path | None = None
    mot: Path | None = None


@dataclass(frozen=True)
class KinematicsResult:
    """Result of ``medcli kinematics veriserum``.

    Attributes:
        out: folder with ``kinematics.csv``, ``kinematics.json``, ``axes.json`` and the files of each trial.
        poses: where the poses are from.
        pairing: ``id``, ``measurement`` or ``order``.
        trials_by: how trials were told apart.
        axes: which axes were used.
        found_by: ``anatomy_id`` -> how its axes were found.
        frame_rate: per second; ``time_from``: where times are from.
        trials: one summary each.
        frames, missing, doubtful: of all trials.
        missing_reasons, doubtful_reasons: why, and how many frames each, the most frequent first.
        has_errors: whether the pose table has standard errors.
        warnings: what a reader of the numbers must know.
        failures: trials that could not be computed, one line each.
    """

    out: Path
    poses: str
    pairing: str
    trials_by: str
    axes: str
    found_by: dict[int, str]
    frame_rate: float
    time_from: str
    trials: list[TrialMotion]
    frames: int
    missing: int
    doubtful: int
    missing_reasons: dict[str, int]
    doubtful_reasons: dict[str, int]
    has_errors: bool
    seconds: float
    warnings: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    schema: str = "medcli.kinematics.v1"


@dataclass(frozen=True)
class ComputedMotion:
    """Motion with all that it was computed from."""

    motion: KneeMotion
    frames: KneeFrames
    known: KnownAxes
    source: str
    failures: tuple[str, ...]
    warnings: tuple[str, ...]


def compute_motion(study: VeriserumStudy, settings: KinematicsSettings, progress: Progress = SILENT) -> ComputedMotion:
    """The motion of the trials of a study, without writing anything.

    Raises:
        DataError: no table, no frame with both components, no trial of those asked for, or a file of axes that is
            broken or of another mesh.
    """
    kinds = _kinds(settings.axes)
    rows, source = read_pose_rows(study, settings.poses, kinds)
    frames = pair_frames(rows, study.contents, source, settings.pairing)
    frames, failures = choose_trials(frames, settings.trials)
    warnings = []
    if frames.alone:
        first = next(f"trial {trial}: {reason}" for trial, reason in frames.alone.items())
        warnings.append(f"{quantity(len(frames.alone), 'trial')} without any complete frame left out; {first}")
    at = frames.table[list(KINDS)].to_numpy().ravel()
    anatomies = {int(number) for number in rows["anatomy_id"].to_numpy()[at[at >= 0]]}
    known = known_axes(study.surfaces, anatomies, settings.axes, progress)
    _check_kinds(known, kinds)
    lacking = [text for anatomy, text in known.problems.items() if anatomy not in known.axes]
    if not all(any(kinds.get(number) == kind for number in known.axes) for kind in KINDS):
        raise DataError("; ".join(lacking[:2]), "get the surfaces, or state the axes: --axes axes.json")
    warnings += [f"anatomy {number}: {text}" for number, text in known.problems.items()]
    warnings += [f"anatomy {number}: {text}" for number, one in known.axes.items() for text in one.remarks]
    motion = knee_motion(frames, known, settings.side, settings.frame_rate)
    return ComputedMotion(motion, frames, known, source, tuple(failures), (*warnings, *motion.warnings))


def compute_kinematics(
    root: Path | str,
    out: Path | str,
    settings: KinematicsSettings | None = None,
    progress: Progress = SILENT,
    overwrite: bool = False,
) -> KinematicsResult:
    """Joint coordinates and low points of each trial: table, summary, figures and files for OpenSim.

    Where the same results are there, only files that are missing are written.

    Args:
        root: the dataset's folder.
        out: folder of the results.
        settings: what is computed.
        overwrite: replace the results of other settings or poses, and edited ones.

    Raises:
        UsageError: ``out`` has such results.
        DataError: see :func:`compute_motion`.
        MedcliError: the results cannot be written.
    """
    settings, root, out = settings or KinematicsSettings(), Path(root), Path(out)
    started = time.perf_counter()
    options = {"root": root, **vars(settings)}
    refuse_other_run(out, SUMMARY, VERB, options, overwrite)
    make_output_folder(out)
    computed = compute_motion(VeriserumStudy(root, implants=settings.implants), settings, progress)
    motion = computed.motion
    assumed = f"nothing states the frame rate: {motion.rate:g} per second is assumed (--frame-rate)"
    warnings = (*computed.warnings, *([assumed] if motion.time_from.endswith("assumed") else []))
    for warning in warnings:
        _LOG.warning("%s", warning)
    table = motion.table
    text = table.round(6).to_csv(index=False, lineterminator="\n")
    is_same = _holds(out, text, overwrite)
    before = [] if is_same else _files_of_trials(out)
    trials = _write_trials(out, computed, progress, is_same)
    for path in before:
        if path not in [file for one in trials for file in (one.figure, one.mot)]:
            path.unlink(missing_ok=True)
    if not is_same or not (out / AXES).is_file():
        write_json(out / AXES, {"schema": SCHEMA, "implants": computed.known.axes})
    if not is_same:
        write_text(out / TABLE, text)
    statuses = table["status"].value_counts()
    result = KinematicsResult(
        out=out,
        poses=computed.source,
        pairing=computed.frames.pairing,
        trials_by=computed.frames.trials,
        axes=computed.known.source,
        found_by={number: one.found_by for number, one in computed.known.axes.items()},
        frame_rate=motion.rate,
        time_from=motion.time_from,
        trials=trials,
        frames=len(table),
        missing=int(statuses.get(MISSING, 0)),
        doubtful=int(statuses.get(DOUBTFUL, 0)),
        missing_reasons=reasons_of(table, MISSING),
        doubtful_reasons=reasons_of(table, DOUBTFUL),
        has_errors=bool(table["se_flexion_deg"].notna().any()),
        seconds=round(time.perf_counter() - started, 3),
        warnings=warnings,
        failures=(*computed.failures, *_failed(trials)),
    )
    write_json(out / SUMMARY, without_time(result))
    if not is_same or not note_path(out, VERB).is_file():
        note_run(out, VERB, ABOUT, root, options)
    return result


def _holds(out: Path, text: str, overwrite: bool) -> bool:
    """Whether the table of the motion is there with this text; one with another text is refused."""
    path = out / TABLE
    if overwrite or not path.is_file():
        return False
    if path.read_text("utf-8") == text:
        return True
    raise UsageError(f"{path} has other values than these: it was edited, or made from other poses", REMEDY)


def _files_of_trials(out: Path) -> list[Path]:
    """Figures and .mot files that an earlier run says it left in the folder."""
    trials = read_object(out / SUMMARY).get("trials")
    listed = [one for one in trials if isinstance(one, dict)] if isinstance(trials, list) else []
    names = [recorded_path(one[kind]).name for one in listed for kind in ("figure", "mot") if one.get(kind)]
    return [out / name for name in names if name.startswith("trial_")]


def _kinds(axes: Path | None) -> dict[int, str]:
    """``anatomy_id`` -> kind: the published ones, and those of a file of axes."""
    return {**KIND_OF, **{number: one.kind for number, one in read_axes(axes).items()}} if axes else dict(KIND_OF)


def _check_kinds(known: KnownAxes, kinds: Mapping[int, str]) -> None:
    """A mesh that cannot be what it is listed as is said before a number is computed with it."""
    from medcli.veriserum.kinematics.surface_samples import SurfaceSamples
    from medcli.veriserum.kinematics.tray_axes import is_tray

    for number, mesh in known.meshes.items():
        if kinds[number] == "femur" and number in known.axes and is_tray(SurfaceSamples.of(mesh, 4000)):
            raise DataError(
                f"anatomy {number} is listed as femur, but its mesh looks like a tray",
                "correct its kind in the file of axes (--axes), or the name of its mesh",
            )


def _write_trials(out: Path, computed: ComputedMotion, progress: Progress, is_same: bool) -> list[TrialMotion]:
    """Summaries of the trials, whose files are written; those of the same motion are left where they are there."""
    from medcli.veriserum.kinematics.motion_figure import draw_motion
    from medcli.veriserum.kinematics.opensim_file import write_mot
    from medcli.veriserum.kinematics.tray_outline import tray_outline

    summaries = []
    groups = list(computed.motion.table.groupby("trial", sort=False))
    with progress.task("drawing trials", len(groups), "trials") as advance:
        for name, motion in groups:
            trial, side, stem = str(name), str(motion["side"].iloc[0]), f"trial_{file_stem(str(name))}"
            summary = summarise_trial(motion, trial, side)
            files: dict[str, Any] = {}
            if summary.missing < summary.frames:
                files = {"figure": out / f"{stem}.png", "mot": out / f"{stem}.mot"}
                title = (
                    f"trial {trial}, {side} knee, {quantity(summary.frames, 'frame')}; axes: {computed.known.source}"
                )
                words = computed.motion.time_from
                if not is_same or not files["figure"].is_file():
                    draw_motion(motion, title, files["figure"], tray_outline(motion, computed.known))
                if not is_same or not files["mot"].is_file():
                    write_mot(motion, f"trial {trial}", side, words, computed.known.source, files["mot"])
            summaries.append(TrialMotion(**{**summary.__dict__, **files}))
            advance(1)
    return summaries


def summarise_trial(motion: pd.DataFrame, trial: str, side: str) -> TrialMotion:
    """Counts and ranges of a trial's rows."""
    return TrialMotion(
        trial=trial,
        side=side,
        frames=len(motion),
        missing=int((motion["status"] == MISSING).sum()),
        doubtful=int((motion["status"] == DOUBTFUL).sum()),
        seconds=round(float(motion["time_s"].max() - motion["time_s"].min()), 6),
        ranges=ranges_of(motion),
        reasons=reasons_of(motion),
    )


def reasons_of(motion: pd.DataFrame, status: str | None = None) -> dict[str, int]:
    """Why frames are missing or doubtful, or of this status, and how many; the most frequent reason first."""
    mine = motion if status is None else motion[motion["status"] == status]
    counts = (
        mine.loc[mine["reason"] != "", "reason"].value_counts(sort=False).sort_values(ascending=False, kind="stable")
    )
    return {str(reason): int(count) for reason, count in counts.items()}


def without_time(result: Any) -> dict[str, Any]:
    """A result as its file holds it: the same for the same motion; the note of the run has its time."""
    return {name: value for name, value in to_plain(result).items() if name != "seconds"}


def file_stem(trial: str) -> str:
    """A trial's name in the names of files: numbers with six digits, other characters than letters replaced."""
    return f"{int(trial):06d}" if trial.isdecimal() else re.sub(r"[^\w.-]+", "_", trial)[:60]


def _failed(trials: Sequence[TrialMotion]) -> list[str]:
    """A line for each trial without any coordinates."""
    return [
        f"trial {one.trial}: no frame could be used; {next(iter(one.reasons), 'no reason given')}"
        for one in trials
        if one.missing == one.frames
    ]
