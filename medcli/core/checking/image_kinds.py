"""What an image file is: decoded whole, with its size and the kind of its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.checking.check_lines import Checklist, count_of, some_of
from medcli.core.errors import DataError
from medcli.core.image_formats.jpeg import jpeg_header
from medcli.core.image_formats.png import png_size
from medcli.core.image_io import decode_grey, read_content

GREY = "8-bit grey"
_NOISE = 4  # grey levels
_PNG_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGB and alpha"}
_JPEG_COLOURS = {1: "grey", 3: "colour", 4: "inks"}


@dataclass(frozen=True)
class InspectedImage:
    """One image file.

    Attributes:
        path: the file.
        shape: rows and columns, None where it cannot be decoded.
        kind: :data:`GREY`, or what it is instead; empty where it is not known.
        is_binary: every pixel is 0 or 255.
        is_blank: it has one grey value, but for the noise of compression.
        problem: why it cannot be decoded, else empty.
    """

    path: str
    shape: tuple[int, int] | None
    kind: str = ""
    is_binary: bool = False
    is_blank: bool = False
    problem: str = ""

    @property
    def size(self) -> str:
        """``950 x 811``: columns and rows."""
        return f"{self.shape[1]} x {self.shape[0]}" if self.shape else ""


def inspect_image(path: str) -> tuple[InspectedImage, NDArray[np.uint8] | None]:
    """Decode an image file to (H, W); None for a damaged one, whose :attr:`InspectedImage.problem` says why."""
    try:
        content = read_content(path)
        pixels = decode_grey(content, path)
    except DataError as error:
        return InspectedImage(path, None, problem=error.message), None
    is_binary = bool(((pixels == 0) | (pixels == 255)).all())
    is_blank = int(pixels.max()) - int(pixels.min()) <= _NOISE
    return InspectedImage(path, (pixels.shape[0], pixels.shape[1]), _kind(content), is_binary, is_blank), pixels


def check_opened(checks: Checklist, images: Sequence[InspectedImage], advice: str) -> list[InspectedImage]:
    """Add the lines on images that cannot be opened and on those that show nothing; returns those that are open."""
    opened = [image for image in images if image.shape]
    broken = [image.problem for image in images if image.problem]
    checks.add("images open", f"{len(opened):,} of {len(images):,}", broken, advice=advice)
    blank = [f"{image.path} has one grey value" for image in opened if image.is_blank]
    checks.add(
        "image contents", f"{some_of(len(blank), len(opened))} blank", blank, advice="get them again, or leave out"
    )
    return opened


def check_depth(checks: Checklist, images: Sequence[InspectedImage], reading: str) -> None:
    """Add the line on the kinds of pixels; ``reading`` says how others than the published are read."""
    odd = [f"{image.path}: {image.kind}" for image in images if image.kind != GREY]
    kinds = count_of([image.kind for image in images]) or "none opened"
    checks.add("image depth", kinds, warn=odd, advice=f"published: {GREY}; {reading}")


def _kind(content: bytes) -> str:
    if png_size(content):
        return f"{content[24]}-bit {_PNG_COLOURS.get(content[25], 'colour')}"
    if header := jpeg_header(content):
        return f"8-bit {_JPEG_COLOURS.get(header.channels, 'colour')}"
    return ""
