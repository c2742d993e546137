"""Image pairs as a network sees them: calibrated, both planes stacked, small.

Pairs come from calibrated images, or from the originals: these are calibrated on the fly with the maps of
``undistortion_map``, by the published procedure at 512 x 512 pixels, and then reduced like calibrated files.
So a network trained on the one can be applied to the other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.files import usable_cores
from medcli.core.image_io import read_grey, use_single_threaded_codecs
from medcli.veriserum.calibration.distortion_model import Distortion
from medcli.veriserum.calibration.undistort import to_native_size
from medcli.veriserum.calibration.undistortion_map import Map, load_or_build
from medcli.veriserum.dataset.folder_index import check_single

CALIBRATED, ORIGINALS = "calibrated", "originals"
CALIBRATION_SIZE = 512
_NAME = re.compile(r"^(calibrated_)?(bs|fs)_(\d{6,})\.(jpe?g|png|tiff?)$", re.IGNORECASE)

STACK = ("bs", "fs")
"""Order of the planes in a stack, as published."""

Planes = NDArray[np.uint8]
"""(2, S, S): planes bs and fs of a calibrated pair."""

ImageFiles = dict[int, dict[str, str]]
"""Id -> plane -> path."""

Doubles = dict[tuple[int, str], list[str]]
"""(Id, plane) -> further files of that image."""


@dataclass(frozen=True)
class PairFiles:
    """Files of one pair.

    Attributes:
        id: the pose id.
        bs, fs: paths.
        calibration: id of the distortion calibration of originals; None for calibrated images.
        doubles: further files of the same pair, each after the one that is used.
    """

    id: int
    bs: str
    fs: str
    calibration: int | None = None
    doubles: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, number: int, planes: Mapping[str, str], doubles: Doubles, calibration: int | None = None) -> PairFiles:
        """The pair ``number`` of images that were found."""
        others = tuple((planes[plane], other) for plane in STACK for other in doubles.get((number, plane), ()))
        return cls(number, planes["bs"], planes["fs"], calibration, others)

    def ambiguity(self) -> str:
        """What is said of another image under the name of one of these; empty where there is none."""
        try:
            for path, other in self.doubles:
                check_single(path, [other])
        except DataError as error:
            return error.message
        return ""


def find_calibrated(folder: Path) -> tuple[ImageFiles, Doubles]:
    """Calibrated images in ``folder`` and below."""
    return _walk(folder, is_calibrated=True)


def find_originals(folder: Path) -> tuple[ImageFiles, Doubles]:
    """Images as recorded in ``folder`` and below."""
    return _walk(folder, is_calibrated=False)


def parse_name(name: str) -> tuple[bool, str, int] | None:
    """Whether it is calibrated, plane and id of ``calibrated_bs_000001.jpg``; None for another file."""
    match = _NAME.match(name)
    return (bool(match[1]), match[2].lower(), int(match[3])) if match else None


@dataclass
class PairReader:
    """Reads pairs; may be used from several threads at once.

    Attributes:
        size: pixels along each side of the result.
        distortions: table of distortion calibrations, for originals.
    """

    size: int
    distortions: pd.DataFrame | None = None
    _maps: dict[tuple[int, str], Map] = field(default_factory=dict)
    _models: dict[tuple[int, str], Distortion] = field(default_factory=dict)
    _lock: Any = field(default_factory=Lock)

    def read(self, files: PairFiles) -> Planes:
        """Both planes, (2, size, size) uint8.

        Raises:
            DataError: a file cannot be read, another one differs from it, or the calibration is missing.
        """
        if reason := files.ambiguity():
            raise DataError(reason)
        images = {plane: read_grey(path) for plane, path in (("bs", files.bs), ("fs", files.fs))}
        if files.calibration is not None:
            images = self._calibrate(images, files.calibration)
        return np.stack([shrink_image(images[plane], self.size) for plane in STACK])

    def fingerprint(self, calibration: int | None, plane: str) -> int:
        """A number that changes with the calibration's numbers; 0 for calibrated images."""
        return 0 if calibration is None else int(self._model(calibration, plane).fingerprint[:15], 16)

    def _calibrate(self, images: Mapping[str, NDArray[np.uint8]], calibration: int) -> dict[str, NDArray[np.uint8]]:
        native = {plane: to_native_size(image) for plane, image in images.items()}
        peaks = {plane: float(image.max()) for plane, image in native.items()}
        scale = all(peak > 0 for peak in peaks.values())
        return {
            plane: self._map(calibration, plane).apply(image, peaks[plane] if scale else 0.0)
            for plane, image in native.items()
        }

    def _map(self, calibration: int, plane: str) -> Map:
        key = (calibration, plane)
        if key not in self._maps:
            model = self._model(calibration, plane)
            with self._lock:
                if key not in self._maps:
                    self._maps[key] = load_or_build(model, CALIBRATION_SIZE, "reference")
        return self._maps[key]

    def _model(self, calibration: int, plane: str) -> Distortion:
        key = (calibration, plane)
        if key not in self._models:
            self._models[key] = Distortion.from_table(self.distortions, calibration, plane)
        return self._models[key]


def shrink_image(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(H, W) uint8 to (size, size): the mean over each pixel's footprint."""
    if image.shape == (size, size):
        return image
    resampling = cv2.INTER_AREA if min(image.shape) >= size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=resampling), np.uint8)


def read_together(
    reader: PairReader, files: Sequence[PairFiles], workers: int | None = None
) -> tuple[list[int], Planes, list[str]]:
    """Read several pairs on all cores.

    Returns:
        Positions in ``files`` that could be read, their planes (n, 2, S, S), and a line for each of the others.
    """
    use_single_threaded_codecs()

    def read(item: PairFiles) -> Planes | DataError:
        try:
            return reader.read(item)
        except DataError as error:
            return error

    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        results = list(pool.map(read, files))
    good = [i for i, result in enumerate(results) if not isinstance(result, DataError)]
    planes = [result for result in results if not isinstance(result, DataError)]
    failures = [
        f"pair {item.id}: {result.message}"
        for item, result in zip(files, results, strict=True)
        if isinstance(result, DataError)
    ]
    empty = np.zeros((0, 2, reader.size, reader.size), np.uint8)
    return good, np.stack(planes) if planes else empty, failures


class LazyPairs:
    """Pairs decoded each time they are asked for, read like an array (N, 2, S, S) of uint8."""

    def __init__(self, reader: PairReader, files: Sequence[PairFiles]) -> None:
        self._reader, self._files = reader, list(files)
        self.shape = (len(self._files), 2, reader.size, reader.size)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, positions: NDArray[np.int64]) -> Planes:
        return np.stack([self._reader.read(self._files[i]) for i in positions.tolist()])


def _walk(root: Path, is_calibrated: bool) -> tuple[ImageFiles, Doubles]:
    found: ImageFiles = {}
    doubles: Doubles = {}
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            parsed = parse_name(name)
            if parsed and parsed[0] == is_calibrated:
                _, plane, number = parsed
                path = os.path.join(folder, name)  # noqa: PTH118 - 222,000 Path objects cost a second and 100 MB
                if found.setdefault(number, {}).setdefault(plane, path) is not path:
                    doubles.setdefault((number, plane), []).append(path)
    return found, doubles
