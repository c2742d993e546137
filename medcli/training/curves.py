"""The training curve as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medcli.core.files import replacing

Panel = tuple[str, Mapping[str, str]]
"""A panel's axis label, and name of a metric -> its label."""


def plot_curves(target: Path, history: Sequence[Mapping[str, float]], panels: Sequence[Panel]) -> None:
    """Draw metrics over epochs, side by side, into a PNG file.

    Args:
        target: the PNG file; its folder exists.
        history: one row an epoch, as in ``metrics.csv``.
        panels: what to draw; a metric that no row has is left out.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(4.2 * len(panels), 3.4), dpi=120, layout="constrained")
    mark = "o" if len(history) <= 30 else ""
    for axis, (label, metrics) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, text in metrics.items():
            points = [(row["epoch"], row[name]) for row in history if name in row]
            if points:
                axis.plot(*zip(*points, strict=True), marker=mark, markersize=3, linewidth=1.4, label=text)
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(frameon=False)
    with replacing(target) as part:
        figure.savefig(part, format="png")
