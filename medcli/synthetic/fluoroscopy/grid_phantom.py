"""X-ray images of the bead-grid phantom (``grid_fit.phantom``), distorted by an intensifier."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcli.synthetic.fluoroscopy import xray
from medcli.veriserum.calibration.distortion_model import DistortionModel
from medcli.veriserum.calibration.grid_fit.phantom import (
    BEAD_RADIUS_MM,
    BEADS_ALONG,
    MIDDLE,
    ORIENTATION_BEAD,
    PITCH_MM,
    bead_presence,
)
from medcli.veriserum.dataset.detector import GRID_SIZE, PIXEL_MM

_LEAD_PER_MM, _PLATE = 1.1, 0.25


def undistorted_grid(present: NDArray[np.bool_] | None = None) -> xray.Image:
    """The undistorted, noise-free image of the phantom, (1600, 1600) float32.

    Args:
        present: (45, 45) which beads are present; default: :func:`bead_presence`.
    """
    shown = bead_presence() if present is None else present
    along = (np.arange(GRID_SIZE) - GRID_SIZE / 2) * PIXEL_MM
    index, squared, inside = zip(*(_nearest_bead(side) for side in (along, -along)), strict=True)  # right, up
    is_bead = shown[index[0][None, :], index[1][:, None]] & inside[0][None, :] & inside[1][:, None]
    height = np.sqrt(np.clip(BEAD_RADIUS_MM**2 - squared[0][None, :] - squared[1][:, None], 0, None))
    return xray.detect(np.where(is_bead, 2 * _LEAD_PER_MM * height, 0).astype(np.float32) + np.float32(_PLATE))


def _nearest_bead(
    along_mm: NDArray[np.floating],
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Index of the nearest bead along one axis, squared distance from it in mm², and whether it is on the phantom."""
    nearest = np.rint(along_mm / PITCH_MM).astype(np.int64)
    squared = ((along_mm - nearest * PITCH_MM) ** 2).astype(np.float32)
    return np.clip(nearest + MIDDLE, 0, BEADS_ALONG - 1), squared, np.abs(nearest) <= MIDDLE


def grid_image(
    distortion: DistortionModel, generator: np.random.Generator, noise: float = 1.0, missing_share: float = 0.0
) -> NDArray[np.uint8]:
    """The native image (1600, 1664) of the phantom.

    Args:
        distortion: of the intensifier.
        generator: of the noise and the choice of missing beads.
        noise: factor on the noise.
        missing_share: fraction of the beads left out, 0 to 1; the orientation bead is kept.
    """
    present = bead_presence()
    present &= generator.random(present.shape) >= missing_share
    present[ORIENTATION_BEAD] = True
    native = xray.to_native(undistorted_grid(present), distortion.grid_positions().astype(np.float32))
    return xray.digitise(native, generator, noise)
