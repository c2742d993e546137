"""The image of a reconstruction: points from three sides, coloured by their distance to the CT mesh."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.files import replacing
from medcli.ultrabones.geometry.bone_surface import Surface

_COLOURS = "viridis"
_MOST_POINTS = 60_000
_MARGIN_MM = 10.0


def distance_colours(distances: NDArray[np.float64], full_scale_mm: float) -> NDArray[np.uint8]:
    """Colours (N, 3) of distances (N,), from 0 to ``full_scale_mm``."""
    from matplotlib import colormaps

    return np.asarray(colormaps[_COLOURS](distances / full_scale_mm, bytes=True)[:, :3])


def colour_scale_mm(distances: NDArray[np.float64]) -> float:
    """A round end of the colour scale that 95 % of the distances stay below."""
    high = float(np.percentile(distances, 95)) if len(distances) else 0.0
    return next((end for end in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0) if high <= end), 100.0)


def draw_cloud(
    path: Path,
    points: NDArray[np.float64],
    distances: NDArray[np.float64],
    surfaces: Sequence[Surface],
    title: str,
    scale_mm: float | None = None,
) -> None:
    """Draw points (N, 3) over the bones in grey, seen along the CT's y, x and z axes, to a PNG file.

    Colours end at ``scale_mm``; None: where 95 % of the distances (N,) end.
    """
    from matplotlib.figure import Figure

    low, high = points.min(axis=0) - _MARGIN_MM, points.max(axis=0) + _MARGIN_MM
    extent = high - low
    wide = extent[2] + extent[0]
    tall = extent[0] + extent[1]
    figure = Figure(figsize=(11, min(12.0, max(4.0, 9.0 * tall / wide + 1.6))), dpi=120, layout="constrained")
    axes = figure.subplots(
        2, 2, gridspec_kw={"width_ratios": [extent[2], extent[0]], "height_ratios": [extent[0], extent[1]]}
    )
    axes[0, 1].axis("off")
    corners = np.concatenate([surface.triangles[:, 0] for surface in surfaces])
    corners = corners[np.all((corners >= low) & (corners <= high), axis=1)]
    order = np.random.default_rng(0).permutation(len(points))[:_MOST_POINTS]
    drawn: Any = None
    for axis, (across, up, name) in zip(
        (axes[0, 0], axes[1, 0], axes[1, 1]),
        ((2, 0, "along y"), (2, 1, "along x"), (0, 1, "along z")),
        strict=True,
    ):
        axis.scatter(corners[:, across], corners[:, up], s=1, c="0.85", linewidths=0, rasterized=True)
        drawn = axis.scatter(
            points[order, across], points[order, up], s=1.5, c=distances[order], cmap=_COLOURS, vmin=0,
            vmax=scale_mm or colour_scale_mm(distances), linewidths=0, rasterized=True,
        )  # fmt: skip
        axis.set(xlim=(low[across], high[across]), ylim=(low[up], high[up]), aspect="equal")
        axis.set_xlabel(f"{'xyz'[across]} (mm)")
        axis.set_ylabel(f"{'xyz'[up]} (mm)")
        axis.set_title(name, fontsize=9)
    bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.5, aspect=40, pad=0.02)
    beyond = f", yellow: {scale_mm:g} mm or more" if scale_mm else ""
    bar.set_label(f"exact distance to the CT mesh (mm{beyond}); mesh in grey")
    figure.suptitle(title, fontsize=11)
    with replacing(path) as part:
        figure.savefig(part, format="png")
