"""TIFF files: where the pages are, and whether the data of each are whole.

OpenCV goes on with whatever libtiff could unpack of a damaged strip. So every strip or tile is first looked at here:
deflated ones have a checksum, those of LZW and PackBits must unpack to exactly their size, JPEG ones are decoded
strictly, plain ones must be as long as their size. Fax codes (CCITT) are taken as they are.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from medcli.core.errors import quantity
from medcli.core.image_formats.damage import DamagedImage, check_size
from medcli.core.image_formats.jpeg import decode_jpeg, jpeg_header

_KINDS: dict[bytes, tuple[Any, bool]] = {
    b"II*\0": ("little", False),
    b"MM\0*": ("big", False),
    b"II+\0": ("little", True),
    b"MM\0+": ("big", True),
}
"""How files begin: byte order, and whether offsets have 64 bits (BigTIFF)."""
_TYPES = {1: "u1", 3: "u2", 4: "u4", 7: "u1", 13: "u4", 16: "u8", 18: "u8"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 256, 257, 258, 259, 262, 277, 284
_STRIPS, _STRIP_ROWS, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _SAMPLE_FORMAT, _JPEG_TABLES = 322, 323, 324, 325, 339, 347
_WANTED = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _STRIPS, _STRIP_ROWS, _STRIP_BYTES}
    | {_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _SAMPLE_FORMAT, _JPEG_TABLES}
)
_PLAIN, _LZW, _JPEG, _DEFLATE, _PACKBITS = 1, 5, 7, (8, 32946), 32773
_SEPARATE_PLANES, _SUBSAMPLED_COLOUR, _FLOAT = 2, 6, 3
_MOST_PAGES = 100_000
_MOST_BITS = 256
"""Bits of a pixel: four samples of 64."""
_DEEP = (32, 64)
"""Bits of samples that are not read, nor are floating-point ones: their range, which grey levels need, is not known."""


@dataclass(frozen=True)
class TiffPage:
    """One image of a file: the position of its directory, and the numbers of each tag that matters here."""

    position: int
    tags: dict[int, Any]

    def number(self, tag: int, default: int) -> int:
        """The first number of a tag."""
        return int(self.tags[tag][0]) if tag in self.tags and len(self.tags[tag]) else default

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.number(_HEIGHT, 0), self.number(_WIDTH, 0)


@dataclass(frozen=True)
class _Segment:
    """A strip or tile: its bytes, and the sizes that it may unpack to (empty where that cannot be told)."""

    content: memoryview
    sizes: tuple[int, ...]


def is_tiff(content: bytes) -> bool:
    return content[:4] in _KINDS


def tiff_pages(content: bytes) -> Iterator[TiffPage]:
    """The pages in their order, each looked up when it is asked for.

    Raises:
        DamagedImage: a directory lies outside the file, there is none, or they go in a circle.
    """
    order, is_big = _KINDS[content[:4]]
    width = 8 if is_big else 4
    position = _number(content, width, width, order)
    if not position:
        raise DamagedImage("is damaged: a TIFF file without a page")
    seen: set[int] = set()
    while position:
        if position in seen or len(seen) == _MOST_PAGES:
            raise DamagedImage(f"is damaged: its pages go in a circle, or there are more than {_MOST_PAGES}")
        seen.add(position)
        page, position = _read_directory(content, position, order, is_big)
        yield page


def page_first(content: bytes, page: TiffPage) -> bytes:
    """The same file beginning with this page."""
    order, is_big = _KINDS[content[:4]]
    start, width = (8, 8) if is_big else (4, 4)
    return b"".join((content[:start], page.position.to_bytes(width, order), memoryview(content)[start + width :]))


def check_page(content: bytes, page: TiffPage) -> None:
    """Check one page's size and kind, and unpack all of its data once.

    Raises:
        DamagedImage: it is too large, of a kind that is not read, or its data are truncated or damaged.
    """
    check_size(*page.size)
    depth, is_float = page.number(_BITS, 1), page.number(_SAMPLE_FORMAT, 1) == _FLOAT
    if is_float or depth in _DEEP:
        kind = "floating-point" if is_float else "whole"
        raise DamagedImage(
            f"has {kind} numbers of {depth} bits, and only TIFF images of 8 and 16 bits are read: convert it to 8 bits"
        )
    compression = page.number(_COMPRESSION, _PLAIN)
    tables = bytes(page.tags.get(_JPEG_TABLES, b""))
    for segment in _segments(content, page):
        if compression == _JPEG:
            _check_jpeg(bytes(segment.content), tables)
        elif segment.sizes:
            found = _unpacked_size(segment, compression)
            if found is not None and found not in segment.sizes:
                raise DamagedImage(
                    f"is damaged: a part of it has {quantity(max(found, 0), 'byte')}, expected {segment.sizes[0]}"
                )


def _number(content: bytes, start: int, width: int, order: Any) -> int:
    if start + width > len(content):
        raise DamagedImage(f"is truncated: a TIFF file of {quantity(len(content), 'byte')}")
    return int.from_bytes(content[start : start + width], order)


def _read_directory(content: bytes, position: int, order: Any, is_big: bool) -> tuple[TiffPage, int]:
    """A page, and the position of the next one's directory (0 after the last)."""
    count_width, width = (8, 8) if is_big else (2, 4)
    entry_size = 4 + 2 * width
    entries = _number(content, position, count_width, order)
    start = position + count_width
    following = _number(content, start + entries * entry_size, width, order)
    tags = {}
    for entry in range(start, start + entries * entry_size, entry_size):
        tag, kind = (_number(content, entry + at, 2, order) for at in (0, 2))
        if tag not in _WANTED or kind not in _TYPES:
            continue
        dtype = np.dtype(_TYPES[kind]).newbyteorder("<" if order == "little" else ">")
        count = _number(content, entry + 4, width, order)
        place = entry + 4 + width
        if count * dtype.itemsize > width:
            place = _number(content, place, width, order)
        if place + count * dtype.itemsize > len(content):
            raise DamagedImage(f"is truncated: a TIFF file of {quantity(len(content), 'byte')}")
        tags[tag] = np.frombuffer(content, dtype, count, place)
    return TiffPage(position, tags), following


def _segments(content: bytes, page: TiffPage) -> Iterator[_Segment]:
    rows, columns = page.size
    samples, separate = page.number(_SAMPLES, 1), page.number(_PLANAR, 1) == _SEPARATE_PLANES
    depth = page.number(_BITS, 1)
    bits = depth if separate else depth * samples
    if not 0 < bits <= _MOST_BITS:
        raise DamagedImage(f"is damaged: its header says {bits} bits a pixel")
    is_tiled = _TILES in page.tags
    where = (_TILES, _TILE_BYTES) if is_tiled else (_STRIPS, _STRIP_BYTES)
    offsets, lengths = (page.tags.get(tag, np.zeros(0, np.int64)) for tag in where)
    height = page.number(_TILE_HEIGHT, 0) if is_tiled else min(page.number(_STRIP_ROWS, rows), rows)
    width = page.number(_TILE_WIDTH, 0) if is_tiled else columns
    if height < 1 or width < 1:
        raise DamagedImage(f"is damaged: its parts have {width} x {height} pixels")
    check_size(height, width)
    down, across = -(-rows // height), -(-columns // width)
    expected = down * across * (samples if separate else 1)
    if len(offsets) < expected or len(lengths) < expected:
        raise DamagedImage(
            f"is damaged: it has {quantity(min(len(offsets), len(lengths)), 'part')}, expected {expected}"
        )
    row_bytes = (width * bits + 7) // 8
    last = rows - (down - 1) * height
    known = page.number(_PHOTOMETRIC, 1) != _SUBSAMPLED_COLOUR
    view = memoryview(content)
    for index, (offset, length) in enumerate(
        zip(offsets[:expected].tolist(), lengths[:expected].tolist(), strict=True)
    ):
        if offset + length > len(content):
            raise DamagedImage(
                f"is truncated: a TIFF file of {quantity(len(content), 'byte')}, expected {offset + length} or more"
            )
        is_last = not is_tiled and index % down == down - 1
        sizes = (last * row_bytes, height * row_bytes) if is_last else (height * row_bytes,)  # some programs fill up
        yield _Segment(view[offset : offset + length], sizes if known else ())


def _unpacked_size(segment: _Segment, compression: int) -> int | None:
    """Bytes that a strip or tile unpacks to; -1 for one that cannot be unpacked, None where nobody can tell."""
    content = segment.content
    if compression == _PLAIN:
        return min(len(content), segment.sizes[0])
    if compression in _DEFLATE:
        return _inflated_size(content, segment.sizes[-1])
    if compression not in (_LZW, _PACKBITS):
        return None
    from medcli.core.image_formats.tiff_kernels import lzw_size, packbits_size

    data = np.frombuffer(content, np.uint8)
    if compression == _PACKBITS:
        return int(packbits_size(data))
    is_old = len(data) > 1 and data[0] == 0 and data[1] & 1  # codes of a kind given up in 1989
    return None if is_old else int(lzw_size(data))


def _inflated_size(content: memoryview, most: int) -> int:
    unpacking, size, rest = zlib.decompressobj(), 0, bytes(content)
    try:
        while not unpacking.eof and rest and size <= most:
            size += len(unpacking.decompress(rest, 1 << 20))
            rest = unpacking.unconsumed_tail
    except zlib.error:
        return -1
    return size if unpacking.eof else -1


def _check_jpeg(content: bytes, tables: bytes) -> None:
    """Decode a strip or tile with the tables that all of them share (both are JPEG files of a kind)."""
    shared = tables[2:-2] if tables[:2] == b"\xff\xd8" else b""
    content = content[:2] + shared + content[2:]
    header = jpeg_header(content)
    if header is None:
        raise DamagedImage("is damaged: a part of it is no JPEG data")
    decode_jpeg(content, header, colour=False)
