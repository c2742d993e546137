"""Images side by side on one sheet: a table with headings and notes, or captioned tiles."""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import quantity
from medcli.core.files import make_output_folder
from medcli.core.image_io import write_image

_MARGIN, _TEXT_LINE = 10, 26
_PAPER, _INK = 250, (40, 40, 40)
TILE_WIDTH = 320
MAX_TILE_HEIGHT = 1600
"""Of a higher tile the image is squeezed: a few would make a sheet that no format holds."""
_TILE_MARGIN, _TILE_LINE, _TILE_TEXT = 6, 18, 0.4
_TILE_LETTERS = TILE_WIDTH // 7
_LETTERS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "æ": "ae", "ø": "oe", "å": "aa"}
)


def contact_sheet(
    rows: Sequence[Sequence[NDArray[np.uint8]]], headings: Sequence[str], notes: Sequence[str], panel: int = 300
) -> NDArray[np.uint8]:
    """Compose square images to one sheet.

    Args:
        rows: rows of images, each (S, S) grey or (S, S, 3) RGB, any size; all rows as long as ``headings``.
        headings: one for each column.
        notes: one for each row, printed under it.
        panel: pixels along each side of an image on the sheet.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    if len(notes) != len(rows) or any(len(row) != len(headings) for row in rows):
        raise ValueError(f"{quantity(len(rows), 'row')} need as many notes and {quantity(len(headings), 'image')} each")
    step_x, step_y = panel + _MARGIN, panel + _MARGIN + _TEXT_LINE
    height, width = _MARGIN + _TEXT_LINE + step_y * len(rows), _MARGIN + step_x * len(headings)
    sheet = np.full((height, width, 3), _PAPER, np.uint8)
    for j, heading in enumerate(headings):
        _print(sheet, heading, _MARGIN + j * step_x, _TEXT_LINE, width=panel)
    for i, (row, note) in enumerate(zip(rows, notes, strict=True)):
        top = _MARGIN + _TEXT_LINE + i * step_y
        for j, image in enumerate(row):
            left = _MARGIN + j * step_x
            sheet[top : top + panel, left : left + panel] = _fitted(image, panel)
        _print(sheet, note, _MARGIN, top + panel + _TEXT_LINE - 8, width=width - 2 * _MARGIN)
    return sheet


@dataclass(frozen=True)
class Tile:
    """One image of a :func:`tile_sheet`: (H, W, 3) RGB uint8, :data:`TILE_WIDTH` wide, and its caption."""

    image: NDArray[np.uint8]
    caption: str

    @staticmethod
    def of(image: NDArray[np.uint8], caption: str) -> Tile:
        """A tile of a larger image (H, W, 3)."""
        size = (TILE_WIDTH, round(image.shape[0] * TILE_WIDTH / image.shape[1]))
        return Tile(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), caption)


def write_tile_sheet(path: Path, tiles: Sequence[Tile]) -> bool:
    """Write a :func:`tile_sheet`, in a folder that is made if absent; no tiles: nothing. Whether there are some."""
    if tiles:
        write_image(make_output_folder(path.parent) / path.name, tile_sheet(tiles))
    return bool(tiles)


def tile_sheet(tiles: Sequence[Tile], columns: int = 4) -> NDArray[np.uint8]:
    """Tiles row by row on one white sheet (H, W, 3) RGB, each with its caption under it."""
    columns = min(columns, len(tiles))
    captions = [_caption_lines(tile.caption) for tile in tiles]
    below = _TILE_LINE * max(map(len, captions))
    step_x, step_y = TILE_WIDTH + _TILE_MARGIN, max(len(tile.image) for tile in tiles) + below + _TILE_MARGIN
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * step_y + _TILE_MARGIN, columns * step_x + _TILE_MARGIN, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = _TILE_MARGIN + number // columns * step_y, _TILE_MARGIN + number % columns * step_x
        bottom = top + len(tile.image)
        sheet[top:bottom, left : left + TILE_WIDTH] = tile.image
        for line, text in enumerate(captions[number], start=1):
            _print(sheet, text, left, bottom + line * _TILE_LINE - 5, _TILE_TEXT, TILE_WIDTH)
    return sheet


def _caption_lines(caption: str) -> list[str]:
    """A caption in lines as wide as a tile; of a long one without spaces the end, which distinguishes names."""
    text = _in_ascii(caption)
    lines = textwrap.wrap(text, _TILE_LETTERS, break_long_words=False, break_on_hyphens=False)
    return [line if len(line) <= _TILE_LETTERS else "..." + line[3 - _TILE_LETTERS :] for line in lines] or [""]


def _in_ascii(text: str) -> str:
    """Text in the letters that OpenCV's font has: those with marks as is usual in names, others by their letter."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFC", text).translate(_LETTERS))
    kept = (character for character in plain if not unicodedata.combining(character))
    return "".join(character if " " <= character <= "~" else "?" for character in kept)


def _fitted(image: NDArray[np.uint8], panel: int) -> NDArray[np.uint8]:
    """The image as (panel, panel, 3)."""
    resampling = cv2.INTER_AREA if len(image) >= panel else cv2.INTER_LINEAR
    fitted: Any = cv2.resize(image, (panel, panel), interpolation=resampling)
    return fitted if fitted.ndim == 3 else np.repeat(fitted[..., None], 3, axis=2)


def _print(
    sheet: NDArray[np.uint8], text: str, left: int, baseline: int, size: float = 0.5, width: int | None = None
) -> None:
    """Print a line in ASCII, smaller where it would be wider than ``width`` pixels."""
    text = _in_ascii(text)
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    size *= min(1.0, width / wide) if width and wide else 1.0
    cv2.putText(sheet, text, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, size, _INK, 1, cv2.LINE_AA)
