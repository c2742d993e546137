"""The distortion calibrations of a study, by id and plane."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from medcli.core.errors import DataError
from medcli.core.plausibility import DETECTOR_PIXEL_MM
from medcli.veriserum.calibration.distortion_model import DistortionModel
from medcli.veriserum.dataset.folder_index import DISTORTIONS
from medcli.veriserum.dataset.remembered import Remembered
from medcli.veriserum.dataset.study import VeriserumStudy

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

    def get(self, number: int, plane: str) -> DistortionModel:
        """The calibration ``number`` of plane ``bs`` or ``fs``.

        Raises:
            DataError: there is no table, the id is not in it, or its text is not a plausible, invertible and upright
                calibration.
        """
        return self._read((number, plane))

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
