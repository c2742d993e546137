"""Correct the distortion of every image of a Veriserum folder (``medcli calibrate veriserum``).

The result of ``resample="reference"`` equals the published procedure bit for bit: intensities divided by the plane's
maximum (if both planes have any), each pixel of a 1600 x 1600 grid takes the nearest mapped native pixel, bilinear
reduction to 512 x 512, truncation to 8 bits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli import images
from medcli.errors import DataError, MedcliError
from medcli.files import DISK_FULL, make_output_folder, remove_left_overs, usable_cores
from medcli.parallel import run_in_threads
from medcli.progress import SILENT, Progress
from medcli.veriserum import index, manifest
from medcli.veriserum.distortion import NATIVE_HEIGHT, NATIVE_WIDTH, PLANES, Distortion
from medcli.veriserum.maps import AreaMap, Map, load_or_build

_LOG = logging.getLogger(__name__)
OUTPUT_PREFIX = "calibrated_"
_MAPS_IN_MEMORY = 6  # jobs are sorted by calibration, so two planes of one or two calibrations are in use


@dataclass(frozen=True)
class CalibrationSettings:
    """What decides the pixels of the result; the defaults are the published ones.

    Attributes:
        size: output pixels along each side, 1 to 1600.
        format: "jpg" or "png".
        quality: JPEG quality, 0 to 100.
        resample: "reference" (the published pixels) or "area" (anti-aliased, black outside the field of view).
        mask: with "area", also write the field of view of each calibration and plane.
    """

    size: int = 512
    format: str = "jpg"
    quality: int = 95
    resample: str = "reference"
    mask: bool = False

    @property
    def pixel_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"size": self.size, "format": self.format, "resample": self.resample}
        return options | ({"quality": self.quality} if self.format == "jpg" else {})


@dataclass(frozen=True)
class Selection:
    """Which data are worked on.

    Attributes:
        poses, distortion: files of the tables; None: the ones found below the root.
        ids: (first, last) ranges, both included; None: all.
        planes: "bs", "fs" or both.
        skip_obsolete: leave out ids whose pose is marked obsolete.
    """

    poses: Path | None = None
    distortion: Path | None = None
    ids: Sequence[tuple[int, int]] | None = None
    planes: Sequence[str] = PLANES
    skip_obsolete: bool = False


@dataclass(frozen=True)
class Failure:
    """An image that could not be calibrated, and why."""

    id: int
    plane: str
    reason: str

    def __str__(self) -> str:
        return f"{index.expected_name(self.id, self.plane)}: {self.reason}"


@dataclass(frozen=True)
class CalibrationResult:
    """What a run did; counts are images.

    Attributes:
        done: written by this run (in a dry run: that would be written).
        skipped: already there.
        obsolete: left out because the pose is marked obsolete.
        colour: colour images, which were read as grey.
        calibrations: ids of the calibrations in use.
        seconds, images_per_second: of the calibration itself, without the preparation.
    """

    root: Path
    out: Path
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
    failures: list[Failure]
    schema: str = "medcli.calibrate.v1"


@dataclass(frozen=True)
class Job:
    """One pair: what there is of it, and what is wanted."""

    id: int
    images: dict[str, str]
    planes: tuple[str, ...]
    calibration: int


@dataclass
class Plan:
    """What is to be done, and what is known not to work before anything is read."""

    jobs: list[Job] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    distortions: dict[int, dict[str, Distortion]] = field(default_factory=dict)
    skipped: int = 0
    obsolete: int = 0

    @property
    def images(self) -> int:
        return sum(len(job.planes) for job in self.jobs)


def calibrate(
    root: Path,
    out: Path | None = None,
    settings: CalibrationSettings | None = None,
    selection: Selection | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> CalibrationResult:
    """Correct the distortion of the images below ``root``.

    Args:
        root: folder with images and tables (in any subfolder).
        out: where ``calibrated_bs_NNNNNN.jpg`` go; default ``root/calibrated``.
        settings: size, format and resampling.
        selection: ids, planes and tables.
        workers: threads; default: one for each usable core.
        overwrite: make images again that are there.
        dry_run: plan only; write nothing.

    Raises:
        DataError: no images, no tables, or tables that cannot be read.
        MedcliError: the output folder cannot be written to, or the disk is full.
        UsageError: the output folder holds images made with other options.
    """
    settings, selection = settings or CalibrationSettings(), selection or Selection()
    out = out or root / "calibrated"
    plan = make_plan(root, out, settings, selection, overwrite)
    run = _Run(out, settings, plan, workers or usable_cores())
    started = time.perf_counter()
    if not dry_run:
        run.prepare(overwrite, progress)
        started = time.perf_counter()
        run.work(progress)
    seconds = time.perf_counter() - started
    failures = sorted([*plan.failures, *run.failures], key=lambda failure: (failure.id, failure.plane))
    done = plan.images if dry_run else run.done
    return CalibrationResult(
        root=root,
        out=out,
        done=done,
        skipped=plan.skipped,
        failed=len(failures),
        obsolete=plan.obsolete,
        colour=run.colour,
        calibrations=sorted(number for number, planes in plan.distortions.items() if planes),
        seconds=round(seconds, 3),
        images_per_second=round(done / seconds, 1) if done and not dry_run else 0.0,
        dry_run=dry_run,
        settings=settings,
        failures=failures,
    )


def make_plan(root: Path, out: Path, settings: CalibrationSettings, selection: Selection, overwrite: bool) -> Plan:
    """Decide for every wanted image whether it is to be made, is there, or cannot be made."""
    contents = index.scan(root, leave_out=out)
    if not contents.images:
        raise DataError(
            f"no image in {root}: expected bs_000001.jpg, fs_000001.jpg, … there or in a folder below",
            "name the dataset's folder with --root",
        )
    if contents.duplicates:
        _LOG.warning("%d images lie in two places; the first of each is used", len(contents.duplicates))
    poses, pose_file = index.find_and_read(contents, index.POSES, selection.poses)
    table, table_file = index.find_and_read(contents, index.DISTORTIONS, selection.distortion)
    ids = index.select_ids(list(contents.images), selection.ids)
    if not ids:
        raise DataError(f"none of the {len(contents.images)} ids in {root} is among --ids")
    present = set() if overwrite or not out.is_dir() else {path.name for path in out.iterdir()}
    planner = _Planner(Plan(), poses, table, (pose_file, table_file), selection)
    for number in ids:
        planner.add(number, contents.images[number], settings, present)
    planner.plan.jobs.sort(key=lambda job: (job.calibration, job.id))
    return planner.plan


class _Planner:
    """Fills a plan id by id."""

    def __init__(self, plan: Plan, poses: Any, table: Any, files: tuple[Path, Path], selection: Selection) -> None:
        self.plan = plan
        self.table = table
        self.pose_file, self.table_file = files
        self.planes = [plane for plane in PLANES if plane in selection.planes]
        numbers = poses["distortion_calibration_id"].to_numpy()
        self.calibrations = dict(zip(poses.index.tolist(), numbers.tolist(), strict=True))
        obsolete = (
            index.is_obsolete(poses) if selection.skip_obsolete else poses["distortion_calibration_id"].isna() & False
        )
        self.obsolete = set(poses.index[obsolete].tolist())
        self.broken: dict[tuple[int, str], str] = {}

    def add(self, number: int, files: dict[str, str], settings: CalibrationSettings, present: set[str]) -> None:
        if number in self.obsolete:
            self.plan.obsolete += sum(plane in files for plane in self.planes)
            return
        calibration, reason = self._calibration_of(number)
        wanted = []
        for plane in self.planes:
            problem = reason or (None if plane in files else self._absence(number, plane, files))
            problem = problem or self._problem_of(calibration, plane)
            if problem:
                self.plan.failures.append(Failure(number, plane, problem))
            elif output_name(number, plane, settings) in present:
                self.plan.skipped += 1
            else:
                wanted.append(plane)
        if wanted:
            self.plan.jobs.append(Job(number, files, tuple(wanted), calibration))

    def _calibration_of(self, number: int) -> tuple[int, str | None]:
        if number not in self.calibrations:
            return -1, f"id {number} has no row in {self.pose_file.name}"
        value = self.calibrations[number]
        try:
            calibration = int(value)
        except (TypeError, ValueError):  # NaN, None or a word
            return -1, f"its row in {self.pose_file.name} has no distortion_calibration_id, but {value!r}"
        if calibration not in self.table.index:
            return -1, f"distortion calibration {calibration} is not in {self.table_file.name}"
        return calibration, None

    def _absence(self, number: int, plane: str, files: dict[str, str]) -> str:
        other = Path(next(iter(files.values()))).name
        return f"the image is missing: expected {index.expected_name(number, plane)}.* beside {other}"

    def _problem_of(self, calibration: int, plane: str) -> str | None:
        """Read a calibration the first time it is needed; say what is wrong with it."""
        key = (calibration, plane)
        planes = self.plan.distortions.setdefault(calibration, {})
        if key not in self.broken and plane not in planes:
            try:
                row = {"id": calibration, **self.table.loc[calibration].to_dict()}
                distortion = Distortion.from_row(row, plane)
                distortion.check_invertible(f"calibration {calibration}, plane {plane},")
                planes[plane] = distortion
            except DataError as error:
                self.broken[key] = error.message
        return self.broken.get(key)


class _Run:
    """The work itself, shared by the threads."""

    def __init__(self, out: Path, settings: CalibrationSettings, plan: Plan, workers: int) -> None:
        self.out, self.settings, self.plan, self.workers = out, settings, plan, workers
        self.maps = _MapStore(settings)
        self.failures: list[Failure] = []
        self.done = 0
        self.colour = 0

    def prepare(self, overwrite: bool, progress: Progress) -> None:
        """Everything before the first image: folder, manifest, maps."""
        make_output_folder(self.out)
        fingerprints = {
            str(number): {plane: distortion.fingerprint for plane, distortion in planes.items()}
            for number, planes in self.plan.distortions.items()
            if planes
        }
        all_made_again = overwrite and not self._other_images()
        manifest.update(self.out, self.settings.pixel_options, fingerprints, start_afresh=all_made_again)
        remove_left_overs(self.out)
        images.use_single_threaded_codecs()
        needed = {(job.calibration, plane) for job in self.plan.jobs for plane in job.planes}
        with progress.task("Preparing maps", len(needed), "maps") as advance:
            for number, plane in run_in_threads(self._prepare_map, sorted(needed), self.workers):
                advance(1)
                _LOG.debug("map of calibration %d, plane %s, is ready", number, plane)

    def _other_images(self) -> bool:
        """Whether the folder holds calibrated images that this run does not make."""
        made = {output_name(job.id, plane, self.settings) for job in self.plan.jobs for plane in job.planes}
        return any(path.name.startswith(OUTPUT_PREFIX) and path.name not in made for path in self.out.iterdir())

    def _prepare_map(self, key: tuple[int, str]) -> tuple[int, str]:
        number, plane = key
        ready = self.maps.get(self.plan.distortions[number][plane])
        if self.settings.mask and isinstance(ready, AreaMap):
            name = f"mask_{plane}_calibration_{number:02d}.png"
            images.write_image(self.out / name, ready.inside.astype(np.uint8) * 255)
        return key

    def work(self, progress: Progress) -> None:
        with progress.task("Calibrating", self.plan.images, "images") as advance:
            for job, done, colour, failures in run_in_threads(self._do, self.plan.jobs, self.workers):
                self.done += done
                self.colour += colour
                self.failures += failures
                advance(len(job.planes))
        if self.colour:
            _LOG.warning("%d colour images were read as grey", self.colour)

    def _do(self, job: Job) -> tuple[Job, int, int, list[Failure]]:
        """Calibrate one pair; a plane that fails does not keep the other from being done."""
        sources, colour, failures = _read_pair(job)
        if self.settings.resample == "reference":
            sources = {plane: to_native_size(image) for plane, image in sources.items()}
        peaks = {plane: image.max() for plane, image in sources.items()}
        scale = all(peak > 0 for peak in peaks.values())
        done = 0
        for plane in job.planes:
            if plane not in sources:
                continue
            remap = self.maps.get(self.plan.distortions[job.calibration][plane])
            corrected = remap.apply(sources[plane], float(peaks[plane]) if scale else 0.0)
            target = self.out / output_name(job.id, plane, self.settings)
            try:
                images.write_image(target, corrected, self.settings.quality)
                done += 1
            except OSError as error:
                if error.errno in DISK_FULL:
                    raise MedcliError(
                        f"the disk is full: cannot write {target}", "make room and run the same command again"
                    ) from error
                failures.append(Failure(job.id, plane, f"cannot write {target.name}: {error.strerror or error}"))
        return job, done, colour, failures


class _MapStore:
    """Keeps the maps that are in use in memory; the others wait in the cache folder."""

    def __init__(self, settings: CalibrationSettings) -> None:
        self.settings = settings
        self.kept: OrderedDict[str, Map] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, distortion: Distortion) -> Map:
        key = distortion.fingerprint
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
                return self.kept[key]
        loaded = load_or_build(distortion, self.settings.size, self.settings.resample)
        with self.lock:
            self.kept[key] = loaded
            while len(self.kept) > _MAPS_IN_MEMORY:
                self.kept.popitem(last=False)
        return loaded


def output_name(number: int, plane: str, settings: CalibrationSettings) -> str:
    """Name of a calibrated image, as published: ``calibrated_bs_000001.jpg``."""
    return f"{OUTPUT_PREFIX}{index.expected_name(number, plane)}.{settings.format}"


def to_native_size(image: NDArray[np.uint8]) -> NDArray[Any]:
    """An image of another size as the published procedure takes it: float32 / 255, bilinear to 1664 x 1600.

    Args:
        image: (H, W) uint8.

    Returns:
        (1600, 1664): ``image`` itself if it has that size, else float32 in 0 to 1.
    """
    if image.shape == (NATIVE_HEIGHT, NATIVE_WIDTH):
        return image
    return cv2.resize(image.astype(np.float32) / 255, (NATIVE_WIDTH, NATIVE_HEIGHT))


def _read_pair(job: Job) -> tuple[dict[str, NDArray[np.uint8]], int, list[Failure]]:
    """Both planes of a pair, since the published scaling asks whether both show anything.

    A plane that is missing or unreadable counts as one that does: the other is scaled by its own maximum.
    """
    sources: dict[str, NDArray[np.uint8]] = {}
    failures, colour = [], 0
    for plane, path in job.images.items():
        try:
            content = images.read_content(path)
            sources[plane] = images.decode_grey(content, path)
        except DataError as error:
            if plane in job.planes:
                failures.append(Failure(job.id, plane, error.message))
            continue
        header = images.jpeg_header(content)
        colour += plane in job.planes and header is not None and header.channels > 1
    return sources, colour, failures
