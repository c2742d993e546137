"""Read the frames to predict on, one after the other: still images, TIFF pages, movies, DICOM."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core import image_io
from medcli.core.errors import DataError, quantity
from medcli.ultrabones.segmentation.frame_pages import PAGES
from medcli.ultrabones.segmentation.prediction_folders import remove_mask, remove_masks_of
from medcli.ultrabones.segmentation.prediction_inputs import InputSource

logger = logging.getLogger(__name__)

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class InputFrame:
    """One frame to predict on: how to read it, (H, W) uint8, where its mask goes, its name, and if the mask stays."""

    read: Callable[[], Grey]
    mask: Path
    name: str
    is_kept: bool = False


@dataclass
class FrameReader:
    """Goes through the frames of sources, one after the other; a file that cannot be opened is noted, not fatal.

    Still images are only read when the frame is; movies are decoded while going through them.

    Attributes:
        keeps: whether the mask of a file's frame is there and stays.
        overwrites: the mask of a frame that cannot be read is removed, since it is of another network or image.
        failures: what went wrong, one line each.
        skipped: number of frames whose mask stays.
    """

    sources: Sequence[InputSource]
    keeps: Callable[[InputSource, Path], bool] = lambda _source, _mask: False
    overwrites: bool = False
    failures: list[str] = field(default_factory=list)
    skipped: int = 0

    def __iter__(self) -> Iterator[InputFrame]:
        for source in self.sources:
            try:
                yield from self._frames(source)
            except DataError as error:
                self.failures.append(error.message)
                if self.overwrites:
                    remove_masks_of(source)

    def _frames(self, source: InputSource) -> Iterator[InputFrame]:
        if source.kind == "still" and source.path.suffix.lower() not in (".tif", ".tiff"):
            mask = source.mask_of(None)
            read_still = partial(image_io.read_grey, source.path)
            yield InputFrame(self._reading(read_still, mask), mask, source.path.name, self._keeps(source, mask))
            return
        for number, (read, alone) in enumerate(PAGES[source.kind](source.path)):
            mask = source.mask_of(None if alone else number)
            name = source.path.name if alone else f"{source.path.name} {number}"
            yield InputFrame(self._reading(_read_now(read), mask), mask, name, self._keeps(source, mask))

    def _reading(self, read: Callable[[], Grey], mask: Path) -> Callable[[], Grey]:
        def read_or_remove() -> Grey:
            try:
                return read()
            except DataError:
                remove_mask(mask)
                raise

        return read_or_remove if self.overwrites else read

    def _keeps(self, source: InputSource, mask: Path) -> bool:
        stays = self.keeps(source, mask)
        self.skipped += stays
        return stays


@dataclass
class DarkFrames:
    """Counts frames that use at most 12 of 16 bits, of which the upper 8 are read; black ones aside."""

    count: int = 0

    def look_at(self, grey: Grey) -> None:
        """Count a frame (H, W) if it is one."""
        self.count += 0 < int(grey.max()) < 16

    def warn(self) -> None:
        """Say so where there were any, once for all."""
        if self.count:
            logger.warning(
                "%s at most 12 of 16 bits, or 4 of 8: nearly black as read, so stretch such images to the full range",
                quantity(self.count, "frame uses", "frames use"),
            )


def _read_now(read: Callable[[], Grey]) -> Callable[[], Grey]:
    """What gives the frame that ``read`` gives now, or raises what it raises: a movie goes on to its next frame."""
    try:
        grey = read()
    except DataError as error:
        return partial(_refuse, error)
    return lambda: grey


def _refuse(error: DataError) -> Grey:
    raise error
