"""Figures of a pose evaluation: distributions of errors, and overlays of the implant on some pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.contact_sheet import contact_sheet
from medcli.core.files import replacing
from medcli.core.image_io import write_image
from medcli.core.mesh import Mesh
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.geometry.biplane import DualPlane
from medcli.veriserum.geometry.outline_overlay import ESTIMATE, REFERENCE, draw_planes
from medcli.veriserum.pose.metrics import POSE_MEASURES
from medcli.veriserum.pose.pair_images import PairFiles, PairReader

Example = tuple[str, PairFiles, Mesh, DualPlane, Sequence[NDArray[np.float64]]]
"""Caption, files, surface, cameras, and poses of reference and estimate (4, 4), implant to world."""


def draw_errors(errors: pd.DataFrame, guess: pd.DataFrame | None, target: Path) -> None:
    """Cumulative distributions of the errors, with those of the mean pose (dashed) and the published percentiles.

    Args:
        errors: see :func:`medcli.veriserum.pose.metrics.pose_errors`.
        guess: the same for the mean pose.
        target: a PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(measure.panel for measure in POSE_MEASURES if measure.panel))
    figure = Figure(figsize=(4.2 * len(panels), 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axis, label in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for number, measure in enumerate(one for one in POSE_MEASURES if one.panel == label):
            colour = f"C{number}"
            axis.plot(*_cumulative(errors[measure.name]), color=colour, linewidth=1.5, label=measure.title)
            if guess is not None and measure.is_main:
                axis.plot(*_cumulative(guess[measure.name]), color=colour, linewidth=0.9, linestyle="--", alpha=0.7)
            for percent, value in measure.single_plane.items():
                axis.plot(value, percent, marker="x", color=colour, markersize=7, linestyle="none")
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xlim(left=0)
        axis.set_ylim(0, 100)
        axis.set_xlabel(label)
        axis.set_ylabel("pairs below, %")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, loc="upper left")
    figure.suptitle("Solid: estimate; dashed: mean pose of the training pairs; x: published, single-plane", fontsize=9)
    with replacing(target) as part:
        figure.savefig(part, format="png")


def draw_pose_examples(examples: Sequence[Example], reader: PairReader, target: Path) -> None:
    """Pairs with the implant's outlines by reference and estimate, one row each, as one image."""
    rows, notes = [], []
    for note, files, mesh, cameras, (reference, estimate) in examples:
        planes = reader.read(files)
        poses = [(reference, REFERENCE), (estimate, ESTIMATE)]
        rows.append(draw_planes(dict(zip(PLANES, planes, strict=True)), cameras, mesh, poses))
        notes.append(note)
    write_image(
        target, contact_sheet(rows, ["plane bs; blue: reference", "plane fs; orange: estimate"], notes, panel=420)
    )


def rank(errors: pd.DataFrame) -> list[tuple[str, int]]:
    """Ids of the best, median and worst pair by translation in mm plus rotation in degrees; fewer of few pairs."""
    order = (errors["distance_mm"] + errors["rotation_deg"]).sort_values(kind="stable").index.tolist()
    places = {"best": 0, "median": (len(order) - 1) // 2, "worst": len(order) - 1}
    chosen = {place: words for words, place in reversed(places.items())}
    return [(words, int(order[place])) for place, words in sorted(chosen.items())]


def _cumulative(values: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = np.sort(values.dropna().to_numpy(np.float64))
    return known, 100 * np.arange(1, len(known) + 1) / max(len(known), 1)
