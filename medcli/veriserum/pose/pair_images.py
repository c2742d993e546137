"""Image pairs as network input: calibrated, reduced, both planes stacked.

Pairs are read from calibrated images or from the originals, which are calibrated on the fly by the published procedure
at 512 x 512 pixels and then reduced like calibrated files. A network trained on either can be applied to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.files import usable_cores
from medcli.core.image_io import read_grey, use_single_threaded_codecs
from medcli.core.threads import map_in_threads
from medcli.veriserum.calibration.distortion_table import DistortionTable
from medcli.veriserum.calibration.undistorted_pairs import Undistorter
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.image_doubles import Doubles, check_single

_CALIBRATED_SIZE = 512

Planes = NDArray[np.uint8]
"""(2, S, S): planes bs and fs of a calibrated pair."""


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
        others = tuple((planes[plane], other) for plane in PLANES for other in doubles.get(planes[plane], ()))
        return cls(number, planes["bs"], planes["fs"], calibration, others)

    def ambiguity(self) -> str:
        """What is wrong where another image has the name of one of these; empty where there is none."""
        try:
            for path, other in self.doubles:
                check_single(path, [other])
        except DataError as error:
            return error.message
        return ""


class PairReader:
    """Reads pairs; thread-safe.

    Args:
        size: pixels along each side of the result.
        distortions: the calibrations of originals.
    """

    def __init__(self, size: int, distortions: DistortionTable) -> None:
        self.size, self._distortions = size, distortions
        self._undistorter = Undistorter(_CALIBRATED_SIZE)

    def read(self, files: PairFiles) -> Planes:
        """Both planes, (2, size, size) uint8.

        Raises:
            DataError: a file cannot be read, another one differs from it, or the calibration is missing or does not
                fit it.
        """
        if reason := files.ambiguity():
            raise DataError(reason)
        images = {plane: read_grey(path) for plane, path in (("bs", files.bs), ("fs", files.fs))}
        if (number := files.calibration) is not None:
            for plane, path in (("bs", files.bs), ("fs", files.fs)):
                self._distortions.check_size(images[plane], path)
            models = {plane: self._distortions.get(number, plane) for plane in PLANES}
            images = self._undistorter.pair(images, models)
        return np.stack([shrink_image(images[plane], self.size) for plane in PLANES])

    def fingerprint(self, calibration: int | None, plane: str) -> int:
        """Hash of the calibration; 0 for calibrated images, -1 if there is none."""
        if calibration is None:
            return 0
        try:
            return int(self._distortions.get(calibration, plane).fingerprint[:15], 16)
        except DataError:
            return -1


def shrink_image(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(H, W) uint8 to (size, size): the mean over each pixel's footprint."""
    if image.shape == (size, size):
        return image
    resampling = cv2.INTER_AREA if min(image.shape) >= size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=resampling), np.uint8)


def read_together(reader: PairReader, files: Sequence[PairFiles]) -> tuple[list[int], Planes, list[str]]:
    """Read several pairs on all cores.

    Returns:
        Positions in ``files`` that could be read, their planes (n, 2, S, S), and one line for each of the others.
    """
    use_single_threaded_codecs()

    def read(item: PairFiles) -> Planes | DataError:
        try:
            return reader.read(item)
        except DataError as error:
            return error

    good, planes, failures = [], [], []
    for i, result in enumerate(map_in_threads(read, files, usable_cores())):
        if isinstance(result, DataError):
            failures.append(f"pair {files[i].id}: {result.message}")
        else:
            good.append(i)
            planes.append(result)
    empty = np.zeros((0, 2, reader.size, reader.size), np.uint8)
    return good, np.stack(planes) if planes else empty, failures
