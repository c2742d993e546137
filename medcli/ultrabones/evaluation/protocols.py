"""Distance of a predicted bone surface to the labelled one: the published protocol, and a stricter one.

**Paper** (Wu et al. 2025): everything at 256 x 256 with one scale for both axes, 0.1857… mm per pixel. The label is
thickened to 3 pixels. Precision at t is the share of predicted pixels nearer than t to a label pixel, recall the share
of label pixels nearer than t to a predicted one, F1 = 2pr / (p + r + 1e-10), t = 0.0 to 2.0 mm, compared with <.
Frames without any predicted or label pixel are left out. *Visible* restricts prediction **and** label to pixels of grey
107 and more, *invisible* to darker ones. An empty set is infinitely far away.

**Strict**: native pixels with their true spacing, the label as it is, and every labelled frame counts: without a
prediction its recall and F1 are 0. Regions restrict the pixels that are counted, not what they are compared with; F1
is 0 also where a region holds label but no prediction, although its recall may be above 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcli.ultrabones.dataset.constants import LABEL_RADIUS_PX, PAPER_SCALE_MM
from medcli.ultrabones.evaluation.mask_distances import dilate, positions, squared_distances
from medcli.ultrabones.evaluation.metrics import REGIONS, Distances, FrameComparison, FrameScore
from medcli.ultrabones.evaluation.settings import VISIBLE_GREY
from medcli.ultrabones.segmentation.preprocessing import nearest_indices


def thicken_label(label: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The published label: pixels within 3 of a label pixel, (256, 256)."""
    return np.asarray(dilate(label, LABEL_RADIUS_PX))


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
    distances: list[tuple[Distances, Distances] | None] = [_both_ways(prediction, thick)]
    distances.append(_both_ways(prediction & visible, thick & visible))
    there, back = prediction & ~visible, thick & ~visible
    distances.append(_both_ways(there, back) if there.any() and back.any() else None)
    return FrameScore.of(FrameComparison(prediction, thick, PAPER_SCALE_MM, distances, counts_misses=False))


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
    distances: list[tuple[Distances, Distances] | None] = [None] * len(REGIONS)
    if labelled:
        visible = grey >= visible_grey
        there, back = _both_ways(prediction, label)
        seen, seen_back = _at_pixels(visible, prediction), _at_pixels(visible, label)
        distances = [(there, back), (there[seen], back[seen_back]), (there[~seen], back[~seen_back])]
    return FrameScore.of(FrameComparison(prediction, label, spacing_mm, distances, True), labelled, predicted)


def _both_ways(prediction: NDArray[np.bool_], label: NDArray[np.bool_]) -> tuple[Distances, Distances]:
    return squared_distances(prediction, label), squared_distances(label, prediction)


def _at_pixels(visible: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each True pixel of a native mask is visible: it takes the 256 x 256 pixel that holds its centre."""
    height, width = mask.shape
    places = positions(mask)
    rows, columns = nearest_indices(visible.shape[0], height), nearest_indices(visible.shape[1], width)
    return np.asarray(visible[rows[places // width], columns[places % width]])
