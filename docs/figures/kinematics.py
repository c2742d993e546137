"""Make the figure of ``docs/kinematics.md``: ``python docs/figures/kinematics.py``.

``docs/images/kinematics.png``: both components of a right knee with the axes of the joint coordinates, and which way
each of the six is positive.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.synthetic.fluoroscopy.implants import make_implants
from medcli.veriserum.kinematics.surface_samples import SurfaceSamples

TARGET = Path(__file__).parents[1] / "images" / "kinematics.png"
PIXEL_MM, SAMPLES = 0.45, 300_000
APART_MM = 26.0
Array = NDArray[np.float64]


def knee() -> tuple[Array, Array]:
    """Points and normals of both components of a right knee: columns lateral (right), anterior, proximal."""
    points, normals = [], []
    for implant in make_implants():
        if implant.anatomy_id not in (1, 3):
            continue
        samples = SurfaceSamples.of(implant.mesh, SAMPLES)
        # x of the shapes is lateral of a left knee: seen in the mirror it is that of a right one.
        points.append(samples.points[:, [0, 2, 1]] + [0, 0, APART_MM * (implant.kind == "femur")])
        normals.append(samples.normals[:, [0, 2, 1]])
    return np.concatenate(points), np.concatenate(normals)


def draw(panel: Any, points: Array, normals: Array, view: Array, title: str) -> None:
    seen, light = points @ view.T, np.abs(normals @ view.T @ np.array([-0.35, 0.45, 0.82]))
    low = seen[:, :2].min(axis=0)
    width, height = np.ceil(np.ptp(seen[:, :2], axis=0) / PIXEL_MM).astype(int) + 1
    image = np.full((height, width), np.nan)
    order = np.argsort(seen[:, 2])
    column, row = ((seen[order, :2] - low) / PIXEL_MM).astype(int).T
    image[row, column] = 0.5 + 0.45 * light[order]
    high = low + np.array([width, height]) * PIXEL_MM
    panel.imshow(image, cmap="gray", vmin=0, vmax=1, origin="lower", extent=(low[0], high[0], low[1], high[1]))
    panel.set_title(title, fontsize=10)
    panel.set_axis_off()
    panel.set_xlim(-62, 62)
    panel.set_ylim(-62, 92)


def arrow(panel: Any, start: tuple[float, float], end: tuple[float, float], colour: str, bend: float = 0.0) -> None:
    style = f"arc3,rad={bend}"
    panel.add_patch(
        FancyArrowPatch(
            start, end, connectionstyle=style, arrowstyle="-|>", mutation_scale=14, color=colour, linewidth=2
        )
    )


def label(panel: Any, x: float, y: float, text: str, colour: str) -> None:
    panel.text(x, y, text, color=colour, fontsize=9, ha="center", va="center")


def main() -> None:
    points, normals = knee()
    figure = Figure(figsize=(11.5, 5.2), dpi=100)
    FigureCanvasAgg(figure)
    front, side, above = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.86, wspace=0.02)
    red, green, blue, black = "#c1272d", "#1a7f37", "#1f5fbf", "#222222"
    draw(front, points, normals, np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]]), "from the front")
    arrow(front, (0, 44), (-46, 44), red)
    label(front, -50, 50, "e1, lateral\nof the femur", red)
    arrow(front, (0, 0), (0, 84), blue)
    label(front, 26, 84, "e3, proximal of the tibia", blue)
    arrow(front, (-6, -44), (26, -40), black, 0.25)
    label(front, 40, -50, "adduction (varus)", black)
    arrow(front, (-44, 4), (-60, 4), black)
    label(front, -48, -6, "lateral", black)
    arrow(front, (-44, -18), (-44, -38), black)
    label(front, -44, -44, "distal (distraction)", black)
    draw(side, points, normals, np.array([[0, 1.0, 0], [0, 0, 1], [1, 0, 0]]), "from the lateral side")
    arrow(side, (-6, 43), (44, 43), green)
    label(side, 46, 52, "e2, floating,\nforwards", green)
    arrow(side, (-6, 0), (-6, 84), blue)
    label(side, -6, 88, "e3", blue)
    arrow(side, (6, -46), (-34, -34), black, -0.25)
    label(side, -38, -48, "flexion", black)
    arrow(side, (30, 3), (52, 3), black)
    label(side, 46, -6, "anterior", black)
    tray = points[:, 2] < 8
    draw(above, points[tray], normals[tray], np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]), "tray from above")
    arrow(above, (0, 0), (0, 44), green)
    label(above, 0, 49, "forwards", green)
    arrow(above, (0, 0), (50, 0), red)
    label(above, 48, 7, "lateral", red)
    arrow(above, (14, 36), (-22, 34), black, 0.25)
    label(above, -30, 42, "internal rotation", black)
    for x, name in ((-18, "medial"), (18, "lateral")):
        above.plot(x, -8, "o", color="#e07b00", markersize=7)
        label(above, x, -16, f"{name}\nlow point", black)
    figure.suptitle(
        "Right knee: black arrows show which way each coordinate of the tibia is positive. A left knee is its mirror "
        "image.",
        fontsize=10,
    )
    figure.savefig(TARGET, format="png")


if __name__ == "__main__":
    main()
