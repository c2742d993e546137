"""PNG files: every checksum, and the data unpacked here, where damage is an exception.

libpng writes what it finds wrong to stderr, where nobody can tell which of 200,000 files is meant, and continues where
it can. So a file is checked and unpacked by zlib first. The rows of 8-bit grey images (frames and masks) are then added
up here, which is faster than libpng (a frame of 950 x 811 takes 2.6 instead of 4.1 ms) where there are many; all others
are given to OpenCV as a file of the same rows, stored unpacked, without the chunks that no pixel depends on: libpng has
nothing to say.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import quantity
from medcli.core.image_formats.damage import DamagedImage, check_size
from medcli.core.image_formats.few_images import FewImages

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
_few = FewImages()


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

        None also of the first few files of a process that has no compiled code yet.

        Raises:
            DamagedImage: see :meth:`_rows`.
        """
        header = self.header
        if header.colour != _GREY or header.depth != 8 or header.interlaced or self.chunks:
            return None
        if _few.next_is_one():
            return None
        from medcli.core.image_formats.png_kernels import unfilter_rows

        rows = np.frombuffer(self._rows(), np.uint8).reshape(header.rows, header.columns + 1)
        return np.asarray(unfilter_rows(rows), np.uint8)

    def as_file(self) -> bytes:
        """A PNG file of the same pixels whose rows are stored unpacked.

        Raises:
            DamagedImage: see :meth:`_rows`.
        """
        header = self.header
        size = header.columns.to_bytes(4, "big") + header.rows.to_bytes(4, "big")
        kind = bytes([header.depth, header.colour, 0, 0, header.interlaced])
        chunks = {b"IHDR": size + kind, **self.chunks, b"IDAT": zlib.compress(self._rows(), 0), b"IEND": b""}
        return b"".join([_SIGNATURE, *(part for each in chunks.items() for part in _chunk(*each))])

    def _rows(self) -> bytes:
        """The filtered rows of all passes; what is packed beyond them is not unpacked.

        Raises:
            DamagedImage: zlib finds an error, rows are missing, or one has a filter that does not exist.
        """
        unpacking, size = zlib.decompressobj(), self.header.size
        try:
            rows = unpacking.decompress(b"".join(self.packed), size)
            is_longer = bool(unpacking.decompress(unpacking.unconsumed_tail, 1))
        except zlib.error as error:
            raise DamagedImage(f"is damaged: {error}") from error
        if len(rows) < size or not (is_longer or unpacking.eof):
            raise DamagedImage(f"is damaged: {quantity(len(rows), 'byte')} of pixels, expected {size}")
        start = 0
        for count, row_bytes in self.header.passes():
            highest = np.frombuffer(rows, np.uint8, count * row_bytes, start)[::row_bytes].max()
            if highest > _HIGHEST_FILTER:
                raise DamagedImage(f"is damaged: a row has filter {highest}, expected 0 to {_HIGHEST_FILTER}")
            start += count * row_bytes
        return rows


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
            raise DamagedImage(f"is truncated: a PNG file of {quantity(len(content), 'byte')} without an end")
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
        raise DamagedImage(f"is damaged: its palette has {quantity(len(palette), 'byte')}")


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    """The parts of a chunk, to be joined: length, kind, data, checksum."""
    return len(data).to_bytes(4, "big"), kind, data, zlib.crc32(data, zlib.crc32(kind)).to_bytes(4, "big")
