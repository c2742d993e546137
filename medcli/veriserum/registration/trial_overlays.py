"""Outlines of tracked implants over both planes: a strip of frames, and a short video."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core import image_io
from medcli.core.contact_sheet import Tile, tile_sheet
from medcli.core.errors import MedcliError
from medcli.core.files import replacing
from medcli.core.mesh import Mesh
from medcli.core.overlays import overlay_masks
from medcli.veriserum.geometry.biplane import DualPlane, ImageGrid
from medcli.veriserum.geometry.outline_overlay import AFTER, outline

SECOND = (0, 190, 255)
"""Colour (red, green, blue) of the second component; the first has that of results."""
_SIZE, _TILE = 480, 320
_MOST_TILES = 12
FRAMES_PER_SECOND = 12.5
"""Of the video: half of the usual frame rate of a recording."""

Placed = Sequence[tuple[Mesh, NDArray[np.float64]]]


def draw_frame(
    images: Mapping[str, NDArray[Any]], cameras: DualPlane, placed: Placed, size: int = _SIZE
) -> NDArray[np.uint8]:
    """The planes side by side, (size, size x planes, 3) RGB, with the outline of each placed implant."""
    sides, grid = [], ImageGrid.calibrated(size)
    for plane, image in images.items():
        shrinks = image.shape[0] > size
        grey = cv2.resize(
            np.asarray(image, np.uint8), (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        )
        camera = cameras.camera(plane)
        rims = (
            (outline(camera, mesh, pose, grid), colour)
            for (mesh, pose), colour in zip(placed, (AFTER, SECOND), strict=False)
        )
        sides.append(overlay_masks(np.asarray(grey, np.uint8), *rims))
    return np.concatenate(sides, axis=1)


def write_strip(path: Path, frames: Sequence[int], draw: Callable[[int], NDArray[np.uint8] | None]) -> None:
    """At most twelve frames, evenly from first to last, on one PNG; ``draw`` gives None for one without images."""
    every = max(1, math.ceil(len(frames) / _MOST_TILES))
    tiles = []
    for number in frames[::every]:
        image = draw(number)
        if image is not None:
            height = round(_TILE * image.shape[0] / image.shape[1])
            small = cv2.resize(image, (_TILE, height), interpolation=cv2.INTER_AREA)
            tiles.append(Tile(np.asarray(small, np.uint8), f"id {number}"))
    if tiles:
        image_io.write_image(path, tile_sheet(tiles, 3))


def write_video(path: Path, frames: Sequence[int], draw: Callable[[int], NDArray[np.uint8] | None]) -> None:
    """All frames as an MP4 file.

    Raises:
        MedcliError: this build of OpenCV writes no MP4.
    """
    writer: Any = None
    with replacing(path) as part:
        video = part.with_name(f"{part.name}.mp4")  # OpenCV chooses the container by the ending
        try:
            for number in frames:
                image = draw(number)
                if image is None:
                    continue
                if writer is None:
                    fourcc = cv2.VideoWriter_fourcc(*"mp4v")  # type: ignore[attr-defined]
                    writer = cv2.VideoWriter(str(video), fourcc, FRAMES_PER_SECOND, image.shape[1::-1])
                    if not writer.isOpened():
                        raise MedcliError(f"cannot write {path}: this build of OpenCV writes no MP4", "omit --overlays")
                writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            if writer is None:
                part.touch()
                return
            writer.release()
            video.replace(part)
        finally:
            video.unlink(missing_ok=True)
