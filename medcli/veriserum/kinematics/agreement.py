"""How two pose tables agree as motion: bias, limits of agreement, root mean square, and the Bland-Altman figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.files import replacing

LIMITS = 1.96
"""Half width in standard deviations of the limits of agreement."""
_ROWS, _COLUMNS = 2, 5
_COLOURED_TRIALS = 10
_NAMED_TRIALS = 4
"""Trials of one colour that the legend names."""


@dataclass(frozen=True)
class Agreement:
    """How two tables agree in one quantity over some frames; NaN where there are none.

    Attributes:
        frames: with a value in both.
        bias: mean of the differences; ``sd`` their standard deviation.
        limits: of agreement, bias and 1.96 standard deviations of the difference of a frame of any trial: frames of a
            trial are alike, so the variance is that between trials plus that within them (Bland and Altman 2007).
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


def agreement_of(
    differences: NDArray[np.float64], errors: NDArray[np.float64], trials: NDArray[Any] | None = None
) -> Agreement:
    """Agreement from differences (N,) and their standard errors (N,), NaN where not known.

    Args:
        trials: (N,) that each frame is of; None: all of one, or independent.
    """
    known = np.isfinite(differences)
    values = differences[known]
    if not len(values):
        nan = float("nan")
        return Agreement(0, nan, nan, (nan, nan), nan, nan)
    bias = float(values.mean())
    sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    spread = sd if trials is None else _spread(values, trials[known], sd)
    banded = np.isfinite(errors[known])
    inside = np.abs(values[banded]) <= LIMITS * errors[known][banded]
    return Agreement(
        frames=len(values),
        bias=bias,
        sd=sd,
        limits=(bias - LIMITS * spread, bias + LIMITS * spread),
        rms=float(np.sqrt((values**2).mean())),
        maximum=float(np.abs(values).max()),
        within_band=float(inside.mean()) if banded.any() else float("nan"),
    )


def _spread(values: NDArray[np.float64], trials: NDArray[Any], sd: float) -> float:
    """Standard deviation of a difference over trials and frames, by a one-way analysis of variance.

    Bland and Altman 2007, J Biopharm Stat 17:571, for true values that vary. ``sd`` where there is one trial, or one
    frame in each.
    """
    _, trial, counts = np.unique(trials, return_inverse=True, return_counts=True)
    frames, number = len(values), len(counts)
    if number < 2 or frames == number:
        return sd
    means = np.bincount(trial, values) / counts
    within = float(((values - means[trial]) ** 2).sum() / (frames - number))
    between = float((counts * (means - values.mean()) ** 2).sum() / (number - 1))
    size = (frames**2 - float((counts**2).sum())) / ((number - 1) * frames)
    return float(np.sqrt(within + max((between - within) / size, 0.0)))


def draw_agreement(
    differences: pd.DataFrame, overall: Mapping[str, Agreement], compared: Mapping[str, tuple[str, str]], target: Path
) -> None:
    """Difference over mean of each quantity, with bias and limits of agreement.

    Args:
        differences: of :func:`medcli.veriserum.kinematics.compare_motion.match_frames`.
        overall: column -> agreement over all frames.
        compared: column -> title and unit, ten of them.
        target: a PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(17, 7), dpi=100)
    panels = figure.subplots(_ROWS, _COLUMNS)
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.13, top=0.88, wspace=0.24, hspace=0.38)
    colours, names = pd.factorize(differences["trial"])
    for panel, (name, (title, unit)) in zip(panels.ravel(), compared.items(), strict=True):
        found, sign = overall[name], "°" if unit == "deg" else unit
        panel.scatter(
            differences[f"mean_{name}"], differences[name], s=7, c=colours % _COLOURED_TRIALS, cmap="tab10", vmax=9.5
        )
        for value, style in ((found.bias, "-"), (found.limits[0], "--"), (found.limits[1], "--")):
            panel.axhline(value, color="black", linewidth=1, linestyle=style)
        panel.set_title(
            f"{title}, {sign}\nbias {found.bias:+.2f}, limits {found.limits[0]:+.2f} to {found.limits[1]:+.2f}",
            fontsize=9,
        )
        panel.set_xlabel(f"mean of both, {sign}", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
    _add_legend(figure, [str(name) for name in names])
    figure.suptitle(
        "Difference (poses minus reference) over mean; line: bias; dashed: limits of agreement", fontsize=11
    )
    with replacing(target) as part:
        figure.savefig(part, format="png")


def _add_legend(figure: Any, trials: list[str]) -> None:
    """Which trials have which colour, below the panels; colours repeat after ten trials."""
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    handles = []
    for number in range(min(len(trials), _COLOURED_TRIALS)):
        mine = trials[number::_COLOURED_TRIALS]
        shown = ", ".join(mine[:_NAMED_TRIALS]) + (", …" if len(mine) > _NAMED_TRIALS else "")
        colour, label = colormaps["tab10"](number), f"{'trial' if len(mine) == 1 else 'trials'} {shown}"
        handles.append(Line2D([], [], marker="o", linestyle="", markersize=5, color=colour, label=label))
    figure.legend(handles=handles, loc="lower center", ncols=_COLUMNS, fontsize=8, frameon=False)
