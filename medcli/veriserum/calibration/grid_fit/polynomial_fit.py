"""Fit the published distortion polynomial to points, by linear least squares.

The rigid part (S, R, T) starts as the similarity that fits the points best, so that u and v are nearly millimetres and
the polynomial is nearly the identity. Given S, R and T, the problem is linear in the polynomial's coefficients. S and T
do not change the set of maps the model can represent; R does, since a polynomial of order 3 in each of two variables is
not of that form in rotated axes (u³v³ gives u⁴v²). So the rotation angle is fitted, too, by a search in one variable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from medcli.veriserum.dataset.detector import GRID_SPAN_MM

Points = NDArray[np.float64]
Numbers = tuple[Points, float, Points, Points]
"""Coefficients (32,), scale, translation (2,) and rotation (2, 2)."""
_HALF_SPAN_MM = GRID_SPAN_MM / 2
_MOST_TURN = np.radians(5.0)


def solve_polynomial(points_px: Points, points_mm: Points) -> Numbers:
    """The polynomial that best maps pixels (N, 2) to millimetres (N, 2)."""
    reflected_px = points_px * [1.0, -1.0]
    scale, rotation = _similarity(reflected_px, points_mm)

    def misfit(angle: float) -> float:
        return _solve_turned(reflected_px, points_mm, scale, _turn(angle) @ rotation)[1]

    best = minimize_scalar(misfit, bounds=(-_MOST_TURN, _MOST_TURN), method="bounded", options={"xatol": 1e-4})
    return _solve_turned(reflected_px, points_mm, scale, _turn(float(best.x)) @ rotation)[0]


def _solve_turned(reflected_px: Points, points_mm: Points, scale: float, rotation: Points) -> tuple[Numbers, float]:
    """The best polynomial with this scale and rotation, and its sum of squared residuals."""
    translation = points_mm.mean(axis=0) - scale * rotation @ reflected_px.mean(axis=0)
    plane = scale * reflected_px @ rotation.T + translation
    powers = np.array([(i, j) for i in range(4) for j in range(4)])
    u, v = (plane / _HALF_SPAN_MM).T  # within ±1, so that the columns have similar magnitude
    terms = np.stack([u**i * v**j for i, j in powers], axis=1)
    # The normal equations are ten times faster than a decomposition; their condition, 1e6, is accurate enough.
    solution = np.linalg.solve(terms.T @ terms, terms.T @ points_mm)
    coefficients = solution / (_HALF_SPAN_MM ** powers.sum(axis=1))[:, None]
    numbers = (coefficients.T.ravel(), scale, translation, rotation)
    return numbers, float(((terms @ solution - points_mm) ** 2).sum())


def _turn(angle: float) -> Points:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _similarity(source: Points, target: Points) -> tuple[float, Points]:
    """Scale and orthogonal matrix that best map ``source`` to ``target`` (Umeyama 1991, mirrors allowed)."""
    left, right = source - source.mean(axis=0), target - target.mean(axis=0)
    a, strengths, b = np.linalg.svd(right.T @ left)
    return float(strengths.sum() / (left**2).sum()), a @ b
