"""Fit a distortion model to recognised beads, with rejection of outliers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.veriserum.calibration.distortion_model import DistortionModel

Points = NDArray[np.float64]
_REJECTION = 5.0
"""Beads with residuals beyond this many robust standard deviations are rejected."""
_LEAST_LIMIT_MM = 0.03
_MOST_ROUNDS = 20
_LEAST_BEADS = 64
"""Twice the number of coefficients of the published model per direction."""


@dataclass(frozen=True)
class RobustFit:
    """A fitted calibration and its residuals.

    Attributes:
        distortion: the model.
        used: (N,) which beads it was fitted to; the others are outliers.
        residuals_mm: (N, 2) mapped minus true position of every bead, including outliers.
        residuals_px: (N, 2) the same in the image, columns and rows.
    """

    distortion: DistortionModel
    used: NDArray[np.bool_]
    residuals_mm: Points
    residuals_px: Points


def fit_distortion(model: type[DistortionModel], centres_px: Points, beads_mm: Points) -> RobustFit:
    """Fit a model to beads imaged at ``centres_px`` (N, 2) with true positions ``beads_mm`` (N, 2).

    Raises:
        DataError: too few beads remain, or the fitted map folds somewhere in the image or is not plausible.
    """
    used = np.ones(len(centres_px), dtype=bool)
    for _ in range(_MOST_ROUNDS):
        distortion = model.from_estimate(centres_px[used], beads_mm[used])
        residuals = distortion.residuals(centres_px, beads_mm)
        lengths = np.linalg.norm(residuals, axis=1)
        kept = lengths <= rejection_limit_mm(residuals[used])
        if np.array_equal(kept, used):
            break
        used = kept
    if used.sum() < _LEAST_BEADS:
        raise DataError(f"only {used.sum()} of {quantity(len(used), 'bead')} agree with one smooth distortion")
    distortion.check_plausible("the fitted calibration")
    residuals_px = np.linalg.solve(distortion.jacobian(centres_px), residuals[..., None])[..., 0]
    return RobustFit(distortion, used, residuals, np.asarray(residuals_px, np.float64))


def rejection_limit_mm(residuals_mm: Points) -> float:
    """Length beyond which a residual is an outlier beside these (N, 2)."""
    return max(_REJECTION * robust_spread_mm(residuals_mm), _LEAST_LIMIT_MM)


def robust_spread_mm(residuals_mm: Points) -> float:
    """Standard deviation along one axis of residuals (N, 2), from their median length."""
    # The median length of a two-dimensional normal deviation is 1.1774 standard deviations of one axis.
    return float(np.median(np.linalg.norm(residuals_mm, axis=1))) / 1.1774
