"""Read the frames to predict on, one after the other: still images, TIFF pages, movies, DICOM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core import image_io
from medcli.core.errors import DataError
from medcli.ultrabones.segmentation.prediction_inputs import InputSource

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class InputFrame:
    """One frame to predict on: how to read it, (H, W) uint8, where its mask goes, and what to call it."""

    read: Callable[[], Grey]
    mask: Path
    name: str


@dataclass
class FrameReader:
    """Goes through the frames of sources, one after the other; a file that cannot be opened is noted, not fatal.

    Still images are only read when the frame is; movies are decoded while going through them.

    Attributes:
        skip_existing: leave out frames whose mask is already there.
        failures: what went wrong, one line each.
        skipped: number of frames left out.
    """

    sources: Sequence[InputSource]
    skip_existing: bool = False
    failures: list[str] = field(default_factory=list)
    skipped: int = 0

    def __iter__(self) -> Iterator[InputFrame]:
        for source in self.sources:
            try:
                yield from self._frames(source)
            except DataError as error:
                self.failures.append(error.message)

    def _frames(self, source: InputSource) -> Iterator[InputFrame]:
        if source.kind == "still" and source.path.suffix.lower() not in (".tif", ".tiff"):
            mask = source.mask_of(None)
            if not self._has(mask):
                yield InputFrame(partial(image_io.read_grey, source.path), mask, source.path.name)
            return
        pages = _PAGES[source.kind](source.path)
        for number, (read, alone) in enumerate(pages):
            mask = source.mask_of(None if alone else number)
            if not self._has(mask):
                name = source.path.name if alone else f"{source.path.name} {number}"
                yield InputFrame(partial(_same, read()), mask, name)

    def _has(self, mask: Path) -> bool:
        if not self.skip_existing or not mask.is_file():
            return False
        self.skipped += 1
        return True


Page = tuple[Callable[[], Grey], bool]
"""How to read one frame of a file, and whether it is the only one."""


def _movie_pages(path: Path) -> Iterator[Page]:
    movie = cv2.VideoCapture(str(path))
    try:
        if not movie.isOpened():
            raise DataError(f"{path} is not a movie that can be decoded, or is damaged")
        number = 0
        while movie.grab():
            yield partial(_retrieve, movie, path), False
            number += 1
        expected = int(movie.get(cv2.CAP_PROP_FRAME_COUNT))
        if number == 0 or number < 0.9 * expected:  # the count in a header is only an estimate
            raise DataError(f"{path} ends after {number} of {expected} frames: damaged or cut off")
    finally:
        movie.release()


def _retrieve(movie: Any, path: Path) -> Grey:
    found, image = movie.retrieve()
    if not found:
        raise DataError(f"{path} has a frame that cannot be decoded")
    return _as_grey(image, reverse=True)


def _tiff_pages(path: Path) -> Iterator[Page]:
    content = np.frombuffer(image_io.read_content(path), np.uint8)
    read, pages = cv2.imdecodemulti(content, cv2.IMREAD_GRAYSCALE) if content.size else (False, ())
    if not read or not pages:
        raise DataError(f"{path} is not an image or is damaged: {content.size} bytes")
    for page in pages:
        yield partial(_same, np.asarray(page, np.uint8)), len(pages) == 1


def _dicom_pages(path: Path) -> Iterator[Page]:
    import pydicom

    try:
        content = pydicom.dcmread(path)
        pixels = np.asarray(content.pixel_array)
    except Exception as error:  # pydicom raises what its codecs raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, pydicom.errors.InvalidDicomError):
            raise DataError(f"{path} is no image, movie or DICOM file, or it is damaged") from error
        raise DataError(f"{path} cannot be read as DICOM: {reason}") from error
    colour = int(content.get("SamplesPerPixel", 1)) > 1
    frames = pixels if pixels.ndim == (4 if colour else 3) else pixels[None]
    inverted = content.get("PhotometricInterpretation") == "MONOCHROME1"
    for frame in frames:
        yield partial(_dicom_grey, frame, content, inverted), len(frames) == 1


def _same(grey: Grey) -> Grey:
    return grey


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


_PAGES: dict[str, Callable[[Path], Iterator[Page]]] = {
    "still": _tiff_pages,
    "movie": _movie_pages,
    "dicom": _dicom_pages,
}
