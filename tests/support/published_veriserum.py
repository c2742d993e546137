"""The published distortion correction, step by step and slowly: the twin of medcli's kernels."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from medcli.veriserum.calibration.distortion_model import PolynomialDistortion


def map_pixel(distortion: PolynomialDistortion, x: float, y: float) -> tuple[float, float]:
    """Millimetres of one pixel, term by term."""
    p = np.array([x, -y])
    u, v = distortion.scale * distortion.rotation @ p + distortion.translation_mm
    a = distortion.coefficients
    big_x = sum(a[4 * i + j] * u**i * v**j for i in range(4) for j in range(4))
    big_y = sum(a[16 + 4 * i + j] * u**i * v**j for i in range(4) for j in range(4))
    return big_x, big_y


def mapped_pixels(distortion: PolynomialDistortion) -> NDArray[np.float64]:
    """(1600 · 1664, 2): grid column and row of every native pixel, row by row."""
    x, y = np.meshgrid(np.arange(1664.0), np.arange(1600.0))
    u, v = (
        distortion.scale * distortion.rotation @ np.stack([x.ravel(), -y.ravel()]) + distortion.translation_mm[:, None]
    )
    a, powers_u, powers_v = distortion.coefficients, [u**i for i in range(4)], [v**j for j in range(4)]
    big_x = sum(a[4 * i + j] * powers_u[i] * powers_v[j] for i in range(4) for j in range(4))
    big_y = sum(a[16 + 4 * i + j] * powers_u[i] * powers_v[j] for i in range(4) for j in range(4))
    return np.stack([big_x * 1600 / 360 + 800, -big_y * 1600 / 360 + 800], axis=1)


def nearest_native_pixels(distortion: PolynomialDistortion) -> NDArray[np.int64]:
    """(1600, 1600): index of the native pixel that is mapped nearest to each grid pixel, by a k-d tree."""
    return _nearest_native_pixels(distortion.to_text())


@lru_cache(maxsize=3)  # 20 MB and seconds each
def _nearest_native_pixels(text: str) -> NDArray[np.int64]:
    distortion = PolynomialDistortion.from_text(text)
    columns, rows = np.meshgrid(np.arange(1600.0), np.arange(1600.0))
    tree = cKDTree(mapped_pixels(distortion), balanced_tree=False, compact_nodes=False)
    return tree.query(np.stack([columns.ravel(), rows.ravel()], axis=1), workers=-1)[1].reshape(1600, 1600)


def correct_pair(
    pair: dict[str, NDArray[np.uint8]], nearest: dict[str, NDArray[np.int64]], size: int = 512
) -> dict[str, NDArray[np.uint8]]:
    """The published result for a pair of decoded images of any size."""
    planes = {}
    for plane, image in pair.items():
        intensity = image.astype(np.float32) / 255
        planes[plane] = intensity if intensity.shape == (1600, 1664) else cv2.resize(intensity, (1664, 1600))
    if all(plane.max() > 0 for plane in planes.values()):
        planes = {name: plane / plane.max() for name, plane in planes.items()}
    result = {}
    for name, plane in planes.items():
        corrected = plane.ravel()[nearest[name]].astype(np.float64)
        result[name] = (cv2.resize(corrected, (size, size)) * 255).astype(np.uint8)
    return result
