"""Measure distortion calibrations from images of the grid phantom (``medcli calibrate fit``).

The published calibrations were fitted to beads found to whole pixels by a search over 32 numbers (Wang et al.,
"Veriserum", MICCAI 2025). Here the beads are located to a few hundredths of a pixel and the polynomial is solved for.
"""

from __future__ import annotations

import filecmp
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from medcli.core.errors import UsageError
from medcli.core.files import check_name, make_output_folder
from medcli.veriserum.calibration.distortion_model import DISTORTION_MODELS, PolynomialDistortion, check_model
from medcli.veriserum.calibration.distortion_table import mirrored_planes
from medcli.veriserum.calibration.grid_fit.calibration_table import CalibrationTable
from medcli.veriserum.calibration.grid_fit.fit_plane import GridFit, fit_image_file
from medcli.veriserum.dataset.detector import PLANES

_LOG = logging.getLogger(__name__)
_METHODS = {PolynomialDistortion.name: "medcli bead centroids, linear least squares"}
_MUCH_MISSING = 0.15
_LARGE_RESIDUAL_MM = 0.1


@dataclass(frozen=True)
class PlaneReport:
    """Summary of the fit of one plane.

    Attributes:
        beads: recognised beads; ``missing`` of the phantom's were not found, ``not_beads`` spots belong to none.
        outliers: recognised, but rejected for their residual.
        view: orientation of the image; ``rotation_deg`` is its rotation, counter-clockwise.
        mean_mm, max_mm, mean_px, max_px: residuals of the beads used.
        held_out_mean_mm, held_out_95_mm: residuals of the same beads, each by a fit without it: mean and 95th
            percentile.
        autocorrelation: Moran's I of these residuals over neighbouring beads; near 0 where the model fits.
        systematic_mm: root mean square of the part that neighbours share: what the model cannot follow.
        largest_systematic_mm: the largest median of 3 x 3 beads; ``largest_place_mm`` is where.
        misfit: what a warning says where the model does not follow the distortion, otherwise empty.
    """

    plane: str
    image: Path
    beads: int
    missing: int
    not_beads: int
    outliers: int
    view: str
    rotation_deg: float
    mean_mm: float
    max_mm: float
    mean_px: float
    max_px: float
    held_out_mean_mm: float
    held_out_95_mm: float
    autocorrelation: float
    systematic_mm: float
    largest_systematic_mm: float
    largest_place_mm: tuple[float, float]
    misfit: str


@dataclass(frozen=True)
class FitResult:
    """A fitted calibration.

    Attributes:
        out: the table; ``id`` names its row.
        row: "added", "replaced" or "unchanged".
        planes: a report for each image.
        figure: PNG file of beads and residual vectors.
    """

    out: Path
    id: int
    row: str
    planes: list[PlaneReport]
    figure: Path
    seconds: float
    schema: str = "medcli.calibrate-fit.v1"


def fit_calibration(
    images: Mapping[str, Path],
    out: Path,
    number: int | None = None,
    *,
    mirrored: bool = False,
    overwrite: bool = False,
    figure: Path | None = None,
    model: str = PolynomialDistortion.name,
) -> FitResult:
    """Fit the distortion of each plane to an image of the grid phantom and add it to a table.

    Args:
        images: plane ("bs", "fs") -> image file; one plane suffices where the row already has the other.
        out: the table, a CSV file in the published format; other rows are kept.
        number: the row's id; None: that of a row with the same numbers, otherwise one more than the largest.
        mirrored: accept mirrored images; the calibration reverses the mirroring.
        overwrite: replace existing numbers that differ.
        figure: PNG file of beads and residuals; None: next to the table, with the id in its name.
        model: a name of :data:`medcli.veriserum.calibration.distortion_model.DISTORTION_MODELS`.

    Raises:
        DataError: an image does not show the phantom, or the table cannot be read.
        UsageError: the row already exists, a plane is missing, or there is no such model.
    """
    from medcli.veriserum.calibration.grid_fit.figure import write_fit_figure  # loads matplotlib

    started = time.perf_counter()
    check_model(model)
    table = CalibrationTable.read(out)
    _check_planes(images, table, number)
    check_name(figure or _figure_of(out, number or 0))
    if len(images) == len(PLANES) and filecmp.cmp(images[PLANES[0]], images[PLANES[1]], shallow=False):
        _LOG.warning("%s: one image for both planes, each of which has a distortion of its own", images[PLANES[0]])
    make_output_folder(out.parent)
    chosen = DISTORTION_MODELS[model]
    fits = {plane: fit_image_file(plane, path, mirrored, chosen) for plane, path in images.items()}
    cells = {f"distortion_result_{plane}": found.fit.distortion.to_text() for plane, found in fits.items()}
    number = _same_row(table, cells) if number is None else number
    method = _method(model, table.find(number), {plane: found.match.view.is_mirrored for plane, found in fits.items()})
    row = _put(table, number, cells, method, overwrite)
    figure = figure or _figure_of(out, number)
    write_fit_figure(make_output_folder(figure.parent) / figure.name, fits)
    planes = [_report(plane, images[plane], found) for plane, found in fits.items()]
    return FitResult(out, number, row, planes, figure, round(time.perf_counter() - started, 3))


def _figure_of(out: Path, number: int) -> Path:
    return out.with_name(f"{out.stem}_{number:02d}.png")


def _check_planes(images: Mapping[str, Path], table: CalibrationTable, number: int | None) -> None:
    if not images:
        raise UsageError("no image of the grid phantom", "name one for each plane: bs=grid_bs.png fs=grid_fs.png")
    row = table.find(number) if number is not None else None
    for plane in PLANES:
        if plane not in images and not (row and row[f"distortion_result_{plane}"].strip()):
            raise UsageError(
                f"no image for plane {plane}, and a row needs both",
                f"add {plane}=IMAGE, or give the --id of a row of {table.path} that already has plane {plane}",
            )


def _same_row(table: CalibrationTable, cells: Mapping[str, str]) -> int:
    """The id of a row with the same calibrations, otherwise the next free id."""
    same = (number for number in table.ids() if _has(table.find(number), cells))
    return next(same, max(table.ids(), default=0) + 1)


def _method(model: str, row: Mapping[str, str] | None, fitted: Mapping[str, bool]) -> str:
    """How a row was made, with the planes whose images are mirrored: those fitted now, and the others of the row."""
    before = mirrored_planes((row or {}).get("method"))
    mirrored = [plane for plane in PLANES if fitted.get(plane, plane in before)]
    method = _METHODS.get(model, f"medcli bead centroids, {model} model")
    return f"{method}, mirrored: {' '.join(mirrored)}" if mirrored else method


def _put(table: CalibrationTable, number: int, cells: Mapping[str, str], method: str, overwrite: bool) -> str:
    """Write the calibrations to the table's row, unless it already has them."""
    row = table.find(number)
    is_same = _has(row, cells)
    if row and is_same and mirrored_planes(row.get("method")) == mirrored_planes(method):
        return "unchanged"
    if row and not (overwrite or is_same) and any(row[name].strip() for name in cells):
        raise UsageError(
            f"{table.path} already has a different calibration {number}",
            "replace it with --overwrite, or choose another --id",
        )
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    table.put(number, {"update_timestamp": now, "obsolete": "0", "method": method, **cells})
    table.write()
    return "replaced" if row else "added"


def _has(row: Mapping[str, str] | None, cells: Mapping[str, str]) -> bool:
    return row is not None and all(row[name] == text for name, text in cells.items())


def _report(plane: str, path: Path, found: GridFit) -> PlaneReport:
    fit, match, apart = found.fit, found.match, found.held_out
    held_out = np.linalg.norm(apart.residuals_mm[fit.used], axis=1)
    mm, px = (np.linalg.norm(part[fit.used], axis=1) for part in (fit.residuals_mm, fit.residuals_px))
    report = PlaneReport(
        plane=plane,
        image=path,
        beads=len(match.spots),
        missing=match.missing,
        not_beads=len(found.beads) - len(match.spots),
        outliers=int((~fit.used).sum()),
        view=match.view.value,
        rotation_deg=round(match.rotation_deg, 3),
        mean_mm=round(float(mm.mean()), 5),
        max_mm=round(float(mm.max()), 5),
        mean_px=round(float(px.mean()), 4),
        max_px=round(float(px.max()), 4),
        held_out_mean_mm=round(float(held_out.mean()), 5),
        held_out_95_mm=round(float(np.percentile(held_out, 95)), 5),
        autocorrelation=round(apart.autocorrelation, 3),
        systematic_mm=round(apart.systematic_mm, 5),
        largest_systematic_mm=round(apart.largest_mm, 5),
        largest_place_mm=apart.largest_place_mm,
        misfit=apart.misfit,
    )
    if report.missing + report.outliers > _MUCH_MISSING * (report.beads + report.missing):
        lost = report.missing + report.outliers
        _LOG.warning("%s: %d of %d beads are not used; check the figure", path, lost, report.beads + report.missing)
    if report.mean_mm > _LARGE_RESIDUAL_MM:
        _LOG.warning("%s: the mean residual is %.2f mm; expected below 0.03 mm", path, report.mean_mm)
    if report.misfit:
        _LOG.warning("%s: %s; see the lowest row of the figure", path, report.misfit)
    return report
