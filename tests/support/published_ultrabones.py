"""Slow twins of the evaluation protocols, written from their definition with SciPy's distance transform."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

THRESHOLDS = np.arange(0, 2.1, 0.1)
SCALE = (950 + 811) / 256 / 2 * 0.054


def share(distances: np.ndarray) -> np.ndarray:
    if len(distances) == 0:
        return np.full(21, np.nan)
    return np.array([np.sum(distances < t) / len(distances) for t in THRESHOLDS])


def distances(source: np.ndarray, target: np.ndarray, scale: float) -> np.ndarray:
    """Distance of each source pixel to the target set, infinite when that is empty."""
    if not target.any():
        return np.full(np.count_nonzero(source), np.inf)
    return distance_transform_edt(~target)[source] * scale


def paper(grey: np.ndarray, prediction: np.ndarray, label: np.ndarray, visible: float = 107) -> tuple | None:
    """Precision, recall and F1, each (3, 21), of one frame; None when it is left out."""
    if not label.any() or not prediction.any():
        return None
    thick = distance_transform_edt(~label) <= 3
    image = grey / 255
    curves = np.full((3, 3, 21), np.nan)
    for i, region in enumerate((np.full(image.shape, True), image >= visible / 255, image < visible / 255)):
        p, g = prediction & region, thick & region
        if i == 2 and not (p.any() and g.any()):
            continue
        precision, recall = share(distances(p, g, SCALE)), share(distances(g, p, SCALE))
        curves[:, i] = precision, recall, 2 * precision * recall / (precision + recall + 1e-10)
    return tuple(curves)


def paper_means(frames: list[tuple]) -> np.ndarray:
    """Mean over frames of each curve, (3, 3, 21): a frame with a NaN is left out of that curve's mean only."""
    means = np.full((3, 3, 21), np.nan)
    for kind in range(3):
        for region in range(3):
            rows = [frame[kind][region] for frame in frames if not np.isnan(frame[kind][region]).any()]
            if rows:
                means[kind, region] = np.mean(rows, axis=0)
    return means


def strict(grey: np.ndarray, prediction: np.ndarray, label: np.ndarray, spacing: float, visible: float = 107) -> tuple:
    """Precision, recall and F1, each (3, 21), of a labelled frame on its native grid."""
    height, width = label.shape
    bright = np.zeros(label.shape, bool)
    for row in range(height):
        for column in range(width):
            bright[row, column] = grey[int((row + 0.5) * 256 / height), int((column + 0.5) * 256 / width)] >= visible
    curves = np.full((3, 3, 21), np.nan)
    to_label, to_prediction = np.full(label.shape, np.inf), np.full(label.shape, np.inf)
    if label.any():
        to_label = distance_transform_edt(~label) * spacing
    if prediction.any():
        to_prediction = distance_transform_edt(~prediction) * spacing
    for i, region in enumerate((np.full(label.shape, True), bright, ~bright)):
        precision, recall = share(to_label[prediction & region]), share(to_prediction[label & region])
        f1 = 2 * precision * recall / (precision + recall + 1e-10)
        if not (prediction & region).any():
            f1 = np.full(21, 0.0 if (label & region).any() else np.nan)
        curves[:, i] = precision, recall, f1
    return tuple(curves)


def surface(prediction: np.ndarray, label: np.ndarray, scale: float) -> tuple[float, float, float]:
    """ASSD, Hausdorff and HD95."""
    there, back = distances(prediction, label, scale), distances(label, prediction, scale)
    assd = (there.sum() + back.sum()) / (len(there) + len(back))
    return assd, max(there.max(), back.max()), max(np.percentile(there, 95), np.percentile(back, 95))
