"""Images of a synthetic study before and after calibration, and the error of each to the ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.contact_sheet import contact_sheet
from medcli.core.image_io import read_grey
from medcli.report.calibration import as_recorded
from medcli.synthetic.fluoroscopy.dataset import GRID_FOLDER, IMAGE_FOLDER, Study
from medcli.veriserum.calibration.distortion_model import DistortionModel
from medcli.veriserum.calibration.grid_fit.phantom import PITCH_MM, bead_centres_mm
from medcli.veriserum.calibration.undistort import CalibrationSettings, output_name
from medcli.veriserum.calibration.undistortion_map import load_or_build
from medcli.veriserum.dataset.detector import GRID_SIZE, GRID_SPAN_MM, NATIVE_HEIGHT, NATIVE_WIDTH, PLANES

_ROWS = 4  # pairs on the sheet
_PANEL = 300
_SLIDER = 720
_LINE_EVERY = 5  # beads between two reference lines
_LINE_COLOUR = (235, 110, 20)


@dataclass(frozen=True)
class Comparison:
    """Calibrated images next to the recorded ones.

    Attributes:
        sheet: contact sheet of bead grid and pairs, before and after, (H, W, 3) RGB.
        error_before, error_after: root-mean-square error of the pairs on the sheet to the undistorted, noise-free
            ground truth, in grey levels, without and with calibration.
        distortion_mm: maximum displacement of a bead by the distortion after removal of the best similarity transform.
        grid: the bead grid of plane bs with straight reference lines, before and after, two images (S, S, 3) RGB.
    """

    sheet: NDArray[np.uint8]
    error_before: float
    error_after: float
    distortion_mm: float
    grid: tuple[NDArray[np.uint8], NDArray[np.uint8]]


def compare(root: Path, calibrated: Path, study: Study, settings: CalibrationSettings) -> Comparison:
    """Compare some pairs of a synthetic study before and after calibration with each other and with the ground truth.

    Args:
        root: folder of the study.
        calibrated: folder of its calibrated images.
        study: its ground truth.
        settings: those of the calibration.
    """
    numbers = list(study.frames)[:: study.settings.frames_per_trial][:_ROWS]
    rows = [_pair(root, calibrated, study, number, settings) for number in numbers]
    spacing = f"{_LINE_EVERY * PITCH_MM:.0f} mm"
    titles = [f"grid phantom, upper left quarter, with straight lines every {spacing} (every fifth row of beads)"]
    titles += [_title(study, number) for number in numbers]
    headings = [f"plane {plane}, {state}" for plane in PLANES for state in ("as recorded", "calibrated")]
    grids = {plane: _grids(root, study, plane, settings) for plane in PLANES}
    panels = [[_with_lines(_quarter(grid), settings.size) for pair in grids.values() for grid in pair]]
    panels += [[one.panel for one in row] for row in rows]
    before, after = (float(np.sqrt(np.mean([p.error**2 for row in rows for p in row[start::2]]))) for start in (0, 1))
    return Comparison(
        sheet=contact_sheet(panels, headings, titles, _PANEL),
        error_before=before,
        error_after=after,
        distortion_mm=max(_distortion_mm(study.calibrations[1].distortion(plane)) for plane in PLANES),
        grid=tuple(_with_lines(_quarter(grid), settings.size, _SLIDER) for grid in grids["bs"]),  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class _Panel:
    """One image of the sheet, (S, S), and its root-mean-square error to the ground truth in grey levels."""

    panel: NDArray[np.uint8]
    error: float


def _pair(root: Path, calibrated: Path, study: Study, number: int, settings: CalibrationSettings) -> list[_Panel]:
    """Both planes of a pair, each as recorded and as calibrated."""
    return [
        panel
        for plane in PLANES
        for panel in _before_and_after(
            read_grey(root / IMAGE_FOLDER / f"{plane}_{number:06d}.jpg"),
            read_grey(calibrated / output_name(number, plane, settings)),
            study.truth(number, plane, settings.size),
        )
    ]


def _before_and_after(native: NDArray[np.uint8], after: NDArray[np.uint8], truth: NDArray[Any]) -> Iterator[_Panel]:
    """Calibration scales an image's maximum to white; the recorded image and the ground truth are scaled alike."""
    before = as_recorded(native, len(after))
    target = truth * 255 * (255 / native.max())
    in_field = truth > 0.5 * np.median(truth)
    for image in (before, after):
        yield _Panel(image, float(np.sqrt(np.mean((image[in_field] - target[in_field]) ** 2))))


def _grids(root: Path, study: Study, plane: str, settings: CalibrationSettings) -> list[NDArray[np.uint8]]:
    """The bead grid of calibration 1 as recorded and as calibrated, both at the undistorted scale."""
    native = read_grey(root / GRID_FOLDER / f"grid_{plane}_01.png")
    remap = load_or_build(study.calibrations[1].distortion(plane), settings.size, settings.resample)
    return [as_recorded(native, settings.size), remap.apply(native, float(native.max()))]


def _quarter(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The upper left quarter of an image, large enough in a panel to distinguish beads from lines."""
    return image[: len(image) // 2, : len(image) // 2]


def _with_lines(grey: NDArray[np.uint8], size: int, panel: int = _PANEL) -> NDArray[np.uint8]:
    """RGB copy of the upper left of a square image of ``size`` pixels, with lines through every fifth row of beads."""
    large: Any = cv2.resize(grey, (panel, panel), interpolation=cv2.INTER_CUBIC)
    image = np.repeat(large[..., None], 3, axis=2)
    zoom = panel / len(grey)
    for k in range(5):
        on_grid = GRID_SIZE / 2 - k * _LINE_EVERY * PITCH_MM * GRID_SIZE / GRID_SPAN_MM
        at = round(((on_grid + 0.5) * size / GRID_SIZE) * zoom - 0.5)
        if at < panel:
            image[at, :] = image[:, at] = _LINE_COLOUR
    return image


def _distortion_mm(distortion: DistortionModel) -> float:
    """Maximum distance of a bead from its position under the best similarity transform (shift, rotation, scale)."""
    beads = bead_centres_mm()
    pixels = distortion.inverse(beads)
    seen = np.all((pixels >= 0) & (pixels <= [NATIVE_WIDTH - 1, NATIVE_HEIGHT - 1]), axis=1)
    # A similarity is linear in complex numbers: recorded = a + b true.
    recorded = pixels[seen, 0] - 1j * pixels[seen, 1]
    true = beads[seen, 0] + 1j * beads[seen, 1]
    terms = np.stack([np.ones_like(true), true], axis=1)
    similarity, *_ = np.linalg.lstsq(terms, recorded, rcond=None)
    return float(np.abs((recorded - terms @ similarity) / similarity[1]).max())


def _title(study: Study, number: int) -> str:
    frame = study.frames[number]
    kind = study.implants[frame.anatomy_id].kind
    return f"pair {number}: trial {frame.measurement_id}, calibration {frame.calibration_id}, {kind} {frame.anatomy_id}"
