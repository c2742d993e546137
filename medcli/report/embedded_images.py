"""Image files embedded in a page, reduced to the size at which they are shown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.image_io import encode, read_rgb
from medcli.report.blocks import Block, Gallery, ImageBlock, Note

_QUALITY = 82
WIDE, NARROW = 1280, 720
"""Width in pixels of a full-width image, and of one of several in a row, on a high-density screen."""


def embed_image(path: Path, alt: str, caption: str = "", width: int = WIDE, wide: bool = False) -> ImageBlock | Note:
    """Embed an image file with at most ``width`` columns; a remark if it is missing or damaged."""
    if not path.is_file():
        return Note(f"Image {path.name} is missing: this run has not written it, or it was removed.", "warning")
    try:
        return from_array(read_rgb(path), alt, caption, width, wide, is_drawing=path.suffix.lower() == ".png")
    except DataError as error:
        return Note(f"Image {path.name} cannot be shown: {error.message}", "warning")


def gallery(shown: Sequence[ImageBlock | Note]) -> list[Block]:
    """Images side by side, followed by the remarks on missing ones."""
    images = [one for one in shown if isinstance(one, ImageBlock)]
    return [*([Gallery(images)] if images else []), *(one for one in shown if isinstance(one, Note))]


def from_array(
    image: NDArray[np.uint8],
    alt: str,
    caption: str = "",
    width: int = WIDE,
    wide: bool = False,
    is_drawing: bool = False,
) -> ImageBlock:
    """Embed an image (H, W) or (H, W, 3) RGB with at most ``width`` columns.

    Args:
        is_drawing: lines on a plain background: use PNG, which keeps them sharp, unless it is much larger.
    """
    small = _fitted(image, width)
    content, kind = encode(small, ".jpg", _QUALITY, sharp_colour=True), "jpeg"
    if is_drawing:
        drawn = encode(small, ".png")
        if len(drawn) < 1.6 * len(content):
            content, kind = drawn, "png"
    text = base64.b64encode(content.tobytes()).decode("ascii")
    return ImageBlock(f"data:image/{kind};base64,{text}", small.shape[1], small.shape[0], alt, caption, wide)


def _fitted(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    if image.shape[1] <= width:
        return image
    size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
    small: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small)
