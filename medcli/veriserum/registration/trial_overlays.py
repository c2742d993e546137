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
from medcli.veriserum.geometry.biplane import DualPlane
from medcli.veriserum.geometry.outline_overlay import AFTER, draw_planes

SECOND = (0, 190, 255)
"""Colour (red, green, blue) of the second component; the first has that of results."""
_SIZE = 480
_MOST_TILES = 12
FRAMES_PER_SECOND = 12.5
"""Of the video: half of the usual frame rate of a recording."""

Placed = Sequence[tuple[Mesh, NDArray[np.float64]]]


def draw_frame(images: Mapping[str, NDArray[Any]], cameras: DualPlane, placed: Placed) -> NDArray[np.uint8]:
    """The planes side by side, (480, 480 x planes, 3) RGB, with the outline of each placed implant."""
    outlines = [(*one, colour) for one, colour in zip(placed, (AFTER, SECOND), strict=False)]
    return np.concatenate(draw_planes(images, cameras, outlines, _SIZE), axis=1)


def write_strip(path: Path, frames: Sequence[int], draw: Callable[[int], NDArray[np.uint8] | None]) -> None:
    """At most twelve frames, evenly from first to last, on one PNG; ``draw`` gives None for one without images."""
    every = max(1, math.ceil(len(frames) / _MOST_TILES))
    tiles = []
    for number in frames[::every]:
        image = draw(number)
        if image is not None:
            tiles.append(Tile.of(image, f"id {number}"))
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
            if writer is not None:
                writer.release()  # again, where drawing failed: Windows removes no file that is open
            video.unlink(missing_ok=True)
