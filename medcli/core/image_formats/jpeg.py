"""JPEG files: the header, whether every scan is there, and decoding that refuses what libjpeg only warns of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import quantity
from medcli.core.image_formats.damage import DamagedImage, check_size
from medcli.core.image_formats.jpeg_scans import ScanWalk

_SCAN, _END, _EXIF, _QUANTISATION = 0xDA, 0xD9, 0xE1, 0xDB
_COEFFICIENTS = 64
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 without the tables between them
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_MARKER = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")  # in a scan: no escaped 0xFF, no restart marker
_MOST_SCANS = 100
"""Programs write about ten. Each goes over the whole image, so that thousands of empty ones would take hours."""


@dataclass(frozen=True)
class JpegHeader:
    """What a JPEG file says of itself.

    Attributes:
        channels: 1 grey, 3 colour, 4 inks.
        complete: its end is there.
        rows, columns: before any rotation that Exif asks for; 0 where the header ends before its size.
        progressive: the image comes in several scans of growing detail.
        has_exif: it may ask to be rotated.
        scan: position of the first scan's marker.
        tables: positions of the markers of quantisation tables before it.
    """

    channels: int
    complete: bool
    rows: int = 0
    columns: int = 0
    progressive: bool = False
    has_exif: bool = False
    scan: int = 0
    tables: tuple[int, ...] = ()


def jpeg_header(content: bytes) -> JpegHeader | None:
    """Walk a JPEG file's segments; None when the bytes are no JPEG file at all."""
    if content[:2] != b"\xff\xd8":
        return None
    position, channels, rows, columns, progressive, has_exif = 2, 0, 0, 0, False, False
    tables: tuple[int, ...] = ()
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _WITHOUT_LENGTH:
            position += 2
            continue
        if marker in _FRAMES and not channels and position + 9 < len(content):
            rows, columns = (int.from_bytes(content[position + at : position + at + 2], "big") for at in (5, 7))
            channels, progressive = content[position + 9], marker in _PROGRESSIVE
        has_exif |= marker == _EXIF
        tables += (position,) if marker == _QUANTISATION else ()
        if marker == _SCAN:  # 0xFF is escaped in what follows, so the end marker is unambiguous
            complete = content.rfind(b"\xff\xd9", position) >= 0
            return JpegHeader(channels, complete, rows, columns, progressive, has_exif, position, tables)
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return JpegHeader(channels, False, rows, columns, progressive, has_exif, position, tables)


def decode_jpeg(content: bytes, header: JpegHeader, colour: bool) -> NDArray[np.uint8]:
    """Decode a JPEG file as it is stored, without regard to Exif: (H, W) grey, or (H, W, 3) RGB with ``colour``.

    Raises:
        DamagedImage: it is truncated, lacks scans, is too large, or anything that libjpeg finds wrong with it.
    """
    if not header.complete:
        raise DamagedImage(f"is truncated: a JPEG file of {quantity(len(content), 'byte')} without an end")
    check_size(header.rows, header.columns)
    for at in header.tables:
        _check_steps(content[at + 4 : at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")])
    _check_scans(content, header)
    from simplejpeg import decode_jpeg as decode_strictly

    try:
        image = np.asarray(decode_strictly(content, "RGB" if colour else "GRAY", strict=True), np.uint8)
    except ValueError as error:
        raise DamagedImage(f"is damaged: {_reason(error)}") from error
    if header.progressive:
        _check_codes(content)
    return image if colour else image[:, :, 0]


def _reason(error: ValueError) -> str:
    """libjpeg's words on one line."""
    return " ".join(str(error).split()) or "it cannot be decoded"


def _check_scans(content: bytes, header: JpegHeader) -> None:
    """An image that comes in several scans and ends between two of them is decoded without a warning, but coarse.

    Raises:
        DamagedImage: part of the image is in no scan, or there are too many scans.
    """
    in_scan = content[header.scan + 4] if header.scan + 4 < len(content) else 0
    if not header.progressive and in_scan == header.channels:
        return  # the one scan holds everything, and libjpeg says what is missing in it
    missing_bits: dict[int, list[int]] = {}
    scans = 0
    for marker, segment, _ in _segments(content, header.scan):
        if marker == _SCAN:
            scans += 1
            _note_scan(segment, missing_bits)
        elif marker == _QUANTISATION:
            _check_steps(segment)
        if scans > _MOST_SCANS:
            break
    if scans > _MOST_SCANS:
        raise DamagedImage(f"has more than {_MOST_SCANS} scans, which no program writes")
    if len(missing_bits) < header.channels or (header.progressive and any(map(any, missing_bits.values()))):
        raise DamagedImage(f"is damaged: scans are missing after the first {scans}")


def _check_codes(content: bytes) -> None:
    """Walk through the scans of a progressive file, see :mod:`medcli.core.image_formats.jpeg_scans`."""
    walk = ScanWalk()
    for segment in _segments(content, 2):
        walk.take(*segment)


def _segments(content: bytes, position: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, contents, and after a scan's header its packed data, of each segment from ``position`` to the end."""
    while (found := _MARKER.search(content, position)) and found[1][0] != _END:
        marker, start = found[1][0], found.end()
        position = start + int.from_bytes(content[start : start + 2], "big")
        following = _MARKER.search(content, position) if marker == _SCAN else None
        yield marker, content[start + 2 : position], content[position : following.start()] if following else b""


def _check_steps(segment: bytes) -> None:
    """A step of 0 makes every coefficient 0, and the image one grey.

    Raises:
        DamagedImage: a quantisation table has one.
    """
    while len(segment) > _COEFFICIENTS:
        width = 2 if segment[0] >> 4 else 1
        table, segment = segment[1 : 1 + width * _COEFFICIENTS], segment[1 + width * _COEFFICIENTS :]
        if 0 in np.frombuffer(table, ">u2" if width == 2 else "u1", len(table) // width):
            raise DamagedImage("is damaged: a quantisation table of its JPEG data holds a 0, expected 1 or more")


def _note_scan(segment: bytes, missing_bits: dict[int, list[int]]) -> None:
    """Enter a scan's header: of each component and coefficient, how many low bits are still to come."""
    components = segment[0] if segment else 0
    if len(segment) < 4 + 2 * components:
        return  # libjpeg refuses it
    first, last, low = *segment[1 + 2 * components : 3 + 2 * components], segment[3 + 2 * components] & 15
    for component in segment[1 : 1 + 2 * components : 2]:
        bits = missing_bits.setdefault(component, [16] * 64)
        bits[first : last + 1] = [low] * len(bits[first : last + 1])
