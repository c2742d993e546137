"""Make a record folder from a sequence file of the PLUS toolkit (``medcli import plus``)."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError
from medcli.core.files import write_json, write_text
from medcli.core.folders.whole_folder import check_folder_target, replacing_folder
from medcli.core.image_io import write_image
from medcli.core.progress import SILENT, Progress
from medcli.core.shell import spell
from medcli.core.tables import csv_text
from medcli.ultrabones.dataset.folder_layout import IMAGE_FOLDER, IMPORT_NOTE, TRACKING_FILES, specimen_folder
from medcli.ultrabones.dataset.probe import PROBE_FILE, Probe
from medcli.ultrabones.dataset.tracking_table import POSE_COLUMNS, SPACING
from medcli.ultrabones.plus.meta_image import MetaImage, read_meta_image
from medcli.ultrabones.plus.tracked_frames import TrackedFrames, probe_in_file, read_tracked_frames

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportedRecord:
    """What became of a sequence file.

    Attributes:
        source: the file.
        out: the record's folder.
        transform: which transforms of the file are its poses.
        probe: where the calibration comes from; empty: there is none.
        frames: in the file; ``written`` of them have an image and a pose.
        invalid, not_rigid, without_image: frames that were skipped: no valid transform, no rigid one, no valid image.
        shifted: timestamps that were moved by a millisecond or more, since two frames had the same one.
        numbered: the file has no timestamps: frames are numbered.
        without_time: frames that were skipped, since they alone have no timestamp.
        descending: how often the time runs back; rows are in the order of time.
        advanced_s: seconds added to every timestamp, since some are negative.
        orientation: of the images in the file; they are written as MF.
        assumed: why that orientation is assumed; empty where the file says it.
        rows, columns: of the images as written.
    """

    source: Path
    out: Path
    transform: str
    probe: str
    frames: int
    written: int
    invalid: int
    not_rigid: int
    without_image: int
    shifted: int
    numbered: bool
    orientation: str
    rows: int
    columns: int
    without_time: int = 0
    descending: int = 0
    advanced_s: float = 0.0
    assumed: str = ""
    schema: str = "medcli.import-plus.v1"


def check_import_target(out: Path, overwrite: bool) -> None:
    """Make sure that a record can be made in a folder.

    Raises:
        UsageError: no other command would find it there, or it holds something that may not be replaced.
        MedcliError: it cannot be written to.
    """
    if specimen_folder(out.absolute()) is None:
        raise UsageError(
            f"no folder above {out} is named specimen…, so other commands would not find the record",
            f"such as {spell('--out', (out / 'specimen01/ultrasound_records/tibia/record01').as_posix())}",
        )
    check_folder_target(out, overwrite, "medcli import", IMPORT_NOTE, ", with all labels and predictions in it")


def import_plus(
    source: Path,
    out: Path,
    probe: Probe | None = None,
    transform: str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> ImportedRecord:
    """Make ``out`` a record, whole or not at all: frames, ``tracking.csv``, ``probe.json``, ``imported.json``.

    Args:
        probe: its calibration; None: the ``ImageToProbe`` of the file, if it has one.
        transform: see :func:`read_tracked_frames`.

    Raises:
        DataError: the file cannot be read, no frame of it can be used, or the calibration is of frames of another size.
        UsageError: see :func:`check_import_target`, or there is no such transform.
    """
    check_import_target(out, overwrite)
    image = read_meta_image(source)
    frames = read_tracked_frames(image, transform)
    rows, columns = frames.upright(np.empty((image.rows, image.columns), np.uint8)).shape
    calibration = probe.as_json() if probe else probe_in_file(image, rows, columns)
    if probe and (rows, columns) != (probe.rows, probe.columns):
        raise DataError(
            f"the frames of {source} have {columns} x {rows} pixels, those of the probe {probe.name} "
            f"{probe.columns} x {probe.rows}",
            "the calibration must be of frames as they are recorded",
        )
    if frames.assumed:
        logger.warning("%s: %s (marked side to the right, depth downwards)", source, frames.assumed)
    poses = frames.poses[frames.usable]
    if len(poses) > 1 and (poses == poses[0]).all():
        logger.warning(
            "%s: all %d frames have the same pose: the tracker stood still, or --transform must name another one",
            source,
            len(poses),
        )
    if calibration is None:
        logger.warning(
            "%s has no ImageToProbe and no --probe is given: label and reconstruct will need %s in %s",
            source,
            PROBE_FILE,
            out,
        )
    spacing_mm = None if calibration is None else float(str(calibration["spacing_mm"]))
    result = ImportedRecord(
        source=source,
        out=out,
        transform=frames.transform,
        probe="" if calibration is None else probe.name if probe else f"ImageToProbe of {source.name}",
        frames=image.frames,
        written=int(frames.usable.sum()),
        invalid=frames.invalid,
        not_rigid=frames.not_rigid,
        without_image=frames.without_image,
        shifted=frames.shifted,
        numbered=frames.numbered,
        orientation=frames.orientation,
        rows=rows,
        columns=columns,
        without_time=frames.without_time,
        descending=frames.descending,
        advanced_s=frames.advanced_s,
        assumed=frames.assumed,
    )
    with replacing_folder(out) as part:
        _write_frames(image, frames, part / IMAGE_FOLDER, progress)
        write_text(part / TRACKING_FILES[0], _tracking_text(frames, spacing_mm))
        if calibration is not None:
            write_json(part / PROBE_FILE, calibration)
        write_json(part / IMPORT_NOTE, result)
    return result


def _write_frames(image: MetaImage, frames: TrackedFrames, folder: Path, progress: Progress) -> None:
    folder.mkdir()
    usable = frames.usable
    with progress.task(f"import {image.path.name}", image.frames, "frames") as advance:
        for number, pixels in enumerate(image.read_frames()):
            if usable[number]:
                write_image(folder / f"{frames.timestamps[number]}.png", frames.upright(pixels))
            advance(1)


def _tracking_text(frames: TrackedFrames, spacing_mm: float | None) -> str:
    order = np.argsort(frames.timestamps[frames.usable])
    poses = frames.poses[frames.usable][order]
    numbers = np.concatenate([poses[:, :3, 3], _angles_deg(poses[:, :3, :3])], axis=1)
    size = {} if spacing_mm is None else {SPACING: repr(spacing_mm)}
    rows = [
        {"timestamp": int(stamp), **size, **dict(zip(POSE_COLUMNS, map(repr, pose), strict=True))}
        for stamp, pose in zip(frames.timestamps[frames.usable][order], numbers.tolist(), strict=True)
    ]
    return csv_text(rows, ["timestamp", *size, *POSE_COLUMNS])


def _angles_deg(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # at 90 degrees several triples say the same rotation
        return np.asarray(Rotation.from_matrix(rotations).as_euler("xyz", degrees=True))
