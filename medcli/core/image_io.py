"""Decode and encode images: the only module that touches image codecs.

Images are (H, W) or (H, W, 3) arrays: row, column[, channel], the top-left pixel at [0, 0]; colour is RGB.
Files are read and written through memory, so that names with any character work on every system.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.files import write_bytes

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})

# A broken file is reported once, by the error that names it, and not by the codec as well.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def use_single_threaded_codecs() -> None:
    """Keep OpenCV from starting threads of its own where the caller already uses every core."""
    cv2.setNumThreads(1)


@dataclass(frozen=True)
class JpegHeader:
    """Header of a JPEG file: number of colour channels, and whether the end marker is present."""

    channels: int
    complete: bool


def read_grey(path: Path | str) -> NDArray[np.uint8]:
    """Read an image file as 8-bit grey, (H, W); colour becomes luma, 16 bits become the upper 8.

    Raises:
        DataError: the file is missing, empty, cut off, or no image.
    """
    return decode_grey(read_content(path), path)


def read_content(path: Path | str) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: it cannot be read, with the reason.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def decode_grey(content: bytes, name: Path | str) -> NDArray[np.uint8]:
    """Decode the bytes of an image file to 8-bit grey, (H, W); ``name`` is used in errors only.

    Raises:
        DataError: the bytes are empty, cut off, or no image.
    """
    return np.asarray(_decode(content, cv2.IMREAD_GRAYSCALE, name))


def read_rgb(path: Path | str) -> NDArray[np.uint8]:
    """Read an image file as 8-bit RGB, (H, W, 3); same errors as :func:`read_grey`."""
    return np.ascontiguousarray(_decode(read_content(path), cv2.IMREAD_COLOR, path)[:, :, ::-1])


def read_size(path: Path | str) -> tuple[int, int]:
    """Rows and columns of an image file; of a PNG file only the first bytes are read.

    Raises:
        DataError: as :func:`read_grey`.
    """
    try:
        with Path(path).open("rb") as file:
            header = file.read(24)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if len(header) == 24 and header[:8] == b"\x89PNG\r\n\x1a\n":
        return int.from_bytes(header[20:24], "big"), int.from_bytes(header[16:20], "big")
    rows, columns = read_grey(path).shape
    return rows, columns


def encode(image: NDArray[np.uint8], suffix: str, quality: int = 95, sharp_colour: bool = False) -> NDArray[np.uint8]:
    """Encode (H, W) grey or (H, W, 3) RGB as ``.jpg`` (at ``quality`` 0 to 100), ``.png`` or ``.tif``.

    ``sharp_colour`` keeps a JPEG file's colour at full resolution, which thin coloured lines need.

    Returns:
        (bytes,) uint8.
    """
    if image.ndim == 3:
        image = np.ascontiguousarray(image[:, :, ::-1])
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix in (".jpg", ".jpeg") else []
    if parameters and sharp_colour:
        parameters += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    written, content = cv2.imencode(suffix, image, parameters)
    if not written:
        raise ValueError(f"cannot encode an image of shape {image.shape} and type {image.dtype} as {suffix}")
    return content


def write_image(path: Path | str, image: NDArray[np.uint8], quality: int = 95, durable: bool = False) -> None:
    """Write (H, W) grey or (H, W, 3) RGB in the format of the path's suffix, whole or not at all.

    ``durable`` is off by default: a folder of 200,000 images would wait minutes for the disk, and an image that a
    power cut took is made again by running the command again. See :func:`medcli.core.files.replacing`.
    """
    path = Path(path)
    write_bytes(path, encode(image, path.suffix.lower(), quality), durable)


def jpeg_header(content: bytes) -> JpegHeader | None:
    """Walk a JPEG file's segments; None when the bytes are not a JPEG file."""
    if content[:2] != b"\xff\xd8":
        return None
    position, channels = 2, 0
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        is_frame = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if is_frame and position + 9 < len(content):
            channels = content[position + 9]
        position += 2 + length
        if marker == 0xDA:  # the scan follows; 0xFF is escaped in it, so the end marker is unambiguous
            return JpegHeader(channels, content.rfind(b"\xff\xd9", position) >= 0)
    return JpegHeader(channels, complete=False)


def _decode(content: bytes, flags: int, name: Path | str) -> Any:
    if not content:
        raise DataError(f"{name} is empty")
    header = jpeg_header(content)
    if header is not None and not header.complete:
        raise DataError(f"{name} is cut off: a JPEG file of {len(content)} bytes without an end")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{name} cannot be decoded: {error.err}") from error
    if image is None:
        raise DataError(f"{name} is not an image or is damaged: {len(content)} bytes")
    return image
