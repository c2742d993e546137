"""Plan of a calibration run, from file names and tables alone, before any image is opened."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from medcli.core.errors import DataError, answers, quantity
from medcli.veriserum.calibration.distortion_table import DistortionTable
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.contents_check import no_native_image
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.folder_index import DISTORTIONS, POSES
from medcli.veriserum.dataset.image_doubles import Doubles, check_single
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.dataset.trial_splits import as_ranges

_LOG = logging.getLogger(__name__)
_MOST_SHOWN = 60
"""Characters of a list of ids."""


@dataclass(frozen=True)
class CalibrationSettings:
    """Options that affect the pixels of the result; the defaults are the published ones.

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
class ImageSelection:
    """Selection of the data.

    Attributes:
        poses, distortion: files of the tables; None: those found below the root.
        ids: (first, last) ranges, both included; None: all.
        planes: "bs", "fs" or both.
        skip_obsolete: omit ids whose pose is marked obsolete.
    """

    poses: Path | None = None
    distortion: Path | None = None
    ids: Sequence[tuple[int, int]] | None = None
    planes: Sequence[str] = PLANES
    skip_obsolete: bool = False


@dataclass(frozen=True)
class ImageFailure:
    """An image that could not be calibrated, and why."""

    id: int
    plane: str
    reason: str

    def __str__(self) -> str:
        return f"{folder_index.expected_name(self.id, self.plane)}: {self.reason}"


@dataclass(frozen=True)
class Job:
    """One pair: the available files and the images to make."""

    id: int
    images: dict[str, str]
    planes: tuple[str, ...]
    calibration: int


@dataclass
class UndistortionPlan:
    """Images to make, and failures known before any image is read.

    Attributes:
        pose_file, table_file: where poses and distortion calibrations were read from.
        distortions: the calibrations.
        jobs: pairs with images to make, sorted by calibration and id.
        failures: images that cannot be made, and why.
        skipped: images that already exist.
        obsolete: images omitted because their pose is marked obsolete.
        keys: (calibration id, plane) of every image, including existing ones.
        existing: names of all calibrated images in the output folder.
    """

    pose_file: Path
    table_file: Path
    distortions: DistortionTable
    jobs: list[Job] = field(default_factory=list)
    failures: list[ImageFailure] = field(default_factory=list)
    skipped: int = 0
    obsolete: int = 0
    keys: set[tuple[int, str]] = field(default_factory=set)
    there: set[str] = field(default_factory=set)

    @property
    def images(self) -> int:
        """Number of images to make."""
        return sum(len(job.planes) for job in self.jobs)

    def targets(self, settings: CalibrationSettings) -> set[str]:
        """Names of the images to make."""
        return {output_name(job.id, plane, settings) for job in self.jobs for plane in job.planes}

    def fingerprints(self) -> dict[str, dict[str, str]]:
        """Calibration id -> plane -> fingerprint, of every image."""
        found: dict[str, dict[str, str]] = {}
        for number, plane in sorted(self.keys):
            found.setdefault(str(number), {})[plane] = self.distortions.get(number, plane).fingerprint
        return found


def output_name(number: int, plane: str, settings: CalibrationSettings) -> str:
    """Name of a calibrated image, as published: ``calibrated_bs_000001.jpg``."""
    return f"{folder_index.CALIBRATED_PREFIX}{folder_index.expected_name(number, plane)}.{settings.format}"


def make_plan(
    root: Path, out: Path, settings: CalibrationSettings, selection: ImageSelection, overwrite: bool
) -> UndistortionPlan:
    """Determine for every requested image whether it is to be made, exists, or cannot be made."""
    study = VeriserumStudy(root, out, files={POSES: selection.poses, DISTORTIONS: selection.distortion})
    contents = study.contents
    if not contents.images:
        raise no_native_image(root)
    poses = study.table(POSES)
    plan = UndistortionPlan(study.table_file(POSES), study.table_file(DISTORTIONS), DistortionTable(study))
    ids = folder_index.select_ids(list(contents.images), selection.ids)
    if not ids:
        raise DataError(f"none of the {quantity(len(contents.images), 'id')} in {root} is among --ids")
    if out.is_dir():
        with os.scandir(out) as entries:
            prefix = folder_index.CALIBRATED_PREFIX
            plan.there = {entry.name for entry in entries if entry.name.startswith(prefix) and answers(entry.is_file)}
    planner = _Planner(plan, poses, selection, contents.doubles, out)
    for number in ids:
        planner.add(number, contents.images[number], settings, set() if overwrite else plan.there)
    if planner.copies:
        exist = quantity(planner.copies, "image exists", "images exist")
        _LOG.warning("%s twice, in equal files; the first of each is used", exist)
    if planner.newer:
        newer = quantity(len(planner.newer), "image is newer than its result", "images are newer than their results")
        of_them = as_ranges(sorted({number for number, _ in planner.newer}))
        again = f"--overwrite --ids {of_them}" if len(of_them) <= _MOST_SHOWN else "--overwrite"
        _LOG.warning("%s, the first %s: if it was replaced, run again with %s", newer, planner.newer[0][1], again)
    for calibration, plane in sorted(plan.keys):
        if problem := plan.distortions.pixel_size_problem(calibration, plane):
            _LOG.warning("%s; the scale of its coefficients is used, but the table may be damaged", problem)
    planner.plan.jobs.sort(key=lambda job: (job.calibration, job.id))
    return planner.plan


def _is_newer(image: Path, result: Path) -> bool:
    """Whether an image was written after its result: it may have been replaced since."""
    try:
        return image.stat().st_mtime > result.stat().st_mtime
    except OSError:  # another process is replacing it
        return False


class _Planner:
    """Fills a plan id by id."""

    def __init__(
        self, plan: UndistortionPlan, poses: pd.DataFrame, selection: ImageSelection, doubles: Doubles, out: Path
    ) -> None:
        self.plan, self.doubles, self.copies, self.out = plan, doubles, 0, out
        self.newer: list[tuple[int, str]] = []
        self.planes = [plane for plane in PLANES if plane in selection.planes]
        column = poses["distortion_calibration_id"]
        self.written = dict(zip(poses.index.tolist(), column.tolist(), strict=True))
        whole = folder_index.whole_numbers(column).dropna()
        self.calibrations: dict[int, int] = dict(zip(whole.index.tolist(), whole.tolist(), strict=True))
        self.obsolete = set(poses.index[folder_index.is_obsolete(poses)].tolist()) if selection.skip_obsolete else set()

    def add(self, number: int, files: dict[str, str], settings: CalibrationSettings, present: set[str]) -> None:
        if number in self.obsolete:
            self.plan.obsolete += sum(plane in files for plane in self.planes)
            return
        wanted = []
        for plane in self.planes:
            try:
                calibration = self._calibration_of(number)
                self._check(number, plane, files, calibration)
                self.plan.keys.add((calibration, plane))
                if (name := output_name(number, plane, settings)) in present:
                    self.plan.skipped += 1
                    if _is_newer(Path(files[plane]), self.out / name):
                        self.newer.append((number, Path(files[plane]).name))
                else:
                    doubles = self.doubles.get(files[plane], ())
                    check_single(files[plane], doubles)
                    self.copies += bool(doubles)
                    wanted.append(plane)
            except DataError as error:
                self.plan.failures.append(ImageFailure(number, plane, error.message))
        if wanted:
            self.plan.jobs.append(Job(number, files, tuple(wanted), calibration))

    def _calibration_of(self, number: int) -> int:
        file = self.plan.pose_file.name
        if number not in self.written:
            raise DataError(f"id {number} has no row in {file}")
        if number not in self.calibrations:
            raise DataError(f"its row in {file} has no distortion_calibration_id, but {self.written[number]!r}")
        return self.calibrations[number]

    def _check(self, number: int, plane: str, files: dict[str, str], calibration: int) -> None:
        """Check that the image and its calibration exist."""
        if plane not in files:
            other = Path(next(iter(files.values()))).name
            raise DataError(
                f"the image is missing: expected {folder_index.expected_name(number, plane)}.* beside {other}"
            )
        self.plan.distortions.get(calibration, plane)
