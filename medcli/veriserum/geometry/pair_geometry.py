"""Cameras and implants of pairs with poses, to compare poses in the world and on the detectors."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.rigid_transforms import invert_rigid
from medcli.veriserum.dataset.folder_index import SOURCES, whole_columns
from medcli.veriserum.dataset.implant_surfaces import Implant
from medcli.veriserum.dataset.pose_tables import ID_COLUMNS
from medcli.veriserum.dataset.remembered import Remembered
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.dataset.trial_splits import Ids
from medcli.veriserum.geometry.biplane import DualPlane, InterPlane, PoseFrame, SourceIntensifier


class PairGeometry:
    """Cameras and implants of pairs.

    Args:
        study: the dataset.
        poses: rows by pose id with ``anatomy_id`` and the ids of the calibrations.
        planes: the inter-plane geometry; the published one by default.
        frame: the frame of the poses.
    """

    def __init__(
        self,
        study: VeriserumStudy,
        poses: pd.DataFrame,
        planes: InterPlane | None = None,
        frame: PoseFrame = PoseFrame.WORLD,
    ) -> None:
        self.planes, self.frame = planes or InterPlane(), frame
        self._study = study
        self._ids = whole_columns(poses, ID_COLUMNS[1:])
        self._cameras = Remembered(self._read_cameras)

    def cameras(self, pose_id: int) -> DualPlane:
        """Both cameras of a pair.

        Raises:
            DataError: its source-intensifier calibration is unknown.
        """
        return self._cameras(self.number(pose_id, "source_int_calibration_id"))

    def implant(self, pose_id: int) -> Implant:
        """The implant of a pair.

        Raises:
            DataError: it is unknown, or its surface cannot be read.
        """
        return self._study.surfaces.implant(self.number(pose_id, "anatomy_id"))

    def to_world(self, ids: Ids, poses: NDArray[np.float64]) -> NDArray[np.float64]:
        """Poses (N, 4, 4) from their frame to the world.

        Raises:
            DataError: the frame needs a calibration that is unknown.
        """
        return np.stack([self._frame(number) @ pose for number, pose in zip(ids.tolist(), poses, strict=True)])

    def from_world(self, pose_id: int, pose: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of :meth:`to_world` for one pose (4, 4)."""
        return invert_rigid(self._frame(pose_id)) @ pose

    def _read_cameras(self, number: int) -> DualPlane:
        table = self._study.table(SOURCES)
        if number not in table.index:
            raise DataError(f"source-intensifier calibration {number} is not in {self._study.table_file(SOURCES).name}")
        row = {str(name): value for name, value in table.loc[number].items()}
        return DualPlane.from_calibration(SourceIntensifier.from_row(row), self.planes)

    def _frame(self, pose_id: int) -> NDArray[np.float64]:
        if self.frame is PoseFrame.WORLD:
            return np.eye(4)
        try:
            return self.cameras(pose_id).frame_to_world(self.frame)
        except DataError as error:
            raise DataError(f"pair {pose_id} in frame {self.frame.value}: {error.message}", error.hint) from error

    def number(self, pose_id: int, column: str) -> int:
        """The value in a column of ids.

        Raises:
            DataError: it is missing or not a whole number.
        """
        number = self._ids[column].get(pose_id)
        if number is None or pd.isna(number):
            raise DataError(f"{column} is unknown", "add the column, or name the pose table with --poses")
        return int(number)
