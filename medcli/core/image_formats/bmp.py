"""BMP files: their size, and whether the pixels are all there."""

from __future__ import annotations

from medcli.core.errors import quantity
from medcli.core.image_formats.damage import DamagedImage, check_size

_UNCOMPRESSED = (0, 3)


def check_bmp(content: bytes) -> None:
    """Check the header against the bytes that follow; a BMP file has no checksum.

    Raises:
        DamagedImage: it is truncated or too large.
    """
    if len(content) < 54:
        raise DamagedImage(f"is truncated: a BMP file of {quantity(len(content), 'byte')}")
    old = int.from_bytes(content[14:18], "little") == 12  # the header of OS/2, with 16-bit numbers
    columns, rows, bits = (
        int.from_bytes(content[start:end], "little", signed=True)
        for start, end in (((18, 20), (20, 22), (24, 26)) if old else ((18, 22), (22, 26), (28, 30)))
    )
    check_size(abs(rows), columns)  # from the top down with negative rows
    compression = 0 if old else int.from_bytes(content[30:34], "little")
    end = int.from_bytes(content[10:14], "little") + (columns * bits + 31) // 32 * 4 * abs(rows)
    if compression in _UNCOMPRESSED and end > len(content):
        raise DamagedImage(f"is truncated: a BMP file of {quantity(len(content), 'byte')}, expected {end}")
