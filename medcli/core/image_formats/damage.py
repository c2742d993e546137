"""The refusal of an image, and the limits of its size that are asked before anything is decoded."""

from __future__ import annotations

import os

from medcli.core.errors import UsageError

MAX_PIXELS_VARIABLE = "MEDCLI_MAX_PIXELS"
DEFAULT_MAX_PIXELS = 64_000_000
"""Twenty times a native fluoroscopy image, and 2 GB at most while it is worked on."""
MAX_SIDE = 65_500
"""Most rows or columns: what JPEG files can hold, since an overlay of every image can be asked for."""


class DamagedImage(Exception):
    """An image file that must not be used; the text continues a sentence that begins with the file's name."""


def max_pixels() -> int:
    """Most pixels (rows x columns) that an image may have: ``MEDCLI_MAX_PIXELS``, or 64 million.

    Raises:
        UsageError: the variable holds no whole number above 0.
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE, "").strip()
    if not text:
        return DEFAULT_MAX_PIXELS
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) > 0):
        raise UsageError(f"{MAX_PIXELS_VARIABLE} is {text[:40]!r}, expected a whole number of pixels above 0")
    return int(text)


def check_size(rows: int, columns: int) -> None:
    """Refuse an image by the size in its header.

    Raises:
        DamagedImage: it has no pixels, or more than a limit.
    """
    if rows < 1 or columns < 1:
        raise DamagedImage(f"is damaged: its header says {columns} x {rows} pixels")
    if max(rows, columns) > MAX_SIDE:
        raise DamagedImage(f"has {columns} x {rows} pixels, more than the limit of {MAX_SIDE} along a side")
    limit = max_pixels()
    if rows * columns > limit:
        raise DamagedImage(f"has {columns} x {rows} pixels, more than the limit of {limit} ({MAX_PIXELS_VARIABLE})")
