"""The bead grid that distortion calibrations are measured with, as the intensifier shows it.

45 x 45 lead beads of 2 mm diameter, 7 mm apart, about the centre of the field, on the intensifier itself (no
magnification). The corners are cut: the outermost row keeps 23 beads, each of the next ten rows two more. One
further bead outside the top left edge tells top from bottom and left from right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcli.synthetic import xray
from medcli.veriserum.distortion import GRID_SIZE, GRID_SPAN_MM, Distortion

BEADS_ALONG, PITCH_MM, BEAD_RADIUS_MM = 45, 7.0, 1.0
CUT_ROWS = 11
ORIENTATION_BEAD = (5, 39)
"""Index of the orientation bead, from the left and from below."""
_LEAD_PER_MM, _PLATE = 1.1, 0.25
_MIDDLE = BEADS_ALONG // 2


def bead_presence() -> NDArray[np.bool_]:
    """(45, 45): whether there is a bead, [from the left, from below]."""
    index = np.abs(np.arange(BEADS_ALONG) - _MIDDLE)
    present = index[:, None] + index[None, :] <= 2 * _MIDDLE - CUT_ROWS
    present[ORIENTATION_BEAD] = True
    return present


def bead_centres_mm() -> NDArray[np.float64]:
    """(N, 2): the beads, to the right and up from the centre, in millimetres."""
    return (np.argwhere(bead_presence()).astype(np.float64) - _MIDDLE) * PITCH_MM


def grid_picture(present: NDArray[np.bool_] | None = None) -> xray.Picture:
    """The undistorted picture of the phantom without noise, (1600, 1600) float32.

    Args:
        present: (45, 45) the beads to show; default: :func:`bead_presence`.
    """
    shown = bead_presence() if present is None else present
    along = (np.arange(GRID_SIZE) - GRID_SIZE / 2) * (GRID_SPAN_MM / GRID_SIZE)
    nearest = np.rint(along / PITCH_MM).astype(int)
    squared = ((along - nearest * PITCH_MM) ** 2).astype(np.float32)
    inside = np.abs(nearest) <= _MIDDLE
    index = np.clip(nearest + _MIDDLE, 0, BEADS_ALONG - 1)
    is_bead = shown[index[None, :], index[::-1, None]] & inside[None, :] & inside[::-1, None]
    height = np.sqrt(np.clip(BEAD_RADIUS_MM**2 - squared[None, :] - squared[::-1, None], 0, None))
    return xray.detect(np.where(is_bead, 2 * _LEAD_PER_MM * height, 0).astype(np.float32) + np.float32(_PLATE))


def grid_image(
    distortion: Distortion, generator: np.random.Generator, noise: float = 1.0, missing_share: float = 0.0
) -> NDArray[np.uint8]:
    """The native image (1600, 1664) of the phantom.

    Args:
        distortion: of the intensifier.
        generator: of noise and of the choice of missing beads.
        noise: factor on the noise.
        missing_share: share of the beads left out, 0 to 1; the orientation bead stays.
    """
    present = bead_presence()
    present &= generator.random(present.shape) >= missing_share
    present[ORIENTATION_BEAD] = True
    native = xray.to_native(grid_picture(present), xray.forward_lattice(distortion))
    return xray.digitise(native, generator, noise)
