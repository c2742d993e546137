"""How near a predicted bone surface lies to the labelled one: the published protocol, and a stricter one.

**Paper** (Wu et al. 2025): everything at 256 x 256 with one scale for both axes, 0.1857… mm per pixel. The label is
thickened to 3 pixels. Precision at t is the share of predicted pixels nearer than t to a label pixel, recall the share
of label pixels nearer than t to a predicted one, F1 = 2pr / (p + r + 1e-10), t = 0.0 to 2.0 mm, compared with <.
Frames without any predicted or label pixel are left out. *Visible* restricts prediction **and** label to pixels of grey
107 and more, *invisible* to darker ones. An empty set is infinitely far away.

**Strict**: native pixels with their true spacing, the label as it is, and every labelled frame counts: without a
prediction its recall and F1 are 0. Regions restrict the pixels that are counted, not what they are compared with; F1
is 0 also where a region holds label but no prediction, although its recall may be above 0.

Regions come in the order :data:`REGIONS`, thresholds in the order :data:`THRESHOLDS_MM`; a value that a frame does not
have is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from medcli.ultrabones.dataset.constants import FRAME_HEIGHT, FRAME_WIDTH, INPUT_SIZE
from medcli.ultrabones.evaluation.mask_distances import NOWHERE, count_below, dilate, positions, squared_distances
from medcli.ultrabones.segmentation.preprocessing import nearest_indices

THRESHOLDS_MM = np.arange(0, 2.1, 0.1)
"""The 21 published thresholds, as published (0.30000000000000004 and so on)."""
REGIONS = ("all", "visible", "invisible")
VISIBLE_GREY = 107.0
"""Grey value from which a pixel is visible."""
THICKNESS_PX = 3
"""The published label holds the pixels within this distance of a label pixel, at 256 x 256."""
PAPER_SCALE_MM = (FRAME_WIDTH + FRAME_HEIGHT) / INPUT_SIZE / 2 * 0.054
"""Published millimetres per pixel at 256 x 256: the mean of both axes, with 0.054 for 0.05392."""
_TINY = 1e-10


@dataclass(frozen=True)
class FrameScore:
    """Scores of one frame.

    Attributes:
        precision, recall, f1: (3, 21), region by threshold, NaN where undefined.
        dice: overlap of prediction and label, NaN where both are empty.
        assd_mm: mean of the distances from every pixel of one mask to the other, both ways.
        hd_mm, hd95_mm: largest distance, and the larger of the two 95th percentiles; NaN where a mask is empty.
        labelled, predicted: whether the mask has pixels.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    dice: float
    assd_mm: float
    hd_mm: float
    hd95_mm: float
    labelled: bool
    predicted: bool


def thicken_label(label: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The published label: pixels within 3 of a label pixel, (256, 256)."""
    return np.asarray(dilate(label, THICKNESS_PX))


def paper_score(
    grey: NDArray[np.float32],
    prediction: NDArray[np.bool_],
    label: NDArray[np.bool_],
    visible_grey: float = VISIBLE_GREY,
) -> FrameScore | None:
    """Score one frame by the published protocol; None for a frame that it leaves out.

    Args:
        grey: (256, 256) resized image, 0 to 255, not rounded.
        prediction: (256, 256), probability above 0.5.
        label: (256, 256), not thickened.
        visible_grey: grey value from which a pixel is visible.
    """
    thick = thicken_label(label)
    if not prediction.any() or not thick.any():
        return None
    visible = grey >= visible_grey
    precision, recall = np.full((3, 21), np.nan), np.full((3, 21), np.nan)
    squared: list[NDArray[np.int64]] = []
    for i, region in enumerate((np.ones_like(visible), visible, ~visible)):
        p, g = prediction & region, thick & region
        if REGIONS[i] == "invisible" and not (p.any() and g.any()):
            continue
        to_label, to_prediction = squared_distances(p, g), squared_distances(g, p)
        precision[i] = _shares(to_label, PAPER_SCALE_MM)
        recall[i] = _shares(to_prediction, PAPER_SCALE_MM)
        squared = squared or [to_label, to_prediction]
    f1 = 2 * precision * recall / (precision + recall + _TINY)
    return FrameScore(
        precision, recall, f1, _dice(prediction, thick), *_surface_distances(squared, PAPER_SCALE_MM), True, True
    )


def strict_score(
    grey: NDArray[np.float32],
    prediction: NDArray[np.bool_],
    label: NDArray[np.bool_],
    spacing_mm: float,
    visible_grey: float = VISIBLE_GREY,
) -> FrameScore:
    """Score one frame on its native grid.

    Args:
        grey: (256, 256) resized image, 0 to 255: what is visible does not depend on the protocol.
        prediction: (H, W) native mask.
        label: (H, W) native mask.
        spacing_mm: edge of a native pixel.
        visible_grey: grey value from which a pixel is visible.
    """
    labelled, predicted = bool(label.any()), bool(prediction.any())
    to_label, to_prediction = squared_distances(prediction, label), squared_distances(label, prediction)
    visible = grey >= visible_grey
    precision = _shares_by_region(to_label, _at_pixels(visible, prediction), spacing_mm)
    recall = _shares_by_region(to_prediction, _at_pixels(visible, label), spacing_mm)
    f1 = 2 * precision * recall / (precision + recall + _TINY)
    f1 = np.where(np.isnan(precision) & ~np.isnan(recall), 0.0, f1)  # bone there, and nothing predicted
    if not labelled:
        precision[:], recall[:], f1[:] = np.nan, np.nan, np.nan
    distances = _surface_distances([to_label, to_prediction], spacing_mm)
    return FrameScore(precision, recall, f1, _dice(prediction, label), *distances, labelled, predicted)


def prediction_distances_mm(prediction: NDArray[np.bool_], label: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Mean, largest and 95 % distance from prediction to thickened label at 256 x 256, millimetres.

    The published validation logs them as chamfer, hausdorff and hausdorff_95. NaN where a mask is empty.
    """
    if not prediction.any() or not label.any():
        return np.nan, np.nan, np.nan
    distances = np.sqrt(squared_distances(prediction, thicken_label(label))) * PAPER_SCALE_MM
    return float(distances.mean()), float(distances.max()), float(np.percentile(distances, 95))


def _shares(
    squared: NDArray[np.int64], scale_mm: float, counted: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Share of the distances below each threshold, (21,); NaN when none is counted."""
    if counted is None:
        counted = np.ones(len(squared), np.bool_)
    counts = count_below(squared, _first_below(scale_mm), counted)
    return counts[:-1] / counts[-1] if counts[-1] else np.full(len(THRESHOLDS_MM), np.nan)


@lru_cache(maxsize=64)
def _first_below(scale_mm: float) -> NDArray[np.int64]:
    """After the number of thresholds: for each squared distance 0, 1, … the first threshold it is strictly below."""
    squared = np.arange(int((THRESHOLDS_MM[-1] / scale_mm) ** 2) + 2)
    first = np.searchsorted(THRESHOLDS_MM, np.sqrt(squared) * scale_mm, side="right")
    return np.concatenate([[len(THRESHOLDS_MM)], first]).astype(np.int64)


def _surface_distances(squared: list[NDArray[np.int64]], scale_mm: float) -> tuple[float, float, float]:
    """ASSD, Hausdorff distance and HD95 in millimetres from the squared distances both ways."""
    if any(len(one) == 0 or one[0] >= NOWHERE for one in squared):
        return np.nan, np.nan, np.nan
    both = [np.sqrt(np.sort(one)) * scale_mm for one in squared]
    mean = sum(float(one.sum()) for one in both) / sum(len(one) for one in both)
    return mean, max(float(one[-1]) for one in both), max(_percentile_95(one) for one in both)


def _percentile_95(ascending: NDArray[np.float64]) -> float:
    """As ``np.percentile(…, 95)``, of sorted values (``np.percentile`` itself takes longer than all else here)."""
    place = 0.95 * (len(ascending) - 1)
    below = int(place)
    above = min(below + 1, len(ascending) - 1)
    return float(ascending[below] + (place - below) * (ascending[above] - ascending[below]))


def _dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else np.nan


def _shares_by_region(squared: NDArray[np.int64], visible: NDArray[np.bool_], scale_mm: float) -> NDArray[np.float64]:
    """Shares for all, visible and invisible pixels, (3, 21); ``visible`` says of each distance whose pixel it is."""
    return np.stack([_shares(squared, scale_mm, counted) for counted in (None, visible, ~visible)])


def _at_pixels(visible: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each True pixel of a native mask is visible: it takes the 256 x 256 pixel that holds its centre."""
    height, width = mask.shape
    places = positions(mask)
    rows, columns = nearest_indices(visible.shape[0], height), nearest_indices(visible.shape[1], width)
    return visible[rows[places // width], columns[places % width]]
