"""Measure the calibration of a tracked probe (``medcli calibrate probe``)."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError
from medcli.core.files import check_replaceable, write_json
from medcli.core.image_io import read_size
from medcli.ultrabones.dataset.folder_layout import IMAGE_FOLDER, list_timestamps
from medcli.ultrabones.dataset.probe import ORIGINS, SCHEMA, UNITS, probe_problems
from medcli.ultrabones.probe_calibration.least_squares import CalibrationFit, fit_calibration_of_probe
from medcli.ultrabones.probe_calibration.observations import read_observations, read_phantom

GROSS = 8.0
"""Times the median from which a held-out residual is warned of; noise alone stays below 6."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spread:
    """Distances of points to their targets, mm."""

    rms: float
    median: float
    percentile_95: float
    maximum: float

    @staticmethod
    def of(distances: NDArray[np.float64]) -> Spread:
        median, high = np.percentile(distances, [50, 95])
        rms = float(np.sqrt((distances**2).mean()))
        return Spread(rms, float(median), float(high), float(distances.max()))


@dataclass(frozen=True)
class ProbeCalibration:
    """The answer of ``medcli calibrate probe``.

    Attributes:
        out: the file written.
        frames, points: used; ``targets`` of the phantom, points or wires.
        kind: ``known wires``, ``known points`` or ``points``: whose places are estimated as well.
        spacing_mm: edge of a pixel, with its standard error, 0 where it was given.
        image_to_probe: 4 x 4, from the top-left corner of the image, mm.
        translation_error_mm, rotation_error_deg: standard errors along and about the marker's axes.
        residual_mm: of the points to their targets.
        held_out_mm: the same, each frame by a calibration from the others (to first order).
        in_plane_mm, out_of_plane_mm: root mean square of the residuals' components.
        worst_frame: number of the frame with the largest held-out residual.
    """

    out: Path
    frames: int
    points: int
    targets: int
    kind: str
    spacing_mm: float
    spacing_error_mm: float
    image_to_probe: list[list[float]]
    translation_error_mm: list[float]
    rotation_error_deg: list[float]
    residual_mm: Spread
    held_out_mm: Spread
    in_plane_mm: float
    out_of_plane_mm: float
    worst_frame: int
    schema: str = "medcli.calibrate-probe.v1"


def calibrate_probe(
    points: Path,
    poses: Path,
    out: Path,
    phantom: Path | None = None,
    spacing_mm: float | None = None,
    size: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> ProbeCalibration:
    """Estimate a calibration from points of a phantom, and write it as ``probe.json``.

    Args:
        points: CSV with ``frame``, ``u``, ``v`` (column and row, whole numbers at centres of pixels) and ``point`` or
            ``wire``, the name of the target.
        poses: CSV with ``frame`` or ``timestamp``, and the pose of the marker as in a tracking table.
        phantom: CSV with ``point``, ``x``, ``y``, ``z``, or ``wire``, ``x1`` … ``z2``, mm in the coordinates of the
            poses. Needed for wires; points without it are estimated as well.
        spacing_mm: edge of a pixel; None: it is estimated.
        size: rows and columns of a frame; None: those of the images beside the poses.

    Raises:
        DataError: a table cannot be read, or the points do not determine the calibration.
        UsageError: ``out`` exists, or the size of the frames is not known.
    """
    check_replaceable(out, overwrite)
    rows, columns = size or _size_beside(poses)
    seen = read_observations(points, poses)
    places = read_phantom(phantom, seen)
    beyond = (seen.pixels < -0.5).any(axis=1) | (seen.pixels > np.array([columns, rows]) - 0.5).any(axis=1)
    if beyond.any():
        u, v = seen.pixels[beyond][0]
        raise DataError(f"{points}: the point at u {u:g}, v {v:g} is outside an image of {columns} x {rows} pixels")
    fit = fit_calibration_of_probe(seen, places, spacing_mm)
    kind = "known wires" if seen.are_wires else "known points" if places.points else "points"
    result = ProbeCalibration(
        out=out,
        frames=len(np.unique(seen.frames)),
        points=len(seen.frames),
        targets=len(seen.names),
        kind=kind,
        spacing_mm=fit.spacing_mm,
        spacing_error_mm=fit.spacing_error_mm,
        image_to_probe=fit.image_to_probe.tolist(),
        translation_error_mm=fit.translation_error_mm.tolist(),
        rotation_error_deg=fit.rotation_error_deg.tolist(),
        residual_mm=Spread.of(fit.residuals_mm),
        held_out_mm=Spread.of(fit.left_out_mm),
        in_plane_mm=fit.in_plane_mm,
        out_of_plane_mm=fit.out_of_plane_mm,
        worst_frame=seen.numbers[int(seen.frames[int(np.argmax(fit.left_out_mm))])],
    )
    if result.held_out_mm.maximum > GROSS * result.held_out_mm.median:
        logger.warning(
            "the point in frame %d of %s is %.2f mm off, the median is %.2f: a gross error? mend it or leave it out",
            result.worst_frame,
            points,
            result.held_out_mm.maximum,
            result.held_out_mm.median,
        )
    _write(result, fit, rows, columns, points)
    return result


def _write(result: ProbeCalibration, fit: CalibrationFit, rows: int, columns: int, points: Path) -> None:
    measures = {
        name: value
        for name, value in asdict(result).items()
        if name not in ("out", "schema", "spacing_mm", "image_to_probe")
    }
    probe = {
        "schema": SCHEMA,
        "units": UNITS,
        "spacing_mm": fit.spacing_mm,
        "rows": rows,
        "columns": columns,
        "origin": ORIGINS[0],
        "image_to_probe": result.image_to_probe,
        "source": f"medcli calibrate probe {points.name}",
        "calibration": measures,
    }
    if problems := probe_problems(probe):
        raise DataError(
            f"what was found is no calibration of a probe: {'; '.join(problems)}",
            "are poses and phantom in millimetres, and the poses those of the marker on the probe?",
        )
    write_json(result.out, probe)


def _size_beside(poses: Path) -> tuple[int, int]:
    folder = poses.parent / IMAGE_FOLDER
    names, _ = list_timestamps(str(folder))
    if not names:
        raise UsageError(
            f"the size of the frames is not known: there are no images in {folder}",
            "name it with --rows and --columns",
        )
    return read_size(folder / next(iter(names.values())))
