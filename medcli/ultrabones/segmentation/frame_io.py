"""One frame read from its files: the image at the network's size, and masks at that or at their own size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.image_io import read_grey
from medcli.ultrabones.dataset.constants import INPUT_SIZE
from medcli.ultrabones.segmentation.preprocessing import resize_frame, resize_label


def read_image(path: str, size: int = INPUT_SIZE) -> NDArray[np.uint8]:
    """A frame as the network sees it: (size, size) uint8.

    Raises:
        DataError: the file is missing or no image.
    """
    return resize_frame(read_grey(path), size)


def read_label(path: str, size: int = INPUT_SIZE) -> NDArray[np.uint8]:
    """A mask at (size, size) uint8, 0 or 255; an empty path is an empty mask.

    Raises:
        DataError: the file is missing or no image.
    """
    if not path:
        return np.zeros((size, size), np.uint8)
    return np.where(resize_label(read_grey(path), size) == 255, np.uint8(255), np.uint8(0))


def read_mask(path: str, shape: tuple[int, int], unmarked: set[str] | None = None) -> NDArray[np.bool_]:
    """A mask at its own size, True where it is 255.

    Args:
        unmarked: gets the path where there are pixels, but none of 255.

    Raises:
        DataError: the file is missing, no image, or not of ``shape`` (rows, columns).
    """
    mask = read_grey(path)
    if mask.shape != shape:
        raise DataError(f"mask {path} is {mask.shape[1]} x {mask.shape[0]}, its frame {shape[1]} x {shape[0]}")
    bone = np.asarray(mask == 255)
    if unmarked is not None and not bone.any() and mask.any():
        unmarked.add(path)
    return bone
