"""One figure of all implants with their axes, from three directions, for a person to confirm or correct."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.files import replacing
from medcli.core.mesh import Mesh
from medcli.core.rigid_transforms import invert_rigid
from medcli.veriserum.kinematics.implant_axes import ImplantAxes
from medcli.veriserum.kinematics.surface_samples import SurfaceSamples

Array = NDArray[np.float64]
_VIEWS = {
    "from the front": ((-1, 0, 0), (0, 0, 1), (0, 1, 0)),
    "from the patient's right": ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
    "from above": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
}
"""Across the panel, up, and towards the viewer, in right, anterior, proximal."""
_AXES = {"right": "#c1272d", "anterior": "#1a7f37", "proximal": "#1f5fbf"}
_LIGHT = np.array([-0.35, 0.45, 0.82])
_SAMPLES, _PIXEL_MM, _MARGIN_MM, _ARROW_MM = 150_000, 0.65, 6.0, 22.0


def draw_axes(axes: Mapping[int, ImplantAxes], meshes: Mapping[int, Mesh], target: Path) -> None:
    """Draw each implant that has axes and a mesh, one row each: arrows, the condyles' cylinder, the tray's plane.

    Args:
        axes, meshes: by ``anatomy_id``.
        target: a PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [anatomy for anatomy in axes if anatomy in meshes]
    figure = Figure(figsize=(10.5, 0.6 + 3.2 * max(len(shown), 1)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(max(len(shown), 1), len(_VIEWS), squeeze=False)
    for row, anatomy in zip(panels, shown, strict=False):
        one = axes[anatomy]
        samples = SurfaceSamples.of(meshes[anatomy], _SAMPLES)
        to_axes = invert_rigid(one.matrix())
        points, normals = samples.points @ to_axes[:3, :3].T + to_axes[:3, 3], samples.normals @ to_axes[:3, :3].T
        for panel, (name, view) in zip(row, _VIEWS.items(), strict=True):
            _draw_view(panel, points, normals, np.array(view, np.float64), one)
            panel.set_title(name, fontsize=9)
        side = f", {one.side}" if one.side else ""
        row[0].set_ylabel(f"anatomy {anatomy}: {one.kind}{side}", fontsize=10)
        if one.remarks:
            row[1].set_xlabel("\n".join(one.remarks), fontsize=8, color="#b02a37")
    words = (
        "Red: patient's right, green: anterior, blue: proximal; circle: posterior condyles; dashed: plane of the tray"
    )
    figure.suptitle(f"{words}.\nIs every arrow where it says? Correct axes.json where it is not.", fontsize=9)
    with replacing(target) as part:
        figure.savefig(part, format="png")


def _draw_view(panel: Any, points: Array, normals: Array, view: Array, axes: ImplantAxes) -> None:
    seen, light = points @ view.T, np.abs(normals @ view.T @ _LIGHT)
    low, high = seen[:, :2].min(axis=0) - _MARGIN_MM, seen[:, :2].max(axis=0) + _MARGIN_MM
    reach = (_ARROW_MM + 2 * _MARGIN_MM) * (view @ np.eye(3))[:2]  # the arrows and their names are seen whole
    low = np.minimum(low, np.minimum(reach.min(axis=1), -_MARGIN_MM))
    high = np.maximum(high, np.maximum(reach.max(axis=1), _MARGIN_MM))
    width, height = np.ceil((high - low) / _PIXEL_MM).astype(int) + 1
    image = np.full((height, width), np.nan)
    order = np.argsort(seen[:, 2])  # the nearest last
    column, row = ((seen[order, :2] - low) / _PIXEL_MM).astype(int).T
    image[row, column] = 0.45 + 0.5 * light[order]
    extent = (low[0], high[0], low[1], high[1])
    panel.imshow(image, cmap="gray", vmin=0, vmax=1, origin="lower", extent=extent, interpolation="nearest")
    for name, direction in zip(_AXES, np.eye(3), strict=True):
        tip = (view @ direction)[:2] * _ARROW_MM
        if np.abs(tip).max() > 1:
            panel.annotate(
                "", tip, (0, 0), arrowprops={"arrowstyle": "-|>", "color": _AXES[name], "linewidth": 1.8}, zorder=5
            )
            side = "center" if abs(tip[0]) < 1 else "left" if tip[0] > 0 else "right"
            panel.text(*(tip * 1.12), name, color=_AXES[name], fontsize=8, ha=side, va="center", zorder=6)
    panel.plot(0, 0, "o", color="black", markersize=3.5, zorder=6)
    sideways = abs(view[2][0]) > 0.5
    if axes.radius_mm and sideways:
        turn = np.linspace(0, 2 * np.pi, 120)
        panel.plot(axes.radius_mm * np.cos(turn), axes.radius_mm * np.sin(turn), color="#e07b00", linewidth=1)
    if axes.kind == "tibia" and abs(view[1][2]) > 0.5:
        panel.axhline(0, color="#e07b00", linewidth=1, linestyle="--")
    panel.set_xlim(low[0], high[0])
    panel.set_ylim(low[1], high[1])
    panel.tick_params(labelsize=7)
