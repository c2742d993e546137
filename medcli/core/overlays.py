"""Masks laid over a grey image in colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""Red, green, blue."""


def overlay_masks(
    grey: NDArray[np.uint8], *layers: tuple[NDArray[np.bool_], Colour], opacity: float = 1.0
) -> NDArray[np.uint8]:
    """An image (H, W) with masks (H, W) in their colours, the later ones on top; returns (H, W, 3) RGB."""
    image = np.repeat(grey[:, :, None], 3, axis=2)
    for mask, colour in layers:
        shade = image[mask].astype(np.float32) * (1.0 - opacity) + np.array(colour, np.float32) * opacity
        image[mask] = shade.astype(np.uint8)
    return image
