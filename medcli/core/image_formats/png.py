"""PNG files: every checksum, and the data unpacked here, where damage is an exception.

libpng writes what it finds wrong to stderr, where nobody can tell which of 200,000 files is meant, and goes on where it
can. So a file is checked and unpacked by zlib first. The rows of 8-bit grey images as OpenCV writes them (the published
frames and masks, and all of this program) are then summed up here; all others are given to OpenCV as a file of the same
rows, stored unpacked, without the chunks that no pixel depends on: libpng has nothing left to say.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medcli.core.image_formats.damage import DamagedImage, check_size

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _WITH_PALETTE = 0, 3
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel, by the type of colour: grey, RGB, palette, grey and alpha, RGB and alpha."""
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bits that a sample may have, by the type of colour."""
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""Passes of an interlaced image: first row and column, step of rows and of columns."""
_AS_IT_IS, _DIFFERENCE_TO_LEFT, _HIGHEST_FILTER = 0, 1, 4
_BLOCK = 0xFFFF
"""Bytes of zlib's largest block without compression."""
_SMALL = 1 << 19
"""Packed bytes that unpack to half a gigabyte at most; more are unpacked only up to the expected size."""


@dataclass(frozen=True)
class PngHeader:
    """The IHDR chunk: ``depth`` is bits of a sample, ``colour`` the type of colour."""

    columns: int
    rows: int
    depth: int
    colour: int
    interlaced: bool

    def passes(self) -> list[tuple[int, int]]:
        """Rows, and bytes of a row with the filter byte before it, of each pass that has pixels."""
        sizes = []
        for row, column, down, right in _ADAM7 if self.interlaced else _WHOLE:
            rows, columns = len(range(row, self.rows, down)), len(range(column, self.columns, right))
            if rows and columns:
                sizes.append((rows, 1 + (columns * self.depth * _SAMPLES[self.colour] + 7) // 8))
        return sizes


@dataclass
class PngImage:
    """What of a sound file decides its pixels.

    Attributes:
        header: size and kind.
        chunks: palette, gamma and Exif, by kind.
        rows: filtered rows of all passes, each after its filter byte.
    """

    header: PngHeader
    chunks: dict[bytes, bytes] = field(default_factory=dict)
    rows: bytes = b""

    def plain_grey(self) -> NDArray[np.uint8] | None:
        """The pixels, (H, W), of 8-bit grey whose rows are stored as they are or as differences; else None."""
        header = self.header
        if header.colour != _GREY or header.depth != 8 or header.interlaced or self.chunks:
            return None
        filtered = np.frombuffer(self.rows, np.uint8).reshape(header.rows, header.columns + 1)
        filters, pixels = filtered[:, 0], filtered[:, 1:]
        if filters.max() > _DIFFERENCE_TO_LEFT:
            return None
        image = np.add.accumulate(pixels, axis=1, dtype=np.uint8)
        image[filters == _AS_IT_IS] = pixels[filters == _AS_IT_IS]
        return image

    def as_file(self) -> bytearray:
        """A PNG file of the same pixels whose rows are stored unpacked; built in one piece of memory."""
        header = self.header
        kind = bytes([header.depth, header.colour, 0, 0, header.interlaced])
        size = header.columns.to_bytes(4, "big") + header.rows.to_bytes(4, "big")
        beginning = [_SIGNATURE, _chunk(b"IHDR", size + kind), *(_chunk(*each) for each in self.chunks.items())]
        blocks = -(-len(self.rows) // _BLOCK)
        stored = 2 + 5 * blocks + len(self.rows) + 4
        beginning += [stored.to_bytes(4, "big"), b"IDAT", b"\x78\x01"]
        before = b"".join(beginning)
        content = bytearray(before) + bytearray(stored + 14)
        source, target, position = memoryview(self.rows), memoryview(content), len(before)
        for start in range(0, len(self.rows), _BLOCK):
            block = source[start : start + _BLOCK]
            length, is_last = len(block), start + _BLOCK >= len(self.rows)
            lengths = length.to_bytes(2, "little") + (length ^ _BLOCK).to_bytes(2, "little")
            target[position : position + 5 + length] = b"".join((bytes([is_last]), lengths, block))
            position += 5 + length
        target[position : position + 4] = zlib.adler32(self.rows).to_bytes(4, "big")
        check = zlib.crc32(target[len(before) - 6 : position + 4])
        target[position + 4 :] = check.to_bytes(4, "big") + _chunk(b"IEND", b"")
        return content


def png_size(content: bytes) -> tuple[int, int] | None:
    """Rows and columns from the first 24 bytes of a PNG file; None when it is none."""
    if len(content) < 24 or content[:8] != _SIGNATURE:
        return None
    return int.from_bytes(content[20:24], "big"), int.from_bytes(content[16:20], "big")


def read_png(content: bytes) -> PngImage:
    """Check and unpack a PNG file.

    Raises:
        DamagedImage: a checksum is wrong, something is missing or makes no sense, or it is too large.
    """
    image, packed = None, []
    for kind, data in _read_chunks(content):
        if image is None:
            image = PngImage(_read_header(kind, bytes(data)))
        elif kind == b"IDAT":
            packed.append(data)
        elif kind == b"PLTE" or _decides_pixels(kind, data, early=not (packed or b"PLTE" in image.chunks)):
            image.chunks.setdefault(kind, bytes(data))
        elif kind[:1].isupper() and kind != b"IEND":
            raise DamagedImage(f"is damaged: its chunk {kind.decode()} is out of place or unknown")
    if image is None or not packed:
        raise DamagedImage("is damaged: a PNG file without pixels")
    _check_palette(image)
    image.rows = _unpack(b"".join(packed), image.header)
    return image


def _read_chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and data of each chunk up to the last; what follows that is not part of the image."""
    view, position, kind = memoryview(content), len(_SIGNATURE), b""
    while kind != b"IEND":
        end = position + 12 + int.from_bytes(view[position : position + 4], "big")
        if position + 12 > len(view) or end > len(view):
            raise DamagedImage(f"is cut off: a PNG file of {len(content)} bytes without an end")
        kind = bytes(view[position + 4 : position + 8])
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise DamagedImage(f"is damaged: a checksum is wrong, of the chunk at byte {position}")
        if not (kind.isalpha() and kind.isascii()):
            raise DamagedImage(f"is damaged: a chunk without a name at byte {position}")
        yield kind, view[position + 8 : end - 4]
        position = end


def _read_header(kind: bytes, data: bytes) -> PngHeader:
    if kind != b"IHDR" or len(data) != 13:
        raise DamagedImage("is damaged: a PNG file without a header")
    columns, rows = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
    check_size(rows, columns)
    depth, colour, packing, filtering, interlacing = data[8:]
    if depth not in _DEPTHS.get(colour, ()) or packing or filtering or interlacing > 1:
        raise DamagedImage(f"is damaged: its header says {depth} bits and type of colour {colour}")
    return PngHeader(columns, rows, depth, colour, interlacing == 1)


def _decides_pixels(kind: bytes, data: memoryview, early: bool) -> bool:
    """Gamma decides the grey of colours, Exif the rotation; what libpng would leave out decides nothing."""
    if kind == b"gAMA":
        return early and len(data) == 4 and 0 < int.from_bytes(data, "big") < 1 << 31
    if kind == b"sRGB":
        return early and len(data) == 1 and data[0] < 4
    return kind == b"eXIf" and len(data) > 8 and data[:4] in (b"II*\0", b"MM\0*")


def _check_palette(image: PngImage) -> None:
    palette = image.chunks.get(b"PLTE", b"")
    if image.header.colour != _WITH_PALETTE:
        image.chunks.pop(b"PLTE", None)  # only a suggestion
    elif len(palette) % 3 or not 3 <= len(palette) <= 3 << image.header.depth:
        raise DamagedImage(f"is damaged: its palette has {len(palette)} bytes")


def _unpack(packed: bytes, header: PngHeader) -> bytes:
    """The filtered rows of all passes.

    Raises:
        DamagedImage: zlib finds an error, rows are missing, or a row has a filter that does not exist.
    """
    passes = header.passes()
    size = sum(rows * row_bytes for rows, row_bytes in passes)
    unpacking = zlib.decompressobj()
    try:
        if len(packed) <= _SMALL:
            unpacked, ended = zlib.decompress(packed, bufsize=size), True
        else:
            unpacked = unpacking.decompress(packed, size + 1)
            ended = unpacking.eof or len(unpacked) > size
    except zlib.error as error:
        raise DamagedImage(f"is damaged: {error}") from error
    if len(unpacked) < size or not ended:
        raise DamagedImage(f"is damaged: {len(unpacked)} bytes of pixels, expected {size}")
    start = 0
    for rows, row_bytes in passes:
        filters = np.frombuffer(unpacked, np.uint8, rows * row_bytes, start)[::row_bytes]
        if filters.max() > _HIGHEST_FILTER:
            raise DamagedImage(f"is damaged: a row has filter {filters.max()}, expected 0 to {_HIGHEST_FILTER}")
        start += rows * row_bytes
    return unpacked[:size]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((len(data).to_bytes(4, "big"), kind, data, zlib.crc32(data, zlib.crc32(kind)).to_bytes(4, "big")))
