"""PNG files: every checksum, and the data unpacked here, where damage is an exception.

libpng writes what it finds wrong to stderr, where nobody can tell which of 200,000 files is meant, and continues where
it can. So a file is checked and unpacked by zlib first. The rows of 8-bit grey images (frames and masks) are then added
up here, which is faster than libpng; all others are given to OpenCV as a file of the same rows, stored unpacked,
without the chunks that no pixel depends on: libpng has nothing left to say.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
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
_HIGHEST_FILTER = 4
_BLOCK = 0xFFFF
"""Bytes of zlib's largest block without compression."""
_INPUT, _OUTPUT = 1 << 14, 1 << 17
"""Most bytes that zlib is given and gives at a time."""


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

    @property
    def size(self) -> int:
        """Bytes of all rows."""
        return sum(rows * row_bytes for rows, row_bytes in self.passes())


@dataclass
class PngImage:
    """What of a file decides its pixels: its parts are there and their checksums right.

    Attributes:
        header: size and kind.
        chunks: palette, gamma and Exif, by kind.
        packed: the data of the IDAT chunks.
    """

    header: PngHeader
    chunks: dict[bytes, bytes] = field(default_factory=dict)
    packed: list[memoryview] = field(default_factory=list)

    def plain_grey(self) -> NDArray[np.uint8] | None:
        """The pixels, (H, W), of a file of 8-bit grey that is neither interlaced nor rotated; None of another one.

        It is unpacked in bands of rows: fresh memory for whole copies would cost more time than the sums.

        Raises:
            DamagedImage: see :func:`_unpacked`; or a row has a filter that does not exist.
        """
        header = self.header
        if header.colour != _GREY or header.depth != 8 or header.interlaced or self.chunks:
            return None
        from medcli.core.image_formats.png_kernels import unfilter_rows

        image = np.empty((header.rows, header.columns), np.uint8)
        row, row_bytes, waiting, held = 0, header.columns + 1, [b""], 0
        for piece in _unpacked(self.packed, header.size):
            waiting.append(piece)
            held += len(piece)
            if held < row_bytes:
                continue
            content, rows = b"".join(waiting), held // row_bytes
            band = np.frombuffer(content, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
            if unknown := unfilter_rows(band, image, row):
                raise DamagedImage(f"is damaged: a row has filter {unknown}, expected 0 to {_HIGHEST_FILTER}")
            row, waiting, held = row + rows, [content[band.size :]], held - band.size
        return image

    def as_file(self) -> bytearray:
        """A PNG file of the same pixels whose rows are stored unpacked; built in one piece of memory.

        Raises:
            DamagedImage: see :func:`_unpacked`; or a row has a filter that does not exist.
        """
        header, rows = self.header, b"".join(_unpacked(self.packed, self.header.size))
        _check_filters(rows, header)
        kind = bytes([header.depth, header.colour, 0, 0, header.interlaced])
        size = header.columns.to_bytes(4, "big") + header.rows.to_bytes(4, "big")
        beginning = [_SIGNATURE, _chunk(b"IHDR", size + kind), *(_chunk(*each) for each in self.chunks.items())]
        blocks = -(-len(rows) // _BLOCK)
        stored = 2 + 5 * blocks + len(rows) + 4
        beginning += [stored.to_bytes(4, "big"), b"IDAT", b"\x78\x01"]
        before = b"".join(beginning)
        content = bytearray(before) + bytearray(stored + 14)
        source, target, position = memoryview(rows), memoryview(content), len(before)
        for start in range(0, len(rows), _BLOCK):
            block = source[start : start + _BLOCK]
            length, is_last = len(block), start + _BLOCK >= len(rows)
            lengths = length.to_bytes(2, "little") + (length ^ _BLOCK).to_bytes(2, "little")
            target[position : position + 5 + length] = b"".join((bytes([is_last]), lengths, block))
            position += 5 + length
        target[position : position + 4] = zlib.adler32(rows).to_bytes(4, "big")
        check = zlib.crc32(target[len(before) - 6 : position + 4])
        target[position + 4 :] = check.to_bytes(4, "big") + _chunk(b"IEND", b"")
        return content


def png_size(content: bytes) -> tuple[int, int] | None:
    """Rows and columns from the first 24 bytes of a PNG file; None when it is none."""
    if len(content) < 24 or content[:8] != _SIGNATURE:
        return None
    return int.from_bytes(content[20:24], "big"), int.from_bytes(content[16:20], "big")


def read_png(content: bytes) -> PngImage:
    """Check a PNG file's parts; the pixels are not unpacked yet.

    Raises:
        DamagedImage: a checksum is wrong, something is missing or makes no sense, or it is too large.
    """
    image: PngImage | None = None
    for kind, data in _read_chunks(content):
        if image is None:
            image = PngImage(_read_header(kind, bytes(data)))
        elif kind == b"IDAT":
            image.packed.append(data)
        elif kind == b"PLTE" or _decides_pixels(kind, data, early=not (image.packed or b"PLTE" in image.chunks)):
            image.chunks.setdefault(kind, bytes(data))
        elif kind[:1].isupper() and kind != b"IEND":
            raise DamagedImage(f"is damaged: its chunk {kind.decode()} is out of place or unknown")
    if image is None or not image.packed:
        raise DamagedImage("is damaged: a PNG file without pixels")
    _check_palette(image)
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
    return kind == b"eXIf" and len(data) > 8 and bytes(data[:4]) in (b"II*\0", b"MM\0*")


def _check_palette(image: PngImage) -> None:
    palette = image.chunks.get(b"PLTE", b"")
    if image.header.colour != _WITH_PALETTE:
        image.chunks.pop(b"PLTE", None)  # only a suggestion
    elif len(palette) % 3 or not 3 <= len(palette) <= 3 << image.header.depth:
        raise DamagedImage(f"is damaged: its palette has {len(palette)} bytes")


def _unpacked(packed: Sequence[memoryview], size: int) -> Iterator[bytes]:
    """The filtered rows of all passes, ``size`` bytes in small pieces; what is packed beyond them is not unpacked.

    Raises:
        DamagedImage: zlib finds an error, or rows are missing.
    """
    unpacking, left = zlib.decompressobj(), size
    for data in packed:
        for start in range(0, len(data), _INPUT):
            rest: bytes | memoryview = data[start : start + _INPUT]
            is_full = True
            while is_full and left >= 0:
                try:
                    piece = unpacking.decompress(rest, _OUTPUT)
                except zlib.error as error:
                    raise DamagedImage(f"is damaged: {error}") from error
                is_full, rest = len(piece) == _OUTPUT, unpacking.unconsumed_tail
                if left > 0:
                    yield piece[:left]
                left -= len(piece)
    if left > 0 or (left == 0 and not unpacking.eof):
        raise DamagedImage(f"is damaged: {size - left} bytes of pixels, expected {size}")


def _check_filters(rows: bytes, header: PngHeader) -> None:
    start = 0
    for count, row_bytes in header.passes():
        filters = np.frombuffer(rows, np.uint8, count * row_bytes, start)[::row_bytes]
        if filters.max() > _HIGHEST_FILTER:
            raise DamagedImage(f"is damaged: a row has filter {filters.max()}, expected 0 to {_HIGHEST_FILTER}")
        start += count * row_bytes


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((len(data).to_bytes(4, "big"), kind, data, zlib.crc32(data, zlib.crc32(kind)).to_bytes(4, "big")))
