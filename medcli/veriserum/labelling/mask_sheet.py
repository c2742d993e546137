"""A contact sheet of implant masks over their images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.contact_sheet import Tile, write_tile_sheet
from medcli.core.errors import DataError
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
    return write_tile_sheet(figure, tiles)


def _tiles(starts: StartPoses, masks: MaskMaker, number: int, placed: Sequence[PlacedImplant]) -> list[Tile]:
    tiles = []
    try:
        images = starts.images(number)
        for plane in PLANES:
            size = images[plane].shape[0]
            layers = [(mask, COLOURS[kind]) for kind, mask in masks(number, plane, placed, size).items()]
            drawn = overlay_masks(images[plane], *layers, opacity=_OPACITY)
            tiles.append(Tile.of(drawn, f"{plane} {number:06d}"))
    except DataError:
        return []  # the run lists it as a failure
    return tiles
