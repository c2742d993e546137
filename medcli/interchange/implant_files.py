"""Implants' poses and cameras for JTML, Autoscoper and 3D Slicer, a folder each trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medcli.core.errors import UsageError
from medcli.core.folders.whole_folder import replacing_folder
from medcli.core.mesh import write_stl
from medcli.core.progress import SILENT, Progress
from medcli.interchange.autoscoper_files import write_maya_cam, write_tra
from medcli.interchange.implant_trials import FRAMES, ImplantSources, ImplantTrial, read_implant_trials, write_frames
from medcli.interchange.jtml_files import HEADERS, write_jointtrack_calibration, write_jts
from medcli.interchange.notes import check_made_folder, check_slicer_packages, write_made_note
from medcli.interchange.slicer_files import (
    TRANSFORM_SUFFIXES,
    write_markups,
    write_transform,
    write_transform_sequence,
)
from medcli.veriserum.dataset.detector import GRID_SPAN_MM, PLANES
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.geometry.biplane import ImageGrid
from medcli.veriserum.kinematics.motion import ASSUMED_RATE

PROGRAMS = {
    "jtml": "medcli convert jtml",
    "autoscoper": "medcli convert autoscoper",
    "slicer": "medcli convert slicer-veriserum",
}
"""Programs, and the command of each."""


@dataclass(frozen=True)
class ConvertedTrial:
    """A trial that was written: its folder, frames, missing poses, and the implants by kind."""

    trial: str
    out: Path
    frames: int
    missing: int
    anatomies: dict[str, int]


@dataclass(frozen=True)
class ConvertedTrials:
    """The answer of ``medcli convert jtml``, ``autoscoper`` and ``slicer-veriserum``.

    Attributes:
        program: for which.
        poses: the table; ``trials_by``: how trials were told apart.
        frame: in what coordinates the files are.
        failures: trials that could not be converted, one line each.
    """

    root: Path
    out: Path
    program: str
    poses: str
    trials_by: str
    frame: str
    trials: tuple[ConvertedTrial, ...]
    failures: tuple[str, ...] = ()
    schema: str = "medcli.convert-implants.v1"


_FRAMES = {
    "jtml": "of each plane: origin at its source, x right, y up, z towards the source, mm",
    "autoscoper": "world: plane bs, x right, y up, z towards its source, mm",
    "slicer": "world (plane bs) taken as LPS, mm; .seq.mha in RAS, to parent; .tfm and .h5 in LPS, from parent",
}


@dataclass(frozen=True)
class ImplantFileSettings:
    """What to write.

    Attributes:
        size: pixels along each side of the calibrated images that are used with the files.
        format: of poses (``jts``, ``jtak``), or of single transforms (``tfm``, ``h5``).
        frame_rate: per second, for sequences of poses without times; None: 25.
    """

    size: int = 512
    format: str = ""
    frame_rate: float | None = None


def convert_implants(
    sources: ImplantSources,
    out: Path,
    program: str,
    settings: ImplantFileSettings = ImplantFileSettings(),
    trials: Sequence[str] | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> ConvertedTrials:
    """Write a folder for each trial, whole or not at all.

    Args:
        program: one of :data:`PROGRAMS`.
        trials: their names; None: all.

    Raises:
        DataError: see :func:`read_implant_trials`.
        UsageError: a folder exists and may not be replaced.
        MedcliError: a library is not installed.
    """
    formats = {"jtml": tuple(HEADERS), "autoscoper": ("tra",), "slicer": TRANSFORM_SUFFIXES}[program]
    suffix = settings.format or formats[0]
    if suffix not in formats:
        raise UsageError(f"--format is {suffix}, expected {' or '.join(formats)}")
    if program == "slicer":
        check_slicer_packages()
    found = read_implant_trials(sources, trials)
    for trial in found.trials:
        check_made_folder(out / trial.stem, overwrite, PROGRAMS[program])
    done = []
    with progress.task(f"for {program}", len(found.trials), "trials") as advance:
        for trial in found.trials:
            result = ConvertedTrial(trial.name, out / trial.stem, len(trial.ids), trial.missing, dict(trial.anatomies))
            with replacing_folder(out / trial.stem) as part:
                _WRITERS[program](part, trial, found.study, suffix, settings)
                write_frames(part / FRAMES, trial)
                write_made_note(part, result, PROGRAMS[program])
            done.append(result)
            advance(1)
    return ConvertedTrials(
        root=sources.root,
        out=out,
        program=program,
        poses=found.source,
        trials_by=found.rule,
        frame=_FRAMES[program],
        trials=tuple(done),
        failures=found.failures,
    )


def _for_jtml(
    part: Path, trial: ImplantTrial, study: VeriserumStudy, suffix: str, settings: ImplantFileSettings
) -> None:
    for plane in PLANES:
        (part / plane).mkdir()
        camera = trial.cameras.camera(plane)
        write_jointtrack_calibration(part / plane / "calibration.txt", camera, ImageGrid.calibrated(settings.size))
        for kind, poses in trial.poses.items():
            write_jts(part / plane / f"{kind}.{suffix}", poses, camera)


def _for_autoscoper(
    part: Path, trial: ImplantTrial, study: VeriserumStudy, suffix: str, settings: ImplantFileSettings
) -> None:
    for plane in PLANES:
        camera = trial.cameras.camera(plane)
        write_maya_cam(part / f"mayacam_{plane}.txt", camera, ImageGrid.calibrated(settings.size))
    for kind, poses in trial.poses.items():
        write_tra(part / f"{kind}.{suffix}", poses)


def _for_slicer(
    part: Path, trial: ImplantTrial, study: VeriserumStudy, suffix: str, settings: ImplantFileSettings
) -> None:
    (part / "transforms").mkdir()
    stated = np.isfinite(trial.times_s).all()
    counted = (np.array(trial.ids) - trial.ids[0]) / (settings.frame_rate or ASSUMED_RATE)
    times = trial.times_s if stated and settings.frame_rate is None else counted
    for kind, poses in trial.poses.items():
        name = f"{kind.capitalize()}ToWorld"
        write_transform_sequence(part / f"{name}.seq.mha", name, poses, times.tolist())
        for number, pose in zip(trial.ids, poses, strict=True):
            if np.isfinite(pose).all():
                write_transform(part / "transforms" / f"{name}_{number:06d}.{suffix}", pose)
        anatomy = trial.anatomies[kind]
        if anatomy in study.surfaces.files:
            write_stl(study.surfaces.implant(anatomy).mesh, part / f"{kind}.stl")
    points = {}
    for plane in PLANES:
        camera = trial.cameras.camera(plane)
        points[f"source {plane}"] = camera.source_mm
        half = GRID_SPAN_MM / 2
        for words, h, v in (("top left", -half, half), ("top right", half, half), ("bottom right", half, -half)):
            points[f"{plane} {words}"] = (camera.plane.to_world @ [h, v, 0, 1])[:3]
    write_markups(part / "planes.mrk.json", points)


_WRITERS: dict[str, Callable[[Path, ImplantTrial, VeriserumStudy, str, ImplantFileSettings], None]] = {
    "jtml": _for_jtml,
    "autoscoper": _for_autoscoper,
    "slicer": _for_slicer,
}
