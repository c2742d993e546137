"""The distortion calibrations of a study, by id and plane."""

from __future__ import annotations

from medcli.core.errors import DataError
from medcli.veriserum.calibration.distortion_model import DistortionModel
from medcli.veriserum.dataset.folder_index import DISTORTIONS
from medcli.veriserum.dataset.remembered import Remembered
from medcli.veriserum.dataset.study import VeriserumStudy


class DistortionTable:
    """The distortion calibration table; each calibration is read and checked on first use, and kept."""

    def __init__(self, study: VeriserumStudy) -> None:
        self._study = study
        self._read = Remembered(self._parse)

    def get(self, number: int, plane: str) -> DistortionModel:
        """The calibration ``number`` of plane ``bs`` or ``fs``.

        Raises:
            DataError: there is no table, the id is not in it, or its text is not a plausible, invertible calibration.
        """
        return self._read((number, plane))

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
        return model
