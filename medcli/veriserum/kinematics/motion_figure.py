"""The figure of a trial: six coordinates and both low points, over time and over flexion, with bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.files import replacing
from medcli.veriserum.kinematics.error_bars import BAND_HOLDS
from medcli.veriserum.kinematics.joint_coordinates import BAND, COORDINATES
from medcli.veriserum.kinematics.low_points import CONDYLES, LOW_POINT_AXES
from medcli.veriserum.kinematics.motion import DOUBTFUL, MISSING

Array = NDArray[np.float64]
_BLUE, _COLOURS = "#1f5fbf", {"medial": "#b8520a", "lateral": "#2a7d3f"}
_LOW_TITLES = {"ap_mm": "low points, anterior", "ml_mm": "low points, lateral", "height_mm": "low points, height"}
_ROWS, _COLUMNS = 3, 3


def draw_motion(motion: pd.DataFrame, title: str, target: Path, outline_mm: Array | None = None) -> None:
    """Draw one trial.

    Args:
        motion: its rows of the table of :func:`medcli.veriserum.kinematics.motion.knee_motion`.
        title: of the figure.
        target: a PNG file.
        outline_mm: (N, 2) lateral and anterior, of the tray seen from above.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(18, 8.6), dpi=100)
    usable = motion.where(motion["status"] != MISSING)
    every = figure.subplots(_ROWS, 2 * _COLUMNS)
    figure.subplots_adjust(left=0.025, right=0.99, bottom=0.075, top=0.9, wspace=0.2, hspace=0.42)
    for half, (x_name, x_label) in enumerate({"time_s": "time, s", "flexion_deg": "flexion, °"}.items()):
        panels = every[:, half * _COLUMNS : (half + 1) * _COLUMNS]
        figure.text(0.25 + 0.5 * half, 0.945, f"over {x_label.partition(',')[0]}", ha="center", fontsize=11)
        x = usable[x_name].to_numpy(np.float64)
        for panel, coordinate in zip(panels[:2].ravel(), COORDINATES, strict=True):
            if coordinate.name == x_name:
                _draw_tray(panel, usable, outline_mm)
                continue
            _draw_curve(panel, x, usable, coordinate.name, _BLUE)
            _finish(panel, f"{coordinate.title}, {coordinate.sign}", x_label)
        for panel, axis in zip(panels[2], LOW_POINT_AXES, strict=True):
            for condyle in CONDYLES:
                _draw_curve(panel, x, usable, f"{condyle}_low_{axis}", _COLOURS[condyle], condyle)
            _finish(panel, f"{_LOW_TITLES[axis]}, mm", x_label)
            panel.legend(frameon=False, fontsize=8)
    if usable["se_flexion_deg"].notna().any():
        words = f"bands, {BAND:g} standard errors to either side, hold {BAND_HOLDS}"
        figure.text(0.99, 0.004, words, ha="right", fontsize=8)
    figure.suptitle(title, fontsize=12, y=0.99)
    with replacing(target) as part:
        figure.savefig(part, format="png")


def _draw_curve(panel: Any, x: Array, motion: pd.DataFrame, name: str, colour: str, label: str = "") -> None:
    y, half = motion[name].to_numpy(np.float64), BAND * motion[f"se_{name}"].to_numpy(np.float64)
    if np.isfinite(half).any() and np.nanmin(np.diff(x), initial=1) < 0:  # to and fro: bars, as bands would overlap
        panel.vlines(x, y - half, y + half, color=colour, alpha=0.3, linewidth=1.5)
    elif np.isfinite(half).any():
        panel.fill_between(x, y - half, y + half, color=colour, alpha=0.2, linewidth=0)
    lonely = np.isfinite(y) & ~np.isfinite(np.append(y[1:], np.nan)) & ~np.isfinite(np.append(np.nan, y[:-1]))
    panel.plot(x, y, color=colour, linewidth=1.4, label=label)
    panel.plot(x[lonely], y[lonely], ".", color=colour)
    doubtful = (motion["status"] == DOUBTFUL).to_numpy()
    panel.plot(x[doubtful], y[doubtful], "x", color="#222222", markersize=4)


def _draw_tray(panel: Any, motion: pd.DataFrame, outline_mm: Array | None) -> None:
    """Low points from above: anterior up, lateral to the right."""
    if outline_mm is not None:
        panel.fill(*outline_mm.T, facecolor="#8888881f", edgecolor="#888888", linewidth=1)
    for condyle in CONDYLES:
        x, y = (motion[f"{condyle}_low_{axis}"] for axis in ("ml_mm", "ap_mm"))
        panel.plot(x, y, color=_COLOURS[condyle], linewidth=1.2)
    panel.set_aspect("equal", adjustable="datalim")
    _finish(panel, "low points on the tray from above, mm", "lateral, mm")
    for corner, condyle in zip((0.02, 0.98), CONDYLES, strict=True):  # in the corners, where no tray is; medial is left
        words = {"transform": panel.transAxes, "ha": "left" if corner < 0.5 else "right", "fontsize": 8}
        panel.text(corner, 0.03, condyle, color=_COLOURS[condyle], **words)


def _finish(panel: Any, title: str, x_label: str) -> None:
    panel.set_title(title, fontsize=9)
    panel.set_xlabel(x_label, fontsize=8)
    panel.tick_params(labelsize=8)
    panel.locator_params(nbins=5)
    panel.grid(alpha=0.3)
