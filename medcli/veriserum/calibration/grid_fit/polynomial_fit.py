"""Fit the published distortion model to recognised beads, by linear least squares with rejection of outliers.

The rigid part (S, R, T) starts as the similarity that fits the beads best, so that u and v are nearly millimetres and
the polynomial is nearly the identity. Given S, R and T, the problem is linear in the polynomial's coefficients. S and T
do not change which maps the model can be; R does, for a polynomial of order 3 in each of two variables is not of that
kind in turned axes (u³v³ makes u⁴v² there). So the turn is sought, too, a search in one variable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from medcli.core.errors import DataError
from medcli.veriserum.calibration.distortion_model import Distortion
from medcli.veriserum.dataset.detector import GRID_SPAN_MM

Points = NDArray[np.float64]
_HALF_SPAN_MM = GRID_SPAN_MM / 2
_REJECTION = 5.0
"""Beads farther off than this many robust standard deviations are left out."""
_LEAST_LIMIT_MM = 0.03
_MOST_ROUNDS = 20
_MOST_TURN = np.radians(5.0)


@dataclass(frozen=True)
class PolynomialFit:
    """A fitted calibration and how well it fits.

    Attributes:
        distortion: the model.
        used: (N,) which beads it was fitted to; the others are outliers.
        residuals_mm: (N, 2) mapped minus true place of every bead, outliers too.
        residuals_px: (N, 2) the same seen in the image, columns and rows.
    """

    distortion: Distortion
    used: NDArray[np.bool_]
    residuals_mm: Points
    residuals_px: Points


def fit_polynomial(centres_px: Points, beads_mm: Points) -> PolynomialFit:
    """Fit a calibration to beads seen at ``centres_px`` (N, 2) that truly are at ``beads_mm`` (N, 2).

    Raises:
        DataError: too few beads remain, or the fitted map folds somewhere in the image.
    """
    reflected = centres_px * [1.0, -1.0]
    used = np.ones(len(centres_px), dtype=bool)
    for _ in range(_MOST_ROUNDS):
        distortion = _fit(reflected[used], beads_mm[used])
        residuals = distortion(centres_px) - beads_mm
        lengths = np.linalg.norm(residuals, axis=1)
        # The median length of a two-dimensional normal deviation is 1.1774 standard deviations of one axis.
        limit = max(_REJECTION * float(np.median(lengths[used])) / 1.1774, _LEAST_LIMIT_MM)
        kept = lengths <= limit
        if np.array_equal(kept, used):
            break
        used = kept
    if used.sum() < 2 * 32:
        raise DataError(f"only {used.sum()} of {len(used)} beads agree with one smooth distortion")
    distortion.check_invertible("the fitted calibration")
    residuals_px = np.linalg.solve(distortion.jacobian(centres_px), residuals[..., None])[..., 0]
    return PolynomialFit(distortion, used, residuals, np.asarray(residuals_px, np.float64))


def _fit(reflected_px: Points, beads_mm: Points) -> Distortion:
    scale, rotation, _ = _similarity(reflected_px, beads_mm)

    def misfit(angle: float) -> float:
        return _fit_turned(reflected_px, beads_mm, scale, _turn(angle) @ rotation)[1]

    best = minimize_scalar(misfit, bounds=(-_MOST_TURN, _MOST_TURN), method="bounded", options={"xatol": 1e-4})
    return _fit_turned(reflected_px, beads_mm, scale, _turn(float(best.x)) @ rotation)[0]


def _fit_turned(reflected_px: Points, beads_mm: Points, scale: float, rotation: Points) -> tuple[Distortion, float]:
    """The best model with this scale and rotation, and its sum of squared residuals."""
    translation = beads_mm.mean(axis=0) - scale * rotation @ reflected_px.mean(axis=0)
    plane = scale * reflected_px @ rotation.T + translation
    powers = np.array([(i, j) for i in range(4) for j in range(4)])
    u, v = (plane / _HALF_SPAN_MM).T  # within ±1, so that the columns are of one size
    terms = np.stack([u**i * v**j for i, j in powers], axis=1)
    # The normal equations are ten times as fast as a decomposition; their condition, 1e6, costs no digit that counts.
    solution = np.linalg.solve(terms.T @ terms, terms.T @ beads_mm)
    coefficients = solution / (_HALF_SPAN_MM ** powers.sum(axis=1))[:, None]
    distortion = Distortion(coefficients.T.ravel(), scale, translation, rotation)
    return distortion, float(((terms @ solution - beads_mm) ** 2).sum())


def _turn(angle: float) -> Points:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _similarity(source: Points, target: Points) -> tuple[float, Points, Points]:
    """Scale, orthogonal matrix and shift that take ``source`` nearest to ``target`` (Umeyama 1991, mirrors allowed)."""
    middle_source, middle_target = source.mean(axis=0), target.mean(axis=0)
    left, right = source - middle_source, target - middle_target
    a, strengths, b = np.linalg.svd(right.T @ left)
    rotation = a @ b
    scale = float(strengths.sum() / (left**2).sum())
    return scale, rotation, middle_target - scale * rotation @ middle_source
