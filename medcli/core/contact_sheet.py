"""Pictures side by side on one sheet, with a heading over each column and a note under each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_MARGIN, _TEXT_LINE = 10, 26
_PAPER, _INK = 250, (40, 40, 40)


def contact_sheet(
    rows: Sequence[Sequence[NDArray[np.uint8]]], headings: Sequence[str], notes: Sequence[str], panel: int = 300
) -> NDArray[np.uint8]:
    """Compose square pictures to one sheet.

    Args:
        rows: rows of pictures, each (S, S) grey or (S, S, 3) RGB, any size; all rows as long as ``headings``.
        headings: one for each column.
        notes: one for each row, printed under it.
        panel: pixels along each side of a picture on the sheet.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    if len(notes) != len(rows) or any(len(row) != len(headings) for row in rows):
        raise ValueError(f"{len(rows)} rows need as many notes and {len(headings)} pictures each")
    step_x, step_y = panel + _MARGIN, panel + _MARGIN + _TEXT_LINE
    height, width = _MARGIN + _TEXT_LINE + step_y * len(rows), _MARGIN + step_x * len(headings)
    sheet = np.full((height, width, 3), _PAPER, np.uint8)
    for j, heading in enumerate(headings):
        _print(sheet, heading, _MARGIN + j * step_x, _TEXT_LINE)
    for i, (row, note) in enumerate(zip(rows, notes, strict=True)):
        top = _MARGIN + _TEXT_LINE + i * step_y
        for j, picture in enumerate(row):
            left = _MARGIN + j * step_x
            sheet[top : top + panel, left : left + panel] = _fitted(picture, panel)
        _print(sheet, note, _MARGIN, top + panel + _TEXT_LINE - 8)
    return sheet


def _fitted(picture: NDArray[np.uint8], panel: int) -> NDArray[np.uint8]:
    """The picture as (panel, panel, 3)."""
    resampling = cv2.INTER_AREA if len(picture) >= panel else cv2.INTER_LINEAR
    fitted: Any = cv2.resize(picture, (panel, panel), interpolation=resampling)
    return fitted if fitted.ndim == 3 else np.repeat(fitted[..., None], 3, axis=2)


def _print(sheet: NDArray[np.uint8], text: str, left: int, baseline: int) -> None:
    cv2.putText(sheet, text, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
