"""Decode and encode images: the only module that calls OpenCV's image codecs.

An image is decoded whole or not at all: files that viewers show in part, with grey where data are damaged, are refused
(:mod:`medcli.core.image_formats`), and so are those with more pixels than the limit, before anything is decoded.
Images are (H, W) or (H, W, 3) arrays: row, column[, channel], the top-left pixel at [0, 0]; colour is RGB.
Files are read and written through memory, so that names with any character work on every system.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, MedcliError, quantity
from medcli.core.files import open_regular, read_whole, write_bytes
from medcli.core.image_formats.bmp import check_bmp
from medcli.core.image_formats.damage import MAX_SIDE, DamagedImage, check_size
from medcli.core.image_formats.jpeg import decode_jpeg, jpeg_header
from medcli.core.image_formats.png import png_size, read_png
from medcli.core.image_formats.tiff import check_page, is_tiff, page_first, tiff_pages

# A broken file is reported once, by the error that names it, and not by the codec as well.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def use_single_threaded_codecs() -> None:
    """Keep OpenCV from starting threads of its own where the caller already uses every core."""
    cv2.setNumThreads(1)


def read_grey(path: Path | str) -> NDArray[np.uint8]:
    """Read an image file as 8-bit grey, (H, W); colour becomes luma, 16 bits become the upper 8.

    Raises:
        DataError: the file is missing, empty, truncated, damaged, too large, or no image.
    """
    return decode_grey(read_content(path), path)


def read_content(path: Path | str) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: it cannot be read or is no regular file, with the reason.
    """
    try:
        return read_whole(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def decode_grey(content: bytes, name: Path | str) -> NDArray[np.uint8]:
    """Decode the bytes of an image file to 8-bit grey, (H, W); ``name`` is used in errors only.

    Raises:
        DataError: the bytes are empty, truncated, damaged, too large, or no image.
    """
    return _decode(content, False, name)


def read_rgb(path: Path | str) -> NDArray[np.uint8]:
    """Read an image file as 8-bit RGB, (H, W, 3); same errors as :func:`read_grey`."""
    return _decode(read_content(path), True, path)


def read_pages(path: Path | str) -> list[Callable[[], NDArray[np.uint8]]]:
    """What reads each page of a TIFF file (of another image file: its one image) as 8-bit grey, (H, W).

    Raises:
        DataError: as :func:`read_grey`; a page that is damaged raises when it is read, and the others can be read.
    """
    content = read_content(path)
    if not is_tiff(content):
        return [partial(decode_grey, content, path)]
    try:
        pages = list(tiff_pages(content))
    except DamagedImage as error:
        raise DataError(f"{path} {error}") from error

    def read(number: int) -> NDArray[np.uint8]:
        name = path if len(pages) == 1 else f"{path}, page {number},"
        return decode_grey(page_first(content, pages[number]), name)

    return [partial(read, number) for number in range(len(pages))]


def read_size(path: Path | str) -> tuple[int, int]:
    """Rows and columns of an image file; of a PNG file only the first bytes are read.

    Raises:
        DataError: as :func:`read_grey`.
    """
    try:
        with open_regular(path) as file:
            header = file.read(24)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if size := png_size(header):
        try:
            check_size(*size)
        except DamagedImage as error:
            raise DataError(f"{path} {error}") from error
        return size
    rows, columns = read_grey(path).shape
    return rows, columns


def encode(image: NDArray[np.uint8], suffix: str, quality: int = 95, sharp_colour: bool = False) -> NDArray[np.uint8]:
    """Encode (H, W) grey or (H, W, 3) RGB as ``.jpg`` (at ``quality`` 0 to 100), ``.png`` or ``.tif``.

    ``sharp_colour`` keeps a JPEG file's colour at full resolution, which thin coloured lines need.

    Returns:
        (bytes,) uint8.

    Raises:
        MedcliError: it has more rows or columns than can be written, or none.
    """
    if not 0 < min(image.shape[:2]) <= max(image.shape[:2]) <= MAX_SIDE:
        size = f"{image.shape[1]} x {image.shape[0]} pixels"
        raise MedcliError(f"cannot write an image of {size}: expected 1 to {MAX_SIDE} along a side")
    if image.ndim == 3:
        image = np.ascontiguousarray(image[:, :, ::-1])
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix in (".jpg", ".jpeg") else []
    if parameters and sharp_colour:
        parameters += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    try:
        written, content = cv2.imencode(suffix, image, parameters)
    except cv2.error as error:
        raise MedcliError(f"cannot write an image as {suffix or 'a file without an ending'}: {error.err}") from error
    if not written:
        raise MedcliError(f"cannot write an image of shape {image.shape} and type {image.dtype} as {suffix}")
    return content


def write_image(path: Path | str, image: NDArray[np.uint8], quality: int = 95) -> None:
    """Write (H, W) grey or (H, W, 3) RGB in the format of the path's suffix, whole or not at all.

    It does not wait for the disk: a folder of 200,000 images would wait minutes, and an image that a power cut took is
    made again by running the command again. See ``durable`` of :func:`medcli.core.files.replacing`.

    Raises:
        MedcliError: as :func:`encode`.
    """
    path = Path(path)
    write_bytes(path, encode(image, path.suffix.lower(), quality), durable=False)


def _decode(content: bytes, colour: bool, name: Path | str) -> NDArray[np.uint8]:
    """Grey (H, W), or RGB (H, W, 3) with ``colour``."""
    if not content:
        raise DataError(f"{name} is empty")
    try:
        return _decode_checked(content, colour)
    except DamagedImage as error:
        raise DataError(f"{name} {error}") from error


def _decode_checked(content: bytes, colour: bool) -> NDArray[np.uint8]:
    """Decode a sound file of a known format.

    Raises:
        DamagedImage: it is damaged, or of no format whose damage would be found.
    """
    if header := jpeg_header(content):
        image = decode_jpeg(content, header, colour)
        # OpenCV rotates as Exif asks, and knows what to do with inks.
        return image if header.channels in (1, 3) and not header.has_exif else _by_opencv(content, colour)
    if png_size(content):
        png = read_png(content)
        grey = None if colour else png.plain_grey()
        return _by_opencv(png.as_file(), colour) if grey is None else grey
    if is_tiff(content):
        check_page(content, next(tiff_pages(content)))
    elif content[:2] == b"BM":
        check_bmp(content)
    else:
        raise DamagedImage(
            f"is not an image or is damaged: {quantity(len(content), 'byte')}, and no PNG, JPEG, TIFF or BMP file"
        )
    return _by_opencv(content, colour)


def _by_opencv(content: bytes, colour: bool) -> NDArray[np.uint8]:
    flags = cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE
    try:
        image: Any = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise DamagedImage(f"cannot be decoded: {error.err}") from error
    if image is None:
        raise DamagedImage(f"is damaged, or of a kind that cannot be read: {quantity(len(content), 'byte')}")
    return np.ascontiguousarray(image[:, :, ::-1]) if colour else image
