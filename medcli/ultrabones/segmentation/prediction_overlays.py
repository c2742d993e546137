"""Pictures of what a network found: one frame with its mask, and many of them on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

BONE_COLOUR = (255, 170, 0)
"""RGB; orange stands apart from grey and is told from it with any colour vision."""
_TILE_WIDTH = 320
_MARGIN = 6
_LINE_HEIGHT = 18


@dataclass(frozen=True)
class Tile:
    """One picture of a contact sheet: (H, W, 3) RGB uint8 of :data:`_TILE_WIDTH` columns, and what stands under it."""

    picture: NDArray[np.uint8]
    caption: str


def overlay_mask(grey: NDArray[np.uint8], mask: NDArray[np.uint8], opacity: float = 0.55) -> NDArray[np.uint8]:
    """The frame (H, W) in grey with the mask (H, W) laid over it in colour; returns (H, W, 3) RGB."""
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    bone = mask > 0
    shade = picture[bone].astype(np.float32) * (1.0 - opacity) + np.array(BONE_COLOUR, np.float32) * opacity
    picture[bone] = shade.astype(np.uint8)
    return np.asarray(picture, np.uint8)


def make_tile(grey: NDArray[np.uint8], mask: NDArray[np.uint8], caption: str) -> Tile:
    """A small copy of the overlay. The mask is resized by its maximum, so that thin lines stay visible."""
    height = max(1, round(grey.shape[0] * _TILE_WIDTH / grey.shape[1]))
    small = cv2.resize(grey, (_TILE_WIDTH, height), interpolation=cv2.INTER_AREA)
    share = cv2.resize(mask, (_TILE_WIDTH, height), interpolation=cv2.INTER_AREA)
    return Tile(overlay_mask(np.asarray(small, np.uint8), (share > 40).astype(np.uint8)), caption)


def prediction_sheet(tiles: Sequence[Tile], columns: int = 4) -> NDArray[np.uint8]:
    """Tiles row by row on one white picture (H, W, 3) RGB, each with its caption under it."""
    columns = min(columns, len(tiles))
    row_height = max(tile.picture.shape[0] for tile in tiles) + _LINE_HEIGHT + _MARGIN
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * row_height + _MARGIN, columns * (_TILE_WIDTH + _MARGIN) + _MARGIN, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top = _MARGIN + number // columns * row_height
        left = _MARGIN + number % columns * (_TILE_WIDTH + _MARGIN)
        height = tile.picture.shape[0]
        sheet[top : top + height, left : left + _TILE_WIDTH] = tile.picture
        _write(sheet, tile.caption, left, top + height + _LINE_HEIGHT - 5)
    return sheet


def _write(sheet: NDArray[np.uint8], text: str, left: int, baseline: int) -> None:
    """Plain text that fits a tile; the end, which tells names apart, is kept."""
    text = "".join(character if " " <= character <= "~" else "?" for character in text)
    longest = _TILE_WIDTH // 7
    text = text if len(text) <= longest else "..." + text[3 - longest :]
    cv2.putText(sheet, text, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
