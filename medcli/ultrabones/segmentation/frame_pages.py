"""Files that may hold several frames: TIFF, movies, DICOM. A frame that is damaged keeps no other from being read.

A size is checked before anything is decoded (:mod:`medcli.core.image_formats.damage`). Movies of Motion JPEG are
checked frame by frame; the decoders of all other kinds of movies paint over damage and do not say so.
"""

from __future__ import annotations

import math
import os
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core import image_io
from medcli.core.errors import DataError, printable, quantity
from medcli.core.files import check_readable
from medcli.core.image_formats.damage import MAX_PIXELS_VARIABLE, DamagedImage, check_size, max_pixels
from medcli.core.image_formats.jpeg import decode_jpeg, jpeg_header

# A broken movie is reported once, by the error that names it, and not by FFmpeg as well.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
_HAS_FFMPEG = cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG)

Grey = NDArray[np.uint8]
Page = tuple[Callable[[], Grey], bool]
"""How to read one frame of a file, and whether it is the only one; reading raises DataError where it is damaged."""

_MOTION_JPEG = frozenset({b"MJPG", b"mjpg", b"jpeg", b"JPEG", b"AVRn", b"dmb1"})
_DEFLATED, _JPEG_SYNTAXES = "1.2.840.10008.1.2.1.99", frozenset({"1.2.840.10008.1.2.4.50"})
_RESCALING = {"RescaleSlope": (1e-9, 1e9), "RescaleIntercept": (-1e9, 1e9)}
"""What scanners write lies well within; PET counts have the widest range."""
_BYTES_OF_A_PIXEL = 8
"""The deepest colour that a DICOM file of one frame can have: what a deflated one may unpack to."""


def still_pages(path: Path) -> Iterator[Page]:
    pages = image_io.read_pages(path)
    for read in pages:
        yield read, len(pages) == 1


def movie_pages(path: Path) -> Iterator[Page]:
    check_readable(path)
    movie = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG if _HAS_FFMPEG else cv2.CAP_ANY)
    try:
        if not movie.isOpened():
            raise DataError(f"{path} is not a movie that can be decoded, or is damaged")
        _check_size(path, movie.get(cv2.CAP_PROP_FRAME_HEIGHT), movie.get(cv2.CAP_PROP_FRAME_WIDTH))
        damage = _damage_of_frames(path, movie)
        number = 0
        while movie.grab():
            yield partial(_retrieve, movie, f"{path}, frame {number},", next(damage, None)), False
            number += 1
        expected = int(movie.get(cv2.CAP_PROP_FRAME_COUNT))
        if number == 0 or number < 0.9 * expected:  # the count in a header is only an estimate
            raise DataError(f"{path} ends after {number} of {quantity(expected, 'frame')}: damaged or truncated")
    finally:
        movie.release()


def _damage_of_frames(path: Path, movie: Any) -> Iterator[str | None]:
    """What is wrong with each frame of Motion JPEG, as :class:`DamagedImage` says it; nothing for other movies."""
    if int(movie.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True) not in _MOTION_JPEG:
        return
    packed = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    try:
        while packed.grab():
            content = packed.retrieve()[1].tobytes()
            if content:  # an empty one stands for the frame before
                yield _damage_of_frame(content)
    finally:
        packed.release()


def _damage_of_frame(content: bytes) -> str | None:
    header = jpeg_header(content)
    if header is not None and not header.complete:  # some programs leave out the end marker
        content += b"\xff\xd9"
        header = jpeg_header(content)
    if header is None or b"\xff\xc4" not in content[: header.scan]:
        return None  # of a kind that only the movie's decoder knows, with tables elsewhere
    try:
        decode_jpeg(content, header, colour=False)
    except DamagedImage as error:
        return str(error)
    return None


def _retrieve(movie: Any, name: str, damage: str | None) -> Grey:
    if damage:
        raise DataError(f"{name} {damage}")
    found, image = movie.retrieve()
    if not found:
        raise DataError(f"{name} cannot be decoded")
    return _as_grey(image, reverse=True)


def dicom_pages(path: Path) -> Iterator[Page]:
    from pydicom.errors import InvalidDicomError

    check_readable(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's remarks on values that are not used here
            content = _read_dicom(path)
            frames = _check_dicom(path, content)
    except DataError:
        raise
    except InvalidDicomError as error:
        raise DataError(f"{path} is not an image, movie or DICOM file, or it is damaged") from error
    except Exception as error:  # pydicom raises what its parsers raise
        raise _unreadable(str(path), error) from error
    for number in range(frames):
        name = str(path) if frames == 1 else f"{path}, frame {number},"
        yield partial(_dicom_frame, content, number, name), frames == 1


def _read_dicom(path: Path) -> Any:
    import pydicom
    from pydicom.filereader import read_file_meta_info

    header = read_file_meta_info(path)
    if header.get("TransferSyntaxUID") == _DEFLATED:
        _check_deflated(path, 128 + 4 + 12 + int(header.FileMetaInformationGroupLength))
    return pydicom.dcmread(path)


def _check_deflated(path: Path, start: int) -> None:
    """pydicom unpacks all of a deflated file at once: look how much that is."""
    limit = max_pixels() * _BYTES_OF_A_PIXEL
    unpacking, rest, size = zlib.decompressobj(-zlib.MAX_WBITS), image_io.read_content(path)[start:], 0
    while rest and not unpacking.eof and size <= limit:
        size += len(unpacking.decompress(rest, 1 << 20))
        rest = unpacking.unconsumed_tail
    if size > limit:
        raise DataError(
            f"{path} unpacks to more than {quantity(limit, 'byte')}, 8 for each pixel of the limit "
            f"({MAX_PIXELS_VARIABLE})"
        )
    if not unpacking.eof:
        raise DataError(f"{path} is truncated: its deflated data have no end")


def _check_dicom(path: Path, content: Any) -> int:
    """Compare what the header says with the pixel data; the number of frames.

    Raises:
        DataError: they do not agree, or frames are too large.
    """
    from pydicom.encaps import generate_frames

    rows, columns = int(content.get("Rows") or 0), int(content.get("Columns") or 0)
    _check_size(path, rows, columns)
    _check_rescaling(path, content)
    frames = max(int(content.get("NumberOfFrames") or 1), 1)
    samples, allocated = int(content.get("SamplesPerPixel", 1)), int(content.get("BitsAllocated", 8))
    stored = int(content.get("BitsStored", 8))
    if not 0 < stored <= allocated <= 64:
        raise DataError(f"{path} is damaged: its header says {stored} of {allocated} bits")
    if "PixelData" not in content:
        if "FloatPixelData" in content or "DoubleFloatPixelData" in content:
            return frames
        raise DataError(f"{path} is DICOM without pixel data")
    syntax = content.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        pixels = rows * columns * samples * frames
        if str(content.get("PhotometricInterpretation")) == "YBR_FULL_422":
            pixels = pixels * 2 // 3
        expected, found = (pixels * allocated + 7) // 8, len(content.PixelData)
        if not expected <= found <= expected + 1:  # an odd number of bytes is filled up
            size = f"{quantity(frames, 'frame')} of {columns} x {rows}" if frames > 1 else f"{columns} x {rows} pixels"
            raise DataError(
                f"{path} is damaged: {quantity(found, 'byte')} of pixel data, expected {expected} for {size}"
            )
        return frames
    packed = list(generate_frames(content.PixelData, number_of_frames=frames if frames < len(content.PixelData) else 1))
    if len(packed) != frames:
        raise DataError(f"{path} is damaged: it has {quantity(len(packed), 'frame')}, expected {frames}")
    return frames


def _check_rescaling(path: Path, content: Any) -> None:
    """Masks depend on stored values only, but values that mean nothing show that the header is damaged.

    Raises:
        DataError: a slope or intercept, of the file or of a frame, is not plausible; names the tag and the value.
    """
    groups = [*content.get("SharedFunctionalGroupsSequence", ()), *content.get("PerFrameFunctionalGroupsSequence", ())]
    inner = [one for group in groups for one in group.get("PixelValueTransformationSequence", ())]
    for part in (content, *inner):
        for keyword, (least, most) in _RESCALING.items():
            element = part.get_item(keyword) and part[keyword]
            if element is None or element.value in (None, ""):
                continue
            try:
                value = float(element.value)
            except (TypeError, ValueError):  # several values, or no number
                value = math.nan
            if not least <= value <= most:
                raise DataError(
                    f"{path} is damaged: {keyword} {element.tag} is {printable(str(element.value))}, "
                    f"expected {least:g} to {most:g}"
                )


def _dicom_frame(content: Any, number: int, name: str) -> Grey:
    from pydicom.encaps import get_frame
    from pydicom.pixels import pixel_array

    frames = max(int(content.get("NumberOfFrames") or 1), 1)
    try:
        if str(content.file_meta.get("TransferSyntaxUID")) in _JPEG_SYNTAXES:
            _check_dicom_jpeg(get_frame(content.PixelData, number, number_of_frames=frames), content, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = np.asarray(pixel_array(content, index=number))
    except DataError:
        raise
    except Exception as error:  # pydicom raises what its codecs raise
        raise _unreadable(name, error) from error
    return _dicom_grey(pixels, content, content.get("PhotometricInterpretation") == "MONOCHROME1")


def _check_dicom_jpeg(packed: bytes, content: Any, name: str) -> None:
    header = jpeg_header(packed)
    if header is None or (header.rows, header.columns) != (content.Rows, content.Columns):
        raise DataError(f"{name} is damaged: its JPEG data are not {content.Columns} x {content.Rows} pixels")
    try:
        decode_jpeg(packed, header, colour=False)
    except DamagedImage as error:
        raise DataError(f"{name} {error}") from error


def _unreadable(name: str, error: Exception) -> DataError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DataError(f"{name} cannot be read as DICOM: {reason}")


def _check_size(path: Path, rows: float, columns: float) -> None:
    try:
        check_size(int(rows), int(columns))
    except DamagedImage as error:
        raise DataError(f"{path} {error}") from error


def _dicom_grey(frame: Any, content: Any, inverted: bool) -> Grey:
    """8 bits of a DICOM frame; deeper ones by their stored bits, as the modality writes ultrasound."""
    if content.get("PhotometricInterpretation") == "PALETTE COLOR":
        frame = _through_palette(frame, content)
    if frame.ndim == 3:  # pydicom has made RGB of every colour space
        return _as_grey(frame if frame.dtype == np.uint8 else frame >> 8)
    bits = int(content.get("BitsStored", 8))
    grey = frame.astype(np.int64) + (1 << (bits - 1) if content.get("PixelRepresentation") else 0)
    grey = np.clip(grey >> (bits - 8) if bits > 8 else grey, 0, 255).astype(np.uint8)
    return np.asarray(255 - grey if inverted else grey, np.uint8)


def _through_palette(frame: Any, content: Any) -> Any:
    """(H, W, 3) colours that the numbers of a frame stand for, 8 or 16 bits each."""
    from pydicom.pixels import apply_color_lut

    try:
        return apply_color_lut(frame, content)[..., :3]
    except Exception as error:  # pydicom raises what its codecs raise
        raise DataError(f"{content.filename} has a colour palette that cannot be read: {error}") from error


def _as_grey(image: Any, reverse: bool = False) -> Grey:
    """Grey of (H, W), (H, W, 1) or (H, W, 3) uint8 in RGB, or BGR with ``reverse``."""
    if image.ndim == 3 and image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY if reverse else cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(image.reshape(image.shape[:2]), np.uint8)


PAGES: dict[str, Callable[[Path], Iterator[Page]]] = {
    "still": still_pages,
    "movie": movie_pages,
    "dicom": dicom_pages,
}
"""By :attr:`medcli.ultrabones.segmentation.prediction_inputs.InputSource.kind`."""
