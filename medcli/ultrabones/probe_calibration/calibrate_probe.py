"""Measure the calibration of a tracked probe (``medcli calibrate probe``)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError
from medcli.core.files import check_readable, check_replaceable, read_whole, write_json
from medcli.core.image_io import read_size
from medcli.core.json_text import read_object
from medcli.core.made_with import fingerprint
from medcli.ultrabones.dataset.folder_layout import IMAGE_FOLDER, list_timestamps
from medcli.ultrabones.dataset.probe import ORIGINS, SCHEMA, UNITS, probe_problems
from medcli.ultrabones.probe_calibration.least_squares import CalibrationFit, fit_calibration_of_probe
from medcli.ultrabones.probe_calibration.observations import (
    Observations,
    Phantom,
    read_observations,
    read_phantom,
)

LARGE_MM = 3.0
"""Root mean square of residuals from which they are warned of: the largest standard error that is accepted, too."""
_SPACING_ERRORS, _LEAST_SPACING_SHARE = 4.0, 0.02
"""A given spacing contradicts the points where it differs from theirs by as many standard errors, and this share."""
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
        warnings: what makes the calibration doubtful, in words.
        made_from: a digest of tables and options.
        is_earlier: an earlier run made it of the same things; nothing was computed.
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
    warnings: tuple[str, ...] = ()
    made_from: str = ""
    is_earlier: bool = False
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
        UsageError: ``out`` exists and was not made of the same tables with the same options, or the size of the frames
            is not known.
    """
    rows, columns = size or _size_beside(poses)
    made_from = _fingerprint((points, poses, phantom), spacing_mm, rows, columns)
    if not overwrite and (earlier := _read_earlier(out, made_from)):
        return earlier
    check_replaceable(out, overwrite)
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
        made_from=made_from,
    )
    result = replace(result, warnings=tuple(_doubts(result, points, _own_spacing(seen, places, spacing_mm))))
    for warning in result.warnings:
        logger.warning("%s", warning)
    _write(result, fit, rows, columns, points)
    return result


def _own_spacing(seen: Observations, places: Phantom, spacing_mm: float | None) -> CalibrationFit | None:
    """The calibration with the spacing that the points themselves give, where one was given and they do."""
    if spacing_mm is not None:
        with suppress(DataError):
            return fit_calibration_of_probe(seen, places)
    return None


def _doubts(result: ProbeCalibration, points: Path, own: CalibrationFit | None) -> Iterator[str]:
    if own is not None:
        apart = abs(own.spacing_mm - result.spacing_mm)
        if apart > max(_SPACING_ERRORS * own.spacing_error_mm, _LEAST_SPACING_SHARE * own.spacing_mm):
            yield (
                f"the spacing given, {result.spacing_mm:g} mm, contradicts the points, which give {own.spacing_mm:.5f} "
                f"± {own.spacing_error_mm:.5f} mm: leave --spacing-mm out, or check depth setting and speed of sound"
            )
    if result.residual_mm.rms > LARGE_MM:
        yield (
            f"the residuals are {result.residual_mm.rms:.1f} mm (rms), far more than the noise of a phantom, so that "
            "the calibration is wrong by more than its standard errors say: do points, poses and phantom belong "
            "together?"
        )
    if result.held_out_mm.maximum > GROSS * result.held_out_mm.median:
        yield (
            f"the point in frame {result.worst_frame} of {points} is {result.held_out_mm.maximum:.2f} mm off, the "
            f"median is {result.held_out_mm.median:.2f}: a gross error? mend it or leave it out"
        )


def _fingerprint(tables: Sequence[Path | None], spacing_mm: float | None, rows: int, columns: int) -> str:
    for table in tables:
        if table is not None:
            check_readable(table)
    return fingerprint(*(read_whole(one) if one else "" for one in tables), repr((spacing_mm, rows, columns)))


def _read_earlier(out: Path, made_from: str) -> ProbeCalibration | None:
    """What an earlier run made of the same things; None where ``out`` is anything else."""
    probe = read_object(out) if out.is_file() else {}
    measures = probe.get("calibration")
    if not isinstance(measures, dict) or measures.get("made_from") != made_from or probe_problems(probe):
        return None
    try:
        spreads = {name: Spread(**measures[name]) for name in ("residual_mm", "held_out_mm")}
        whole = {**measures, **spreads, "warnings": tuple(measures["warnings"]), "is_earlier": True}
        return ProbeCalibration(
            out=out, spacing_mm=probe["spacing_mm"], image_to_probe=probe["image_to_probe"], **whole
        )
    except (KeyError, TypeError):
        return None


def _write(result: ProbeCalibration, fit: CalibrationFit, rows: int, columns: int, points: Path) -> None:
    measures = {
        name: value
        for name, value in asdict(result).items()
        if name not in ("out", "schema", "spacing_mm", "image_to_probe", "is_earlier")
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
