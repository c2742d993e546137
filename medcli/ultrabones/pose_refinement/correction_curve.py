"""One smooth correction of a sweep's tracked poses: a cubic B-spline in time for each of the six components.

The spline has knots about :data:`KNOT_SPACING_S` apart and breaks where the timestamps have a gap. Its coefficients are
control points: a curve whose coefficients lie within the bounds does so itself (the spline is a mean of them, by
weights that are positive and sum to 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.compiled import njit

KNOT_SPACING_S = 0.25
GAP_S = 1.0
"""Pauses from this length on end a piece of the curve, if they are also :data:`GAP_STEPS` median steps long."""
GAP_STEPS = 6.0
SHORTEST_STEP_MS = 4.0
USUAL_STEP_S = 0.05
FEWEST_FRAMES = 5
"""A piece with fewer has one constant correction."""
ORDER = 4  # basis functions that are not zero at a time
BAND = 6 * ORDER
_GAUSS = np.polynomial.legendre.leggauss(2)  # exact for the square of a second derivative, which is piecewise linear


@dataclass(frozen=True)
class CurveBasis:
    """The spline's basis functions at the frames of a sweep.

    Attributes:
        times_s: (frames,), ascending.
        pieces: first and past-the-last frame of each piece.
        first: (frames,), number of the first of the four coefficients that a frame depends on.
        values: (frames, 4), the weights of those coefficients; they sum to 1.
        penalty: (coefficients, 4), the integral of the product of the second derivatives of basis functions j and
            j + k in column k, 1 / s³, divided by the mean time from frame to frame.
    """

    times_s: NDArray[np.float64]
    pieces: tuple[tuple[int, int], ...]
    first: NDArray[np.int64]
    values: NDArray[np.float64]
    penalty: NDArray[np.float64]

    @staticmethod
    def of(timestamps_ms: Sequence[int], knot_spacing_s: float = KNOT_SPACING_S) -> CurveBasis:
        """The basis for frames at these times, milliseconds, ascending; equal ones are allowed.

        Where they are mere numbers (:func:`are_numbers`), frames count as 0.05 s apart.
        """
        from scipy.interpolate import BSpline

        times = (np.asarray(timestamps_ms, np.float64) - timestamps_ms[0]) / 1000.0
        if are_numbers(timestamps_ms):
            times *= USUAL_STEP_S / float(np.median(np.diff(times)))
        pieces = split_at_gaps(times)
        step = _step_of(times, pieces)
        first, values, parts, count = np.zeros(len(times), np.int64), np.zeros((len(times), ORDER)), [], 0
        for start, end in pieces:
            own = times[start:end]
            length = float(own[-1] - own[0])
            if end - start < FEWEST_FRAMES or length <= 0:
                first[start:end] = count
                values[start:end, 0] = 1.0
                parts.append(np.zeros((ORDER, ORDER)))  # three unused coefficients keep every index inside
                count += ORDER
                continue
            spans = max(1, round(length / max(knot_spacing_s, step)))
            breaks = np.linspace(own[0], own[-1], spans + 1)
            knots = np.concatenate([np.repeat(breaks[0], ORDER - 1), breaks, np.repeat(breaks[-1], ORDER - 1)])
            inside = np.clip(np.searchsorted(breaks, own, side="right") - 1, 0, spans - 1)
            dense = BSpline.design_matrix(own, knots, ORDER - 1).toarray()
            first[start:end] = count + inside
            values[start:end] = np.take_along_axis(dense, inside[:, None] + np.arange(ORDER), axis=1)
            parts.append(_roughness(knots, breaks, spans + ORDER - 1) / step)
            count += spans + ORDER - 1
        return CurveBasis(times, pieces, first, values, np.concatenate(parts))

    @property
    def coefficients(self) -> int:
        """Number of coefficients of one component."""
        return len(self.penalty)

    def curve(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """The corrections (frames, 6) that coefficients (coefficients, 6) stand for, millimetres and degrees."""
        return np.asarray(
            np.einsum("fk,fkc->fc", self.values, coefficients[self.first[:, None] + np.arange(ORDER)]), np.float64
        )

    def penalty_of(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """The penalty matrix times coefficients (coefficients, 6)."""
        product = self.penalty[:, :1] * coefficients
        for k in range(1, ORDER):
            product[:-k] += self.penalty[:-k, k : k + 1] * coefficients[k:]
            product[k:] += self.penalty[:-k, k : k + 1] * coefficients[:-k]
        return product


def are_numbers(timestamps_ms: Sequence[int]) -> bool:
    """Whether timestamps number the frames: they are less apart than a probe can record, in the median."""
    step_ms = float(np.median(np.diff(timestamps_ms))) if len(timestamps_ms) > 1 else 0.0
    return 0.0 < step_ms < SHORTEST_STEP_MS


def split_at_gaps(times_s: NDArray[np.float64]) -> tuple[tuple[int, int], ...]:
    """First and past-the-last frame of each run of frames without a gap."""
    steps = np.diff(times_s)
    usual = float(np.median(steps)) if len(steps) else 0.0
    ends = (np.flatnonzero(steps >= max(GAP_S, GAP_STEPS * usual)) + 1).tolist()
    return tuple(zip([0, *ends], [*ends, len(times_s)], strict=True))


def _step_of(times: NDArray[np.float64], pieces: Sequence[tuple[int, int]]) -> float:
    """Mean time from frame to frame inside the pieces, seconds."""
    spans = [float(times[end - 1] - times[start]) for start, end in pieces]
    steps = sum(end - start - 1 for start, end in pieces)
    return sum(spans) / steps if sum(spans) > 0 else 1.0


def _roughness(knots: NDArray[np.float64], breaks: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    from scipy.interpolate import BSpline

    middle, half = (breaks[1:] + breaks[:-1]) / 2, np.diff(breaks) / 2
    at = (middle[:, None] + half[:, None] * _GAUSS[0]).ravel()
    weight = (half[:, None] * _GAUSS[1]).ravel()
    second = BSpline(knots, np.eye(count), ORDER - 1).derivative(2)(at)
    matrix = second.T @ (weight[:, None] * second)
    bands = np.zeros((count, ORDER))
    for k in range(ORDER):
        bands[: count - k, k] = np.diagonal(matrix, k)
    return bands


@njit()
def add_to_band(band, right, first, values, gradients, curvatures):
    """Add each frame's 6 x 6 curvature and gradient to the normal equations of all coefficients.

    ``band`` (6 coefficients, 24) holds row i's entries at columns i, i + 1, …; ``right`` is (coefficients, 6).
    """
    for f in range(len(first)):
        for i in range(4):
            for a in range(6):
                right[first[f] + i, a] += values[f, i] * gradients[f, a]
                row = 6 * (first[f] + i) + a
                for j in range(i, 4):
                    weight = values[f, i] * values[f, j]
                    for b in range(a if i == j else 0, 6):
                        band[row, 6 * (j - i) + b - a] += weight * curvatures[f, a, b]


@njit()
def solve_band(band, right, free):
    """Solve a symmetric positive definite system, in the form of :func:`add_to_band`, by Cholesky's method.

    Unknowns that are not ``free`` are 0. ``band`` is overwritten. One thread, so that the result is always the same.
    """
    size, width = band.shape
    solution = np.where(free, right, 0.0)
    for i in range(size):
        for k in range(min(width, size - i)):
            if not (free[i] and free[i + k]):
                band[i, k] = 1.0 if k == 0 else 0.0
    for i in range(size):
        pivot = np.sqrt(max(band[i, 0], 1e-12))
        reach = min(width, size - i)
        for k in range(reach):
            band[i, k] /= pivot
        band[i, 0] = pivot
        for j in range(1, reach):
            factor = band[i, j]
            if factor != 0.0:
                for k in range(j, reach):
                    band[i + j, k - j] -= factor * band[i, k]
    for i in range(size):
        solution[i] /= band[i, 0]
        for k in range(1, min(width, size - i)):
            solution[i + k] -= band[i, k] * solution[i]
    for i in range(size - 1, -1, -1):
        for k in range(1, min(width, size - i)):
            solution[i] -= band[i, k] * solution[i + k]
        solution[i] /= band[i, 0]
    return solution
