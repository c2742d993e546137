"""The demonstration: made-up fluoroscopy in, calibrated pictures and a before/after sheet out (``medcli demo``)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.contact_sheet import contact_sheet
from medcli.files import make_output_folder
from medcli.images import read_grey, write_image
from medcli.progress import SILENT, Progress
from medcli.synthetic.fluoroscopy import GRID_FOLDER, IMAGE_FOLDER, Study, make_veriserum
from medcli.veriserum.calibrate import CalibrationSettings, Failure, calibrate, output_name
from medcli.veriserum.distortion import GRID_SIZE, GRID_SPAN_MM, NATIVE_HEIGHT, NATIVE_WIDTH, PLANES, Distortion
from medcli.veriserum.maps import load_or_build
from medcli.veriserum.phantom import PITCH_MM, bead_centres_mm

_ROWS = 4  # pairs on the sheet
_PANEL = 300
_LINE_EVERY = 5  # beads between two reference lines
_LINE_COLOUR = (235, 110, 20)


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration made.

    Attributes:
        root: the synthetic dataset, in the published layout.
        calibrated: the folder of calibrated images.
        contact_sheet: the before/after picture.
        pairs: image pairs in the dataset.
        made, done: native images made and images calibrated by this run; the others were there.
        distortion_mm: how far the distortion moves a bead of the grid phantom, at most, beyond shift, turn and scale.
        error_before, error_after: root mean square difference of the pictures on the sheet from the undistorted,
            noise-free truth, in grey levels, without and with calibration.
        seconds: of the whole run.
    """

    root: Path
    calibrated: Path
    contact_sheet: Path
    pairs: int
    made: int
    done: int
    distortion_mm: float
    error_before: float
    error_after: float
    seconds: float
    failures: list[Failure]
    schema: str = "medcli.demo.v1"


def run_demo(
    out: Path, pairs: int = 24, seed: int = 0, workers: int | None = None, progress: Progress = SILENT
) -> DemoResult:
    """Make ``pairs`` synthetic image pairs, calibrate them as published, and show them before and after.

    Args:
        out: folder of everything that is made; what is there from an earlier run with the same settings stays.
        pairs, seed: of the synthetic study.
        workers: threads; default: one for each usable core.

    Raises:
        MedcliError: the folder cannot be written to, or holds images that are not synthetic.
    """
    started = time.perf_counter()
    made = make_veriserum(make_output_folder(out) / "veriserum", pairs, seed, workers=workers, progress=progress)
    settings = CalibrationSettings()
    result = calibrate(made.root, settings=settings, workers=workers, progress=progress)
    study = made.study
    numbers = list(study.frames)[:: study.settings.frames_per_trial][:_ROWS]
    rows = [_pair(made.root, result.out, study, number, settings) for number in numbers]
    apart = f"{_LINE_EVERY * PITCH_MM:.0f} mm"
    notes = [f"grid phantom, upper left quarter: lines are straight, {apart} apart, through every fifth row of beads"]
    notes += [_note(study, number) for number in numbers]
    headings = [f"plane {plane}, {state}" for plane in PLANES for state in ("as recorded", "calibrated")]
    sheet_file = out / "before_after.png"
    panels = [_grid_panels(made.root, study, settings), *([p.panel for p in row] for row in rows)]
    write_image(sheet_file, contact_sheet(panels, headings, notes, _PANEL))
    before, after = (_root_mean_square([p.error for row in rows for p in row[start::2]]) for start in (0, 1))
    return DemoResult(
        root=made.root,
        calibrated=result.out,
        contact_sheet=sheet_file,
        pairs=pairs,
        made=made.written,
        done=result.done,
        distortion_mm=round(max(_bend_mm(study.calibrations[1].distortion(plane)) for plane in PLANES), 1),
        error_before=round(before, 1),
        error_after=round(after, 1),
        seconds=round(time.perf_counter() - started, 1),
        failures=result.failures,
    )


@dataclass(frozen=True)
class _Panel:
    """One picture of the sheet, (S, S), and its difference from the truth in grey levels."""

    panel: NDArray[np.uint8]
    error: float


def _pair(root: Path, calibrated: Path, study: Study, number: int, settings: CalibrationSettings) -> list[_Panel]:
    """Both planes of a pair, each as recorded and calibrated."""
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
    """Calibrating makes an image's brightest pixel white; the picture before and the truth are brightened alike."""
    brighten = 255 / native.max()
    size = len(after)
    before = _undistorted_scale(native, size)
    before = cv2.convertScaleAbs(before, alpha=brighten).astype(np.uint8)
    target = truth * 255 * brighten
    in_field = truth > 0.5 * np.median(truth)
    for picture in (before, after):
        yield _Panel(picture, float(np.sqrt(np.mean((picture[in_field] - target[in_field]) ** 2))))


def _undistorted_scale(native: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The middle (1600, 1600) of a native image at the calibrated images' size: 0.225 mm a pixel, were it straight."""
    left = (NATIVE_WIDTH - NATIVE_HEIGHT) // 2
    square = np.ascontiguousarray(native[:, left : left + NATIVE_HEIGHT])
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _grid_panels(root: Path, study: Study, settings: CalibrationSettings) -> list[NDArray[np.uint8]]:
    """The bead grid of calibration 1, both planes before and after, with straight lines where beads belong.

    Only the upper left quarter is shown, where a panel has enough pixels to tell beads from lines.
    """
    panels, quarter = [], settings.size // 2
    for plane in PLANES:
        native = read_grey(root / GRID_FOLDER / f"grid_{plane}_01.png")
        remap = load_or_build(study.calibrations[1].distortion(plane), settings.size, settings.resample)
        brightened = cv2.convertScaleAbs(_undistorted_scale(native, settings.size), alpha=255 / native.max())
        for picture in (brightened.astype(np.uint8), remap.apply(native, float(native.max()))):
            panels.append(_with_lines(picture[:quarter, :quarter], settings.size))
    return panels


def _with_lines(grey: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """RGB copy of the upper left of a square picture of ``size`` pixels, lines through every fifth row of beads."""
    large: Any = cv2.resize(grey, (_PANEL, _PANEL), interpolation=cv2.INTER_CUBIC)
    picture = np.repeat(large[..., None], 3, axis=2)
    zoom = _PANEL / len(grey)
    for k in range(5):
        on_grid = GRID_SIZE / 2 - k * _LINE_EVERY * PITCH_MM * GRID_SIZE / GRID_SPAN_MM
        at = round(((on_grid + 0.5) * size / GRID_SIZE) * zoom - 0.5)
        if at < _PANEL:
            picture[at, :] = picture[:, at] = _LINE_COLOUR
    return picture


def _bend_mm(distortion: Distortion) -> float:
    """How far a bead lies, at most, from where shift, turn and scale alone would put it."""
    beads = bead_centres_mm()
    pixels = distortion.inverse(beads)
    seen = np.all((pixels >= 0) & (pixels <= [NATIVE_WIDTH - 1, NATIVE_HEIGHT - 1]), axis=1)
    # A similarity is linear in complex numbers: recorded = a + b true.
    recorded = pixels[seen, 0] - 1j * pixels[seen, 1]
    true = beads[seen, 0] + 1j * beads[seen, 1]
    terms = np.stack([np.ones_like(true), true], axis=1)
    similarity, *_ = np.linalg.lstsq(terms, recorded, rcond=None)
    return float(np.abs((recorded - terms @ similarity) / similarity[1]).max())


def _note(study: Study, number: int) -> str:
    frame = study.frames[number]
    kind = study.implants[frame.anatomy_id].kind
    return f"pair {number}: trial {frame.measurement_id}, calibration {frame.calibration_id}, {kind} {frame.anatomy_id}"


def _root_mean_square(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
