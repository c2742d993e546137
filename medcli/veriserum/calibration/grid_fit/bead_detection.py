"""Find the beads of the grid phantom: dark round spots about 9 pixels wide on a bright field.

The image may be vignetted, noisy and round: darkness is measured as a fraction of the local brightness, which is the
image after a morphological closing that is wider than a bead. The centre of a bead is the centre of mass of its
darkness above a threshold, to a few hundredths of a pixel at usual doses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medcli.veriserum.calibration.grid_fit.phantom import BEAD_RADIUS_MM
from medcli.veriserum.dataset.detector import GRID_SIZE, GRID_SPAN_MM

Image = NDArray[Any]
"""(H, W) float32."""

BEAD_RADIUS_PX = BEAD_RADIUS_MM * GRID_SIZE / GRID_SPAN_MM
_SMOOTHING_PX = 1.2
_CLOSING_PX = 21
"""Wider than a bead and its blur (13 pixels), narrower than the bright ring about the outermost beads."""
_FIELD_SHARE = 0.15
"""The field of view is where the local brightness exceeds this fraction of its 95th percentile."""
_LEAST_DARKNESS = 0.15
_WINDOW_PX = 11
_THRESHOLD = 0.3
"""Threshold as a fraction of a bead's peak darkness: excludes noise and neighbours."""
_CENTRING_STEPS = 4
_SIZE_RANGE = (0.6, 1.6)
"""Accepted widths of a bead, as fractions of the nominal width and of the median."""
_LEAST_CONTRAST_SHARE = 0.45
_MOST_ELONGATION = 1.6


@dataclass(frozen=True)
class Beads:
    """Round dark spots of an image.

    Attributes:
        centres_px: (N, 2) column and row.
        widths_px: (N,) diameter of a disc with the same second moment.
        contrasts: (N,) darkness at the centre, 0 to 1 of the local brightness.
    """

    centres_px: NDArray[np.float64]
    widths_px: NDArray[np.float64]
    contrasts: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.centres_px)

    def chosen(self, which: NDArray[Any]) -> Beads:
        """The spots selected by a mask (N,) or an index."""
        return Beads(self.centres_px[which], self.widths_px[which], self.contrasts[which])


def find_beads(image: NDArray[Any]) -> Beads:
    """Find dark round spots of a bead's size.

    Args:
        image: (H, W) uint8 or float, at the native scale (about 0.225 mm per pixel).

    Returns:
        spots in the order of their rows, possibly none.
    """
    darkness, field = local_darkness(image)
    peaks = _peaks(darkness, field)
    if len(peaks) == 0:
        return Beads(np.empty((0, 2)), np.empty(0), np.empty(0))
    beads, elongations = _measure(darkness, peaks)
    nominal = 2 * BEAD_RADIUS_PX
    good = (elongations < _MOST_ELONGATION) & (beads.contrasts > _LEAST_DARKNESS)
    good &= (beads.widths_px > _SIZE_RANGE[0] * nominal) & (beads.widths_px < _SIZE_RANGE[1] * nominal)
    if good.any():
        # All beads look the same: fainter or differently sized spots are dust, a screw, or noise.
        width, contrast = np.median(beads.widths_px[good]), np.median(beads.contrasts[good])
        good &= np.abs(beads.widths_px / width - 1) < 0.35
        good &= beads.contrasts > _LEAST_CONTRAST_SHARE * contrast
    return beads.chosen(good)


def local_darkness(image: NDArray[Any]) -> tuple[Image, NDArray[np.bool_]]:
    """Fraction of the local brightness that is missing, (H, W) float32, and the field of view, (H, W)."""
    values = image.astype(np.float32)
    smooth: Image = cv2.GaussianBlur(values, (0, 0), _SMOOTHING_PX)
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_CLOSING_PX, _CLOSING_PX))
    around: Image = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, element)
    # The closing follows the crests of the noise; averaged, it is the background brightness of a bead.
    around = cv2.GaussianBlur(around, (0, 0), _SMOOTHING_PX * 2)
    bright = float(np.percentile(around, 95))
    if bright <= 0:
        return np.zeros_like(values), np.zeros(values.shape, dtype=bool)
    field = around > _FIELD_SHARE * bright
    darkness: Image = 1 - values / np.maximum(around, _FIELD_SHARE * bright)
    return darkness, field


def _peaks(darkness: Image, field: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Row and column of the strongest responses to a bead's shape, (M, 2), a window away from the border."""
    inner, outer = BEAD_RADIUS_PX * 0.6, BEAD_RADIUS_PX * 1.4
    response: Image = cv2.GaussianBlur(darkness, (0, 0), inner) - cv2.GaussianBlur(darkness, (0, 0), outer)
    size = 2 * round(BEAD_RADIUS_PX) + 1
    highest = cv2.dilate(response, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    is_peak = (response >= highest) & (response > 0.2 * _LEAST_DARKNESS) & field
    border = _WINDOW_PX + 1
    is_peak[:border] = is_peak[-border:] = False
    is_peak[:, :border] = is_peak[:, -border:] = False
    return np.argwhere(is_peak)


def _measure(darkness: Image, peaks: NDArray[np.int64]) -> tuple[Beads, NDArray[np.float64]]:
    """Centres, widths and contrasts of the spots about the peaks, and how elongated they are, (M,)."""
    along = np.arange(-_WINDOW_PX, _WINDOW_PX + 1)
    patches = darkness[peaks[:, 0, None, None] + along[:, None], peaks[:, 1, None, None] + along].astype(np.float64)
    ring = np.hypot(along[:, None], along) > 0.85 * _WINDOW_PX
    patches -= np.median(patches[:, ring], axis=1)[:, None, None]
    core = ndimage.gaussian_filter(patches, (0, 1.2, 1.2))
    contrasts = core[:, _WINDOW_PX - 2 : _WINDOW_PX + 3, _WINDOW_PX - 2 : _WINDOW_PX + 3].max(axis=(1, 2))
    weights = np.clip(patches - _THRESHOLD * contrasts[:, None, None], 0, None)
    centres = np.zeros((len(peaks), 2))  # column, row, from the peak
    for _ in range(_CENTRING_STEPS):
        x, y = along - centres[:, 0, None, None], along[:, None] - centres[:, 1, None, None]
        # A soft-edged disc about the current centre, so that the result does not depend on the window's position.
        disc = np.clip(1.75 * BEAD_RADIUS_PX + 0.5 - np.hypot(x, y), 0, 1)
        inside = weights * disc
        total = np.maximum(inside.sum(axis=(1, 2)), 1e-9)
        centres += np.stack([(inside * x).sum(axis=(1, 2)), (inside * y).sum(axis=(1, 2))], axis=1) / total[:, None]
    xx, yy, xy = ((inside * part).sum(axis=(1, 2)) / total for part in (x * x, y * y, x * y))
    half, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    elongations = np.sqrt((half + spread) / np.maximum(half - spread, 1e-9))
    widths = 4 * np.sqrt(half)  # a disc of diameter d has the second moment (d / 4)² along each axis
    return Beads(centres + peaks[:, ::-1], widths, contrasts), elongations
