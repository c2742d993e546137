"""How two series of measurements agree: bias, limits of agreement, root mean square and largest difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIMITS = 1.96
"""Half width in standard deviations of the limits of agreement (Bland and Altman 1986)."""


@dataclass(frozen=True)
class Agreement:
    """How two tables agree in one quantity over some frames; NaN where there are none.

    Attributes:
        frames: with a value in both.
        bias: mean of the differences; ``sd`` their standard deviation; ``limits`` the limits of agreement.
        rms, maximum: root mean square and largest of the absolute differences.
        within_band: share of frames whose difference lies within 1.96 standard errors of both tables; NaN without any.
    """

    frames: int
    bias: float
    sd: float
    limits: tuple[float, float]
    rms: float
    maximum: float
    within_band: float = float("nan")


def agreement_of(differences: NDArray[np.float64], errors: NDArray[np.float64]) -> Agreement:
    """Agreement from differences (N,) and their standard errors (N,), NaN where not known."""
    known = np.isfinite(differences)
    values = differences[known]
    if not len(values):
        nan = float("nan")
        return Agreement(0, nan, nan, (nan, nan), nan, nan)
    bias = float(values.mean())
    sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    banded = np.isfinite(errors[known])
    inside = np.abs(values[banded]) <= LIMITS * errors[known][banded]
    return Agreement(
        frames=len(values),
        bias=bias,
        sd=sd,
        limits=(bias - LIMITS * sd, bias + LIMITS * sd),
        rms=float(np.sqrt((values**2).mean())),
        maximum=float(np.abs(values).max()),
        within_band=float(inside.mean()) if banded.any() else float("nan"),
    )
