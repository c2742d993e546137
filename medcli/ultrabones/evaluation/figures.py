"""Images of an evaluation: the three panels of the paper, and frames with label and prediction drawn in."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import quantity
from medcli.core.files import make_output_folder, write_bytes, write_json
from medcli.core.image_io import read_grey, write_image
from medcli.core.overlays import overlay_masks
from medcli.ultrabones.evaluation.mask_distances import dilate
from medcli.ultrabones.evaluation.metrics import curve_measures
from medcli.ultrabones.evaluation.published_result import published_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from medcli.ultrabones.evaluation.aggregation import SegmentationResult
    from medcli.ultrabones.evaluation.prediction_sources import LoadedFrame, Prediction

COLOURS = {"all": "black", "visible": "tab:blue", "invisible": "tab:orange"}
_EXAMPLE_WIDTH = 720
_LABEL_COLOUR, _PREDICTION_COLOUR = (0, 220, 90), (255, 60, 160)


def draw_curves(result: SegmentationResult, path: Path) -> None:
    """Each curve over the threshold, for all, visible and invisible bone, as a PNG."""
    from matplotlib.figure import Figure

    measures = curve_measures()
    published = published_curves() if result.published is not None else {}
    figure = Figure(figsize=(4 * len(measures), 4))
    figure.subplots_adjust(0.04, 0.13, 0.985, 0.84, wspace=0.1)
    for axes, measure in zip(figure.subplots(1, len(measures), sharey=True), measures, strict=True):
        for region, colour in COLOURS.items():
            values = np.array(result.curves[measure.key][region], dtype=float)
            axes.plot(result.thresholds_mm, values, color=colour, label=region)
            if result.interval_95 is not None:
                low, high = result.interval_95[measure.key][region]
                axes.fill_between(result.thresholds_mm, low, high, color=colour, alpha=0.15, linewidth=0)
            if measure.key in published:
                values = np.array(published[measure.key][region])
                axes.plot(result.thresholds_mm, values, "x", color=colour, markersize=4, label=f"{region}, published")
        axes.set(xlabel="distance (mm)", title=measure.heading, xlim=(0, 2), ylim=(0, 1.02))
        axes.set_xticks([0, 0.5, 1, 1.5, 2])
        axes.grid(alpha=0.4)
    axes.legend(loc="lower right")
    specimens = " ".join(map(str, result.specimens))
    shade = "; shaded: 95 % interval over specimens" if result.interval_95 is not None else ""
    figure.suptitle(
        f"{result.protocol} protocol, specimens {specimens}, {quantity(result.frames, 'frame')}{shade}", fontsize=11
    )
    _save(figure, path, dpi=110)


def draw_segmentation_examples(images: Sequence[tuple[str, LoadedFrame, Prediction, str]], path: Path) -> None:
    """Frames with the label (green) and the outline of the prediction (pink), three in a row, as a PNG.

    Args:
        images: image path, frame, prediction and title of each.
        path: the PNG.
    """
    from matplotlib.figure import Figure

    rows = max((len(images) + 2) // 3, 1)
    figure = Figure(figsize=(12, 3.75 * rows))
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.7 / (3.75 * rows), wspace=0.02, hspace=0.12)
    grid: Any = figure.subplots(rows, 3, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for axes, (image, frame, prediction, title) in zip(grid.ravel(), images, strict=False):
        axes.imshow(overlay_label_and_prediction(read_grey(image), frame.label, prediction.native))
        axes.set_title(title, fontsize=8)
    figure.suptitle("label green, prediction outlined in pink", fontsize=10)
    _save(figure, path, dpi=100)


def write_examples(images: Sequence[tuple[str, LoadedFrame, Prediction, str]], folder: Path) -> None:
    """The same frames one by one as JPEG files, with their titles in ``examples.json``."""
    make_output_folder(folder)
    titles = {}
    for number, (image, frame, prediction, title) in enumerate(images, 1):
        name = f"{number:02d}.jpg"
        write_image(folder / name, _small_overlay(read_grey(image), frame.label, prediction.native), quality=90)
        titles[name] = title
    write_json(folder / "examples.json", titles)  # last: names only what is there


def _small_overlay(
    grey: NDArray[np.uint8], label: NDArray[np.bool_], prediction: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The same overlay, at most 720 columns wide and with lines that stay visible at that size."""
    size = (min(_EXAMPLE_WIDTH, grey.shape[1]), round(grey.shape[0] * min(_EXAMPLE_WIDTH / grey.shape[1], 1)))
    small: Any = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    masks = [
        cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0 for mask in (label, prediction)
    ]
    return overlay_label_and_prediction(small, dilate(masks[0], 1), masks[1], width=3)


def overlay_label_and_prediction(
    grey: NDArray[np.uint8], label: NDArray[np.bool_], prediction: NDArray[np.bool_], width: int | None = None
) -> NDArray[np.uint8]:
    """An RGB image (H, W, 3) of a frame with its label and, a little apart, the outline of its prediction."""
    width = width or max(round(max(grey.shape) / 400), 1)
    rim = dilate(prediction, 2 * width) & ~dilate(prediction, width)
    return overlay_masks(grey, (rim, _PREDICTION_COLOUR), (label, _LABEL_COLOUR))


def _save(figure: Figure, path: Path, dpi: int) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    write_bytes(path, content.getbuffer(), durable=False)
