"""Bland-Altman figure of two pose tables compared as motion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from medcli.core.files import replacing
from medcli.veriserum.kinematics.agreement import Agreement

_ROWS, _COLUMNS = 2, 5
_COLOURED_TRIALS = 10
_NAMED_TRIALS = 4
"""Trials of one colour that the legend names."""


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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(17, 7), dpi=100)
    FigureCanvasAgg(figure)
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
