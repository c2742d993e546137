"""Figure of a fitted calibration: the beads used, the residual of each, and the pattern of those held out."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from medcli.core.files import write_bytes
from medcli.veriserum.calibration.grid_fit.fit_plane import GridFit
from medcli.veriserum.calibration.grid_fit.held_out import Points
from medcli.veriserum.calibration.grid_fit.phantom import ORIENTATION_BEAD, bead_presence, nodes_to_mm
from medcli.veriserum.dataset.detector import NATIVE_HEIGHT, NATIVE_WIDTH

_INCHES, _DPI = 6.4, 110
_ARROW_PX = 70
"""Length in native pixels of the arrow in the key."""


def write_fit_figure(path: Path, fits: Mapping[str, GridFit]) -> None:
    """Write a PNG file: for each plane the beads on the image, the residual vectors, and their pattern in space."""
    figure = Figure(figsize=(_INCHES * len(fits), 2.95 * _INCHES), dpi=_DPI, layout="constrained")
    axes = figure.subplots(3, len(fits), squeeze=False)
    for column, (plane, found) in enumerate(fits.items()):
        _draw_beads(axes[0, column], plane, found)
        _draw_residuals(axes[1, column], plane, found)
        _draw_pattern(axes[2, column], plane, found)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes(path, content.getvalue())


def _draw_beads(axis: Any, plane: str, found: GridFit) -> None:
    axis.imshow(found.image, cmap="gray", interpolation="antialiased")
    used, centres = found.fit.used, found.centres_px
    is_orientation = np.all(found.match.nodes == ORIENTATION_BEAD, axis=1)
    unmatched = np.setdiff1d(np.arange(len(found.beads)), found.match.spots)
    seen = set(map(tuple, found.match.nodes.tolist()))
    missing = np.array([node for node in np.argwhere(bead_presence()).tolist() if tuple(node) not in seen])
    groups = [
        ("used", centres[used & ~is_orientation], "o", "tab:green"),
        ("orientation bead", centres[is_orientation], "s", "tab:blue"),
        ("outliers", centres[~used], "o", "tab:red"),
        ("not of the phantom", found.beads.centres_px[unmatched], "D", "tab:orange"),
    ]
    for label, points, marker, colour in groups:
        axis.plot(
            *(points.T if len(points) else ([], [])),
            *(marker,),
            markersize=4.5,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=0.8,
            label=f"{label} ({len(points)})",
        )
    places = found.fit.distortion.inverse(nodes_to_mm(missing)) if len(missing) else np.empty((0, 2))
    axis.plot(*places.T, "x", markersize=4, color="gold", label=f"missing ({len(missing)})")
    axis.set(title=f"plane {plane}: beads", xlim=(-0.5, NATIVE_WIDTH - 0.5), ylim=(NATIVE_HEIGHT - 0.5, -0.5))
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.05), ncols=3, fontsize=8, frameon=False)


def _draw_residuals(axis: Any, plane: str, found: GridFit) -> None:
    used, residuals = found.fit.used, found.fit.residuals_mm
    lengths = np.linalg.norm(residuals[used], axis=1)
    title = f"plane {plane}: residuals, mean {lengths.mean():.4f} mm, largest {lengths.max():.4f} mm"
    _draw_arrows(axis, found, used, residuals, title)
    axis.plot(*found.centres_px[~used].T, "o", markersize=4, color="tab:red")


def _draw_pattern(axis: Any, plane: str, found: GridFit) -> None:
    apart = found.held_out
    title = (
        f"plane {plane}: held-out residuals, median of 3 x 3 beads\n"
        f"autocorrelation {apart.autocorrelation:.2f}, systematic {apart.systematic_mm:.4f} mm, "
        f"largest {apart.largest_mm:.4f} mm"
    )
    _draw_arrows(axis, found, np.asarray(np.isfinite(apart.local_mm).all(axis=1)), apart.local_mm, title)


def _draw_arrows(axis: Any, found: GridFit, shown: NDArray[np.bool_], vectors_mm: Points, title: str) -> None:
    """Vectors (N, 2) of the beads as arrows at their places in the image."""
    centres = found.centres_px
    jacobian = found.fit.distortion.jacobian(centres)
    vectors_px = np.linalg.solve(jacobian[shown], vectors_mm[shown][..., None])[..., 0]
    lengths = np.linalg.norm(vectors_mm[shown], axis=1)
    key_mm = _round_up(float(np.percentile(lengths, 95)))
    mm_per_px = np.sqrt(np.abs(np.linalg.det(jacobian))).mean()
    scale = key_mm / mm_per_px / _ARROW_PX
    arrows = axis.quiver(
        *centres[shown].T,
        *vectors_px.T,
        *(lengths,),
        angles="xy",
        scale_units="xy",
        scale=scale,
        width=0.0022,
        cmap="viridis",
    )
    axis.quiverkey(arrows, 0.82, 0.05, key_mm / mm_per_px, f"{key_mm:g} mm", labelpos="E", angle=0)
    axis.set(
        title=title,
        xlim=(-0.5, NATIVE_WIDTH - 0.5),
        ylim=(NATIVE_HEIGHT - 0.5, -0.5),
        aspect="equal",
        xlabel="column (pixels)",
        ylabel="row (pixels)",
    )
    bar = axis.figure.colorbar(arrows, ax=axis, location="bottom", shrink=0.7, aspect=40, label="length (mm)")
    bar.locator = MaxNLocator(5)
    bar.update_ticks()


def _round_up(value: float) -> float:
    """The next number of the form 1, 2 or 5 times a power of ten; at least 0.001."""
    value = max(value, 1e-3)
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if value <= step * power * (1 + 1e-9)))
