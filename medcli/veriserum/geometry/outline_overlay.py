"""Outlines of projected implants on X-ray images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.mesh import Mesh
from medcli.core.overlays import Colour, overlay_masks
from medcli.veriserum.geometry.biplane import Camera, DualPlane, ImageGrid

BEFORE, AFTER = (255, 140, 0), (0, 220, 90)
"""Colours (red, green, blue) of the outlines at the start pose and of the result."""
REFERENCE, ESTIMATE = (0, 190, 255), (255, 140, 0)
"""Colours of the outlines by the reference pose and by the estimated one."""
_LEAST_SIZE = 640
"""Minimum width of overlays, so that a line one pixel thick hides little."""


def outline(camera: Camera, mesh: Mesh, pose: NDArray[np.float64], grid: ImageGrid) -> NDArray[np.bool_]:
    """Pixels (rows, columns) on the inner rim of a projected mesh, including the rims of holes."""
    seen = camera.silhouette(mesh, pose, grid).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(seen, cross, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return np.asarray(seen > inner)


def draw_planes(
    images: Mapping[str, NDArray[Any]],
    cameras: DualPlane,
    outlines: Sequence[tuple[Mesh, NDArray[np.float64], Colour]],
    size: int | None = None,
) -> list[NDArray[np.uint8]]:
    """The image of each plane with outlines drawn on it.

    Args:
        images: plane ("bs", "fs") -> calibrated image (S, S), 8 bits.
        cameras: of the recording.
        outlines: implant in millimetres, pose (4, 4) implant to world, and a colour; later ones are drawn on top.
        size: pixels along each side of the result; None: those of the image, 640 at least.

    Returns:
        (size, size, 3) uint8, RGB, of each plane in the order of ``images``.
    """
    sides = []
    for plane, image in images.items():
        side, grey = size or max(_LEAST_SIZE, image.shape[0]), np.asarray(image, np.uint8)
        if grey.shape[0] != side:
            resampling = cv2.INTER_AREA if grey.shape[0] > side else cv2.INTER_CUBIC
            grey = np.asarray(cv2.resize(grey, (side, side), interpolation=resampling), np.uint8)
        camera, grid = cameras.camera(plane), ImageGrid.calibrated(side)
        rims = ((outline(camera, mesh, pose, grid), colour) for mesh, pose, colour in outlines)
        sides.append(overlay_masks(grey, *rims))
    return sides
