"""Maps from the corrected grid to the native image: built once per calibration, plane and size, then cached.

Two kinds, named after their resampling:

- :class:`ReferenceMap`: the published procedure. Each pixel of the 1600 x 1600 grid takes the nearest native pixel,
  then the grid is reduced bilinearly. Only the grid pixels that the reduction reads are mapped.
- :class:`AreaMap`: each output pixel takes the mean over its footprint in the native image; everything outside the
  image is black.

The kernels are imported where they are used: Numba takes half a second to load, and a run whose images all
exist does not need it.
"""

from __future__ import annotations

import logging
import math
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.files import cache_folder, replacing
from medcli.veriserum.calibration.distortion_model import DistortionModel
from medcli.veriserum.dataset.detector import GRID_SIZE, NATIVE_HEIGHT, NATIVE_WIDTH

_LOG = logging.getLogger(__name__)
_VERSION = 1  # part of the file names: raise it when the numbers in a map change


@dataclass(frozen=True)
class Reduction:
    """Bilinear reduction of one axis of the grid from 1600 to ``size`` pixels, in OpenCV's convention.

    Attributes:
        lines: (R,) the grid rows (or columns) that are read, ascending.
        first, second: (size,) indices into ``lines`` of the two neighbours of each output pixel.
        weight: (size,) float32 weight of the second neighbour.
        exact: the weights are short binary fractions, so that every product and sum of the reduction is exact in
            float64 and the order of computation does not matter. True for 512, 256, 1024, 800, 1600, ….
    """

    lines: NDArray[np.int64]
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    weight: NDArray[np.float32]
    exact: bool

    @classmethod
    def to_size(cls, size: int) -> Reduction:
        """The reduction to ``size`` pixels, 1 to 1600."""
        if not 1 <= size <= GRID_SIZE:
            raise ValueError(f"size must be 1 to {GRID_SIZE}, got {size}")
        position = ((np.arange(size) + 0.5) * (GRID_SIZE / size) - 0.5).astype(np.float32)
        first = np.floor(position).astype(np.int64)
        weight = position - first.astype(np.float32)
        weight[(first < 0) | (first >= GRID_SIZE - 1)] = 0.0
        first = first.clip(0, GRID_SIZE - 1)
        second = np.minimum(first + 1, GRID_SIZE - 1)
        parts = size // math.gcd(size, GRID_SIZE)
        exact = parts & (parts - 1) == 0
        lines = np.unique(np.concatenate([first, second])) if exact else np.arange(GRID_SIZE)
        index = [np.searchsorted(lines, side).astype(np.int32) for side in (first, second)]
        return cls(lines, index[0], index[1], weight, exact)


@dataclass(frozen=True)
class ReferenceMap:
    """The published correction of one plane to (size, size) pixels.

    Attributes:
        size: output pixels along each side.
        nearest: (R, R) int32, for each grid pixel that is read the native pixel y · 1664 + x.
    """

    size: int
    nearest: NDArray[np.int32]
    resampling: ClassVar[str] = "reference"

    @classmethod
    def build(cls, distortion: DistortionModel, size: int) -> ReferenceMap:
        """Find the nearest native pixel of each grid pixel that the reduction reads; takes 0.2 to 0.4 s and 50 MB."""
        from medcli.veriserum.calibration import undistortion_kernels

        lines = Reduction.to_size(size).lines.astype(np.float64)
        nearest = np.empty((len(lines), len(lines)), np.int32)
        undistortion_kernels.nearest_pixels(distortion.grid_positions(), lines, lines, nearest)
        return cls(size, nearest)

    @cached_property
    def reduction(self) -> Reduction:
        return Reduction.to_size(self.size)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"nearest": self.nearest}

    def is_sound(self) -> bool:
        """Whether arrays read from a file fit this map."""
        expected = (len(self.reduction.lines),) * 2
        pixels = NATIVE_WIDTH * NATIVE_HEIGHT
        in_range = self.nearest.size and self.nearest.min() >= 0 and self.nearest.max() < pixels
        return bool(self.nearest.shape == expected and self.nearest.dtype == np.int32 and in_range)

    def apply(self, image: NDArray[Any], peak: float) -> NDArray[np.uint8]:
        """Correct a native grey image.

        Args:
            image: (1600, 1664) uint8, or float32 in 0 to 1 if it was resized to that size.
            peak: intensity that becomes white, on the image's scale; 0: intensities unchanged.

        Returns:
            (size, size) uint8.
        """
        if image.shape != (NATIVE_HEIGHT, NATIVE_WIDTH):
            raise ValueError(f"image must be ({NATIVE_HEIGHT}, {NATIVE_WIDTH}), got {image.shape}")
        from medcli.veriserum.calibration import undistortion_kernels

        values = np.arange(256, dtype=np.float32) / np.float32(255)
        if image.dtype == np.uint8:
            values = values / values[int(peak)] if peak > 0 else values
        elif peak > 0:
            image = image / np.float32(peak)
        if not self.reduction.exact:
            return self._apply_step_by_step(image, values)
        reduction, out = self.reduction, np.empty((self.size, self.size), np.uint8)
        # Unsigned indices: Numba then skips the check for negative ones, which takes a third of the time.
        nearest = self.nearest.view(np.uint32)
        sides = (reduction.first.view(np.uint32), reduction.second.view(np.uint32), reduction.weight)
        undistortion_kernels.gather_reference(image.ravel(), values, nearest, *sides, out)
        return out

    def _apply_step_by_step(self, image: NDArray[Any], values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The published steps one after the other, for sizes where rounding depends on OpenCV's arithmetic."""
        grid = image.ravel()[self.nearest]
        intensity = values[grid] if grid.dtype == np.uint8 else grid
        reduced = cv2.resize(intensity.astype(np.float64), (self.size, self.size))
        return np.asarray((reduced * 255).astype(np.uint8))


@dataclass(frozen=True)
class AreaMap:
    """The anti-aliased correction of one plane to (size, size) pixels.

    Attributes:
        size: output pixels along each side.
        corners: (size + 1, size + 1, 2) float32, native x, y of the corners of the output pixels.
    """

    size: int
    corners: NDArray[np.float32]
    resampling: ClassVar[str] = "area"

    @classmethod
    def build(cls, distortion: DistortionModel, size: int) -> AreaMap:
        """Map the corner of every output pixel back into the native image."""
        lattice = np.arange(size + 1) * (GRID_SIZE / size) - 0.5
        return cls(size, distortion.native_positions(lattice, lattice))

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"corners": self.corners}

    def is_sound(self) -> bool:
        """Whether arrays read from a file fit this map."""
        return self.corners.shape == (self.size + 1, self.size + 1, 2) and self.corners.dtype == np.float32

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """(size, size): the field of view: pixels whose footprint is completely in the native image."""
        x, y = self.corners[..., 0], self.corners[..., 1]
        in_image = (x >= -0.5) & (x <= NATIVE_WIDTH - 0.5) & (y >= -0.5) & (y <= NATIVE_HEIGHT - 0.5)
        return in_image[:-1, :-1] & in_image[1:, :-1] & in_image[:-1, 1:] & in_image[1:, 1:]

    @cached_property
    def samples(self) -> int:
        """Samples along each side of a footprint: at least one per native pixel."""
        edges = np.concatenate([np.diff(self.corners, axis=axis).reshape(-1, 2) for axis in (0, 1)])
        return max(1, int(np.ceil(np.median(np.abs(edges).max(axis=1)))))

    def apply(self, image: NDArray[np.uint8], peak: float) -> NDArray[np.uint8]:
        """Correct a grey image (H, W) uint8 of any size; arguments and result as :meth:`ReferenceMap.apply`."""
        from medcli.veriserum.calibration import undistortion_kernels

        out = np.empty((self.size, self.size), np.uint8)
        undistortion_kernels.gather_area(
            image, self.corners, self.inside, self.samples, 255 / peak if peak > 0 else 1.0, out
        )
        return out


Map = ReferenceMap | AreaMap
_KINDS: dict[str, type[ReferenceMap] | type[AreaMap]] = {"reference": ReferenceMap, "area": AreaMap}
RESAMPLINGS = tuple(_KINDS)


def load_or_build(distortion: DistortionModel, size: int, resampling: str, folder: Path | None = None) -> Map:
    """The map from the cache folder, or a new one that is added to it.

    A damaged cache file (its checksum fails, its arrays do not fit) is rebuilt. A cache that cannot be
    written to costs time, not the result.

    Args:
        distortion: the calibration; its numbers are part of the file's name.
        size: output pixels along each side, 1 to 1600.
        resampling: "reference" or "area".
        folder: the cache folder; default: the user's.
    """
    kind = _KINDS[resampling]
    try:
        folder = folder or cache_folder("distortion-maps")
    except OSError as error:
        _LOG.warning("no cache folder, so distortion maps are rebuilt each time: %s", error)
        return kind.build(distortion, size)
    path = folder / f"{resampling}-{size}-v{_VERSION}-{distortion.fingerprint[:32]}.npz"
    cached = _load(path, kind, size)
    if cached is not None:
        return cached
    built = kind.build(distortion, size)
    try:
        with replacing(path) as part, part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **built.arrays)
    except OSError as error:
        _LOG.warning("cannot cache the distortion map %s, so it is rebuilt each time: %s", path, error)
    return built


def _load(path: Path, kind: type[ReferenceMap] | type[AreaMap], size: int) -> Map | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:  # a ZIP file: reading checks the CRC-32 of each array
            loaded = kind(size, *(arrays[name] for name in arrays.files))
        if loaded.is_sound():
            return loaded
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _LOG.debug("%s: %s", path, error)
    _LOG.info("the cached distortion map %s is damaged; building it again", path.name)
    return None
