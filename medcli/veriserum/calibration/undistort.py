"""Correct the distortion of every image of a Veriserum folder (``medcli calibrate veriserum``).

The result of ``resample="reference"`` equals the published procedure bit for bit: intensities divided by the plane's
maximum (if neither plane is black), each pixel of a 1600 x 1600 grid takes the nearest mapped native pixel, bilinear
reduction to 512 x 512, truncation to 8 bits.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core import image_io
from medcli.core.errors import DISK_FULL, DataError, MedcliError, UsageError, system_failure
from medcli.core.files import make_output_folder, usable_cores
from medcli.core.image_formats.jpeg import jpeg_header
from medcli.core.locks import taking_turns
from medcli.core.made_with import reject_other_options
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import note_path, note_run
from medcli.core.threads import run_in_threads
from medcli.veriserum.calibration import output_manifest
from medcli.veriserum.calibration.distortion_table import DistortionTable
from medcli.veriserum.calibration.output_manifest import OutputManifest
from medcli.veriserum.calibration.undistort_plan import (
    CalibrationSettings,
    ImageFailure,
    ImageSelection,
    Job,
    UndistortionPlan,
    make_plan,
    output_name,
)
from medcli.veriserum.calibration.undistorted_pairs import Undistorter
from medcli.veriserum.calibration.undistortion_map import AreaMap
from medcli.veriserum.dataset.publication import ABOUT

__all__ = ["CalibrationResult", "CalibrationSettings", "ImageFailure", "ImageSelection", "calibrate", "output_name"]
_LOG = logging.getLogger(__name__)
_MAPS_IN_MEMORY = 6  # jobs are sorted by calibration, so only two planes of one or two calibrations are in use
_MAPS_AT_A_TIME = 4  # building a map takes 50 MB


@dataclass(frozen=True)
class CalibrationResult:
    """Result of a run; counts are images.

    Attributes:
        done: written by this run (in a dry run: to be written).
        skipped: already existing.
        poses, distortion: the tables that were read.
        obsolete: omitted because the pose is marked obsolete.
        colour: colour images that were read as grey.
        calibrations: ids of the calibrations used.
        seconds, images_per_second: of the calibration itself, without the preparation.
    """

    root: Path
    out: Path
    poses: Path
    distortion: Path
    done: int
    skipped: int
    failed: int
    obsolete: int
    colour: int
    calibrations: list[int]
    seconds: float
    images_per_second: float
    dry_run: bool
    settings: CalibrationSettings
    failures: list[ImageFailure]
    schema: str = "medcli.calibrate.v1"


def calibrate(
    root: Path,
    out: Path | None = None,
    settings: CalibrationSettings | None = None,
    selection: ImageSelection | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> CalibrationResult:
    """Correct the distortion of the images below ``root``.

    Args:
        root: folder with images and tables (in any subfolder).
        out: folder for ``calibrated_bs_NNNNNN.jpg``; default ``root/calibrated``.
        settings: size, format and resampling.
        selection: ids, planes and tables.
        workers: number of threads; default: one per usable core.
        overwrite: replace existing images.
        dry_run: plan only; write nothing.

    Raises:
        DataError: no images, no tables, or tables that cannot be read.
        MedcliError: the output folder cannot be written to, or the disk is full.
        UsageError: the output folder contains images made with other options.
    """
    settings, selection = settings or CalibrationSettings(), selection or ImageSelection()
    out = out or root / "calibrated"
    plan = make_plan(root, out, settings, selection, overwrite)
    run = _Run(out, settings, plan, workers or usable_cores())
    with taking_turns(out):  # jobs of a cluster write into one folder at once
        manifest, outdated = _agree(out, plan, settings, overwrite)
        if not dry_run:
            run.begin(manifest, outdated)
    started = time.perf_counter()
    if not dry_run:
        run.prepare(progress)
        started = time.perf_counter()
        run.work(progress)
        run.end()
    result = _result(root, run, dry_run, time.perf_counter() - started)
    if not dry_run and (result.done or not note_path(out, "calibrate veriserum").exists()):
        note_run(out, "calibrate veriserum", ABOUT, root, settings, result, "cpu")
    return result


def _result(root: Path, run: _Run, dry_run: bool, seconds: float) -> CalibrationResult:
    plan = run.plan
    failures = sorted([*plan.failures, *run.failures], key=lambda failure: (failure.id, failure.plane))
    done = plan.images if dry_run else run.done
    return CalibrationResult(
        root=root,
        out=run.out,
        poses=plan.pose_file,
        distortion=plan.table_file,
        done=done,
        skipped=plan.skipped,
        failed=len(failures),
        obsolete=plan.obsolete,
        colour=run.colour,
        calibrations=sorted({number for number, _ in plan.keys}),
        seconds=round(seconds, 3),
        images_per_second=round(done / seconds, 1) if done and not dry_run else 0.0,
        dry_run=dry_run,
        settings=run.settings,
        failures=failures,
    )


def _agree(
    out: Path, plan: UndistortionPlan, settings: CalibrationSettings, overwrite: bool
) -> tuple[OutputManifest, set[str]]:
    """The manifest of the folder after this run, and the names of images that must be deleted first.

    Raises:
        UsageError: images that remain were made with other options.
        DataError: images remain, and their manifest cannot be read.
    """
    options, fingerprints = settings.pixel_options, plan.fingerprints()
    replaced = plan.there & plan.targets(settings)  # only with overwrite
    staying = plan.there - replaced
    try:
        present = output_manifest.read(out)
    except DataError:
        if staying:
            raise
        present = None
    differing = present.differing(options, fingerprints) if present else []
    if not staying and not replaced and present and not differing:
        return present.joined(fingerprints), set()  # another process is about to write the images of its part
    if not staying:
        # An interruption must not leave images made with other options under the new manifest.
        outdated = replaced if differing or not present else set()
        return OutputManifest(options).joined(fingerprints), outdated
    chosen = "images outside the selection would remain: select all of them, or choose another --out"
    remedy = chosen if overwrite else "use --overwrite to make all of them again, or another --out"
    if present is None:
        unknown = f"{out} contains calibrated images, but no {output_manifest.NAME} with their options"
        raise UsageError(unknown, remedy)
    reject_other_options(out, differing, remedy)
    return present.joined(fingerprints), set()


class _Run:
    """The calibration of pairs, shared by the threads."""

    def __init__(self, out: Path, settings: CalibrationSettings, plan: UndistortionPlan, workers: int) -> None:
        self.out, self.settings, self.plan, self.workers = out, settings, plan, workers
        self.undistorter = Undistorter(settings.size, settings.resample, _MAPS_IN_MEMORY)
        self.failures: list[ImageFailure] = []
        self.done = 0
        self.colour = 0

    def begin(self, manifest: OutputManifest, outdated: set[str]) -> None:
        """Prepare folder and manifest."""
        make_output_folder(self.out)
        for name in outdated:
            (self.out / name).unlink()
        output_manifest.write(self.out, manifest)

    def end(self) -> None:
        """Name the calibrations of these images again, where a process on another machine replaced the manifest."""
        with taking_turns(self.out):
            present = output_manifest.read(self.out)
            if present is not None:
                output_manifest.write(self.out, present.joined(self.plan.fingerprints()))

    def prepare(self, progress: Progress) -> None:
        """Prepare maps before the first image."""
        image_io.use_single_threaded_codecs()
        needed = {(job.calibration, plane) for job in self.plan.jobs for plane in job.planes}
        if self.settings.mask:
            needed |= {key for key in self.plan.keys if not self._mask_file(*key).exists()}
        with progress.task("preparing maps", len(needed), "maps") as advance:
            workers = min(self.workers, _MAPS_AT_A_TIME)
            for number, plane in run_in_threads(self._prepare_map, sorted(needed), workers):
                advance(1)
                _LOG.debug("map of calibration %d, plane %s, is ready", number, plane)

    def _mask_file(self, number: int, plane: str) -> Path:
        return self.out / f"mask_{plane}_calibration_{number:02d}.png"

    def _prepare_map(self, key: tuple[int, str]) -> tuple[int, str]:
        number, plane = key
        ready = self.undistorter.map_of(self.plan.distortions.get(number, plane))
        if self.settings.mask and isinstance(ready, AreaMap):
            image_io.write_image(self._mask_file(number, plane), ready.inside.astype(np.uint8) * 255)
        return key

    def work(self, progress: Progress) -> None:
        with progress.task("calibrating", self.plan.images, "images") as advance:
            for job, done, colour, failures in run_in_threads(self._do, self.plan.jobs, self.workers):
                self.done += done
                self.colour += colour
                self.failures += failures
                advance(len(job.planes))
        if self.colour:
            _LOG.warning("%d colour images were read as grey", self.colour)

    def _do(self, job: Job) -> tuple[Job, int, int, list[ImageFailure]]:
        """Calibrate one pair; the planes fail independently."""
        sources, colour, failures = _read_pair(job, self.plan.distortions)
        models = {plane: self.plan.distortions.get(job.calibration, plane) for plane in job.planes}
        done = 0
        for plane, corrected in self.undistorter.pair(sources, models).items():
            target = self.out / output_name(job.id, plane, self.settings)
            try:
                image_io.write_image(target, corrected, self.settings.quality)
                done += 1
            except MedcliError as error:
                failures.append(ImageFailure(job.id, plane, error.message))
            except OSError as error:
                if error.errno in DISK_FULL:
                    raise system_failure(error, target) or error from error
                failures.append(ImageFailure(job.id, plane, f"cannot write {target.name}: {error.strerror or error}"))
        return job, done, colour, failures


def _read_pair(job: Job, distortions: DistortionTable) -> tuple[dict[str, NDArray[np.uint8]], int, list[ImageFailure]]:
    """Both planes of a pair, since the published scaling depends on whether either is black.

    A missing or unreadable plane counts as not black: the other is scaled by its own maximum.
    """
    sources: dict[str, NDArray[np.uint8]] = {}
    failures, colour = [], 0
    for plane, path in job.images.items():
        try:
            content = image_io.read_content(path)
            image = image_io.decode_grey(content, path)
            distortions.check_size(image, path)
            sources[plane] = image
        except DataError as error:
            if plane in job.planes:
                failures.append(ImageFailure(job.id, plane, error.message))
            continue
        header = jpeg_header(content)
        colour += plane in job.planes and header is not None and header.channels > 1
    return sources, colour, failures
