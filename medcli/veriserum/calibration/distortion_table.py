"""The distortion calibrations of a study, by id and plane."""

from __future__ import annotations

import logging
import re
import threading
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.plausibility import DETECTOR_PIXEL_MM
from medcli.veriserum.calibration.distortion_model import DistortionModel
from medcli.veriserum.dataset.detector import NATIVE_HEIGHT, NATIVE_WIDTH
from medcli.veriserum.dataset.folder_index import DISTORTIONS
from medcli.veriserum.dataset.remembered import Remembered
from medcli.veriserum.dataset.study import VeriserumStudy

_LOG = logging.getLogger(__name__)
_SAME_SHAPE = 0.01
"""Largest relative deviation of width over height from that of a native image, for one that was reduced as a whole."""
_MIRRORED = re.compile(r"\bmirrored: ?((?:[bf]s\b ?)+)")


def mirrored_planes(method: Any) -> set[str]:
    """The planes whose images are mirrored, by the column ``method`` of a calibration."""
    found = _MIRRORED.search(str(method))
    return set(found[1].split()) if found else set()


class DistortionTable:
    """The distortion calibration table; each calibration is read and checked on first use, and kept."""

    def __init__(self, study: VeriserumStudy) -> None:
        self._study = study
        self._read = Remembered(self._parse)
        self._lock, self._has_warned = threading.Lock(), False

    def get(self, number: int, plane: str) -> DistortionModel:
        """The calibration ``number`` of plane ``bs`` or ``fs``.

        Raises:
            DataError: there is no table, the id is not in it, or its text is not a plausible, invertible and upright
                calibration.
        """
        return self._read((number, plane))

    def check_size(self, image: NDArray[np.uint8], path: str) -> None:
        """Refuse a part of an image, and warn of the first whole one of another size than the native one.

        As the published procedure does, whole images of any size are scaled to that of the calibrations.

        Args:
            image: (H, W), as recorded.
            path: its file.

        Raises:
            DataError: it has another shape than a native image, so that no calibration fits it.
        """
        height, width = image.shape
        if (height, width) == (NATIVE_HEIGHT, NATIVE_WIDTH):
            return
        if abs(width * NATIVE_HEIGHT / (height * NATIVE_WIDTH) - 1) > _SAME_SHAPE:
            native = f"{NATIVE_WIDTH} x {NATIVE_HEIGHT}"
            raise DataError(
                f"{path} is {width} x {height} pixels, no whole image of {native}: calibrations do not fit it"
            )
        with self._lock:
            is_first, self._has_warned = not self._has_warned, True
        if is_first:
            _LOG.warning(
                "%s is %d x %d pixels, expected %d x %d: such images are scaled to the size that calibrations are of",
                *(path, width, height, NATIVE_WIDTH, NATIVE_HEIGHT),
            )

    def pixel_size_problem(self, number: int, plane: str) -> str:
        """Why a pixel size that the table states beside a calibration cannot be right; empty where it can.

        The coefficients hold the scale, so this size is not used; an absurd one tells of a damaged table.
        """
        row = self._study.table(DISTORTIONS).loc[number]
        for name in (f"pixel_size_h_{plane}", f"pixel_size_v_{plane}"):
            if name in row and not pd.isna(row[name]):
                size = pd.to_numeric(row[name], errors="coerce")
                if not DETECTOR_PIXEL_MM.holds(size):
                    unit = f"{DETECTOR_PIXEL_MM.low} to {DETECTOR_PIXEL_MM.high} mm"
                    return f"calibration {number}: {name} is {row[name]}, expected {unit}"
        return ""

    def _parse(self, key: tuple[int, str]) -> DistortionModel:
        number, plane = key
        table, name = self._study.table(DISTORTIONS), f"calibration {number}, plane {plane}"
        if number not in table.index:
            known = ", ".join(map(str, table.index)) or "none"
            file = self._study.table_file(DISTORTIONS).name
            raise DataError(
                f"distortion calibration {number} is not in {file}; it has {known}", "check the tables below --root"
            )
        try:
            model = DistortionModel.parse(str(table.at[number, f"distortion_result_{plane}"]))
        except DataError as error:
            raise DataError(f"{name}: {error.message}", error.hint) from error
        model.check_plausible(f"{name},")
        model.check_orientation(f"{name},", plane in mirrored_planes(table.loc[number].get("method")))
        return model
