"""What validation measures of a batch: Dice, and distances from the prediction to the label.

The published validation measures on the network's grid (256 x 256), with one scale for both axes, and from the
prediction to the thickened label only (a prediction of one right pixel scores 0 mm): good to follow a training by, not
to report.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from medcli.ultrabones.dataset.constants import PAPER_SCALE_MM

DISTANCES = ("chamfer_mm", "hausdorff_mm", "hausdorff_95_mm")
_COMPARED_AT_ONCE = 4 * 256**3
"""Pairs of a pixel and a column of its row at once: those of 4 frames of 256 x 256, 268 MB."""


def dice_scores(predictions: Tensor, labels: Tensor) -> Tensor:
    """(B,) Dice of (B, 1, H, W) bool masks; NaN where the label is empty, as such a frame has no Dice to speak of."""
    both = (predictions & labels).flatten(1).sum(1).float()
    total = predictions.flatten(1).sum(1) + labels.flatten(1).sum(1)
    return torch.where(labels.flatten(1).any(1), 2 * both / total, torch.nan)


def one_sided_distances(predictions: Tensor, labels: Tensor, pixel_mm: float = PAPER_SCALE_MM) -> Tensor:
    """Mean, maximum and 95 % quantile of the distance from predicted pixels to the label, in mm.

    Args:
        predictions, labels: (B, 1, H, W) bool.
        pixel_mm: size of a pixel; the default is that of 256 x 256.

    Returns:
        (B, 3) in the order of :data:`DISTANCES`; NaN where prediction or label is empty.
    """
    if labels.device.type != "cpu":
        return one_sided_distances_at_once(predictions, labels, pixel_mm)
    found = labels.new_full((len(labels), 3), torch.nan, dtype=torch.float32)
    usable = torch.nonzero(predictions.flatten(1).any(1) & labels.flatten(1).any(1)).flatten()
    if len(usable):
        maps = distance_maps(labels[usable, 0]) * pixel_mm
        for row, frame in enumerate(usable.tolist()):
            distances = maps[row][predictions[frame, 0]]
            found[frame] = torch.stack([distances.mean(), distances.max(), torch.quantile(distances, 0.95)])
    return found


def one_sided_distances_at_once(predictions: Tensor, labels: Tensor, pixel_mm: float = PAPER_SCALE_MM) -> Tensor:
    """:func:`one_sided_distances` for a GPU: all frames at once, nothing that waits for the device."""
    maps = (distance_maps_by_rows(labels[:, 0]) * pixel_mm).flatten(1)
    inside = predictions.flatten(1)
    counts = inside.sum(1)
    mean = torch.where(inside, maps, 0).sum(1) / counts
    ordered = torch.where(inside, maps, torch.inf).sort(1).values
    place = 0.95 * (counts - 1).clamp(min=0).double()
    before = place.long()[:, None]
    after = torch.minimum(before + 1, (counts - 1).clamp(min=0)[:, None])
    low, high = ordered.gather(1, before)[:, 0], ordered.gather(1, after)[:, 0]
    quantile = torch.lerp(low, high, (place - before[:, 0]).float())
    largest = ordered.gather(1, (counts - 1).clamp(min=0)[:, None])[:, 0]
    usable = (counts > 0) & labels.flatten(1).any(1)
    return torch.where(usable[:, None], torch.stack([mean, largest, quantile], 1), torch.nan)


def distance_maps(labels: Tensor) -> Tensor:
    """(B, H, W) exact Euclidean distance in pixels of every pixel to the nearest True pixel; no map may be empty."""
    if labels.device.type == "cpu":
        inverse = np.logical_not(labels.numpy()).view(np.uint8)
        maps = np.stack([cv2.distanceTransform(frame, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for frame in inverse])
        # Roots of whole squares by NumPy: OpenCV's and torch's differ in the last digit with the number of threads.
        return torch.from_numpy(np.sqrt(np.rint(np.square(maps))))
    return distance_maps_by_rows(labels)


def distance_maps_by_rows(labels: Tensor) -> Tensor:
    """Like :func:`distance_maps` in torch operations alone, for a GPU: along columns by scans, then along rows."""
    height, width = labels.shape[-2:]
    far = 4.0 * (height + width)
    rows = torch.arange(height, device=labels.device, dtype=torch.float32)[:, None].expand(height, width)
    above = torch.cummax(torch.where(labels, rows, -far), dim=1).values
    below = torch.cummin(torch.where(labels, rows, far).flip(1), dim=1).values.flip(1)
    squared = torch.minimum(rows - above, below - rows) ** 2
    columns = torch.arange(width, device=labels.device, dtype=torch.float32)
    apart = (columns[:, None] - columns) ** 2
    at_once = max(1, _COMPARED_AT_ONCE // (height * width * width))
    nearest = [(rows_of[:, :, None, :] + apart).amin(-1) for rows_of in torch.split(squared, at_once)]
    return torch.cat(nearest).sqrt_()
