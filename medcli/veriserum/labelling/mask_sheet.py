"""A contact sheet of implant masks over their images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.contact_sheet import TILE_WIDTH, Tile, tile_sheet
from medcli.core.errors import DataError
from medcli.core.files import make_output_folder
from medcli.core.image_io import write_image
from medcli.core.overlays import overlay_masks
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.labelling.components import PlacedImplant
from medcli.veriserum.registration.start_poses import StartPoses

COLOURS = {"femur": (255, 140, 0), "tibia": (0, 150, 255)}
_MOST_PAIRS = 8
_OPACITY = 0.45

MaskMaker = Callable[[int, str, Sequence[PlacedImplant], int], dict[str, NDArray[np.bool_]]]


def draw_mask_sheet(
    figure: Path, starts: StartPoses, masks: MaskMaker, implants: Mapping[int, Sequence[PlacedImplant]]
) -> bool:
    """Draw some pairs, evenly over all, with femur orange and tibia blue; whether any has an image."""
    with_images = [number for number in implants if starts.has_images(number)]
    step = max(1, len(with_images) // _MOST_PAIRS)
    tiles = [
        tile for number in with_images[::step][:_MOST_PAIRS] for tile in _tiles(starts, masks, number, implants[number])
    ]
    if tiles:
        write_image(make_output_folder(figure.parent) / figure.name, tile_sheet(tiles))
    return bool(tiles)


def _tiles(starts: StartPoses, masks: MaskMaker, number: int, placed: Sequence[PlacedImplant]) -> list[Tile]:
    tiles = []
    try:
        images = starts.images(number)
        for plane in PLANES:
            size = images[plane].shape[0]
            layers = [(mask, COLOURS[kind]) for kind, mask in masks(number, plane, placed, size).items()]
            drawn = overlay_masks(images[plane], *layers, opacity=_OPACITY)
            small = cv2.resize(drawn, (TILE_WIDTH, TILE_WIDTH), interpolation=cv2.INTER_AREA)
            tiles.append(Tile(np.asarray(small, np.uint8), f"{plane} {number:06d}"))
    except DataError:
        return []  # the run lists it as a failure
    return tiles
