"""Least squares by the Levenberg-Marquardt method, bitwise reproducible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.threads import end_if_stopped

Numbers = NDArray[np.float64]

_FIRST_DAMPING, _MOST_DAMPING, _TINY = 1e-3, 1e4, 1e-12
_LEAST_GAIN, _LEAST_STEP, _MOST_STEP = 1e-5, 5e-3, 5.0


def minimise(residuals: Callable[[Numbers], Numbers], count: int, most: int, is_central: bool = True) -> Numbers:
    """Least squares by the Levenberg-Marquardt method, starting from zeros.

    Sums are computed in a fixed order, without a threaded linear algebra library, so results are bitwise reproducible.
    That is why SciPy's ``least_squares`` is not used.

    Args:
        residuals: (count,) float64 -> (N,) float64; the unknowns are in units of the expected change.
        count: number of unknowns.
        most: maximum number of iterations.
        is_central: derivatives by central differences; otherwise by forward ones.

    Returns:
        (count,) the unknowns.
    """
    numbers, damping = np.zeros(count), _FIRST_DAMPING
    current = residuals(numbers)
    cost = fixed_order_dot(current, current)
    # Finite differences with a step of one unit: smaller ones are noisy because of the rendering's pixels.
    aheads = np.eye(count) / (2 if is_central else 1)
    for _ in range(most):
        end_if_stopped()
        slopes = np.stack(
            [residuals(numbers + h) - (residuals(numbers - h) if is_central else current) for h in aheads]
        )
        normal, gradient = np.einsum("in,jn->ij", slopes, slopes), np.einsum("in,n->i", slopes, current)
        before = cost
        while damping < _MOST_DAMPING:
            damped = normal + np.diag(damping * np.diag(normal) + _TINY)
            step = -np.linalg.solve(damped, gradient)
            step *= min(1.0, _MOST_STEP / max(float(np.abs(step).max()), _TINY))
            trial = residuals(numbers + step)
            if (trial_cost := fixed_order_dot(trial, trial)) < cost:
                numbers, current, cost, damping = numbers + step, trial, trial_cost, damping / 10
                break
            damping = max(damping, _FIRST_DAMPING) * 10
        if damping >= _MOST_DAMPING or before - cost < _LEAST_GAIN * before or np.abs(step).max() < _LEAST_STEP:
            break
    return numbers


def fixed_order_dot(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Sum of products in float64, in an order that depends only on the length."""
    return float(np.sum(np.multiply(a, b, dtype=np.float64)))
