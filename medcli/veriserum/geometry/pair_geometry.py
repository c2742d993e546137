"""Cameras and implants of pairs with poses: what it takes to compare poses in the world and on the detectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.implant_surfaces import Implant, Surfaces
from medcli.veriserum.dataset.trial_splits import Ids
from medcli.veriserum.geometry.biplane import DualPlane, InterPlane, PoseFrame


class PairGeometry:
    """Cameras and implants of pairs; either may be missing, which is told once.

    Attributes:
        planes: where the planes stand.
        frame: the frame that poses are given in.
        missing: what was asked for and is not there, a line for each reason.
    """

    def __init__(self, root: Path, poses: pd.DataFrame, planes: InterPlane, frame: PoseFrame) -> None:
        self.planes, self.frame = planes, frame
        self.missing: list[str] = []
        self._calibration = poses.get("source_int_calibration_id", pd.Series(dtype=float))
        self._anatomy = poses["anatomy_id"].astype(int)
        self._surfaces = Surfaces.find(root)
        self._cameras = self._read_cameras(root)

    def _read_cameras(self, root: Path) -> dict[int, DualPlane]:
        """The cameras of every source-intensifier calibration."""
        try:
            table, _ = folder_index.find_and_read(folder_index.scan(root), folder_index.SOURCES, None)
            return {number: DualPlane.from_table(table, number, self.planes) for number in table.index.tolist()}
        except DataError as error:
            self._miss(error.message)
            return {}

    def cameras(self, pose_id: int) -> DualPlane | None:
        """Both cameras of a pair; None if its calibration is not known."""
        number = pd.to_numeric(self._calibration.get(pose_id, np.nan), errors="coerce")
        if number == number and int(number) in self._cameras:
            return self._cameras[int(number)]
        if self._cameras:
            self._miss("some pairs have no source-intensifier calibration")
        return None

    def implant(self, pose_id: int) -> Implant | None:
        """The implant of a pair; None if it has no surface that can be read."""
        try:
            return self._surfaces.implant(int(self._anatomy[pose_id]))
        except DataError as error:
            self._miss(error.message)
            return None

    def to_world(self, ids: Ids, poses: NDArray[np.float64]) -> NDArray[np.float64]:
        """Poses (N, 4, 4) from the frame that they are given in to the world.

        Raises:
            DataError: the frame needs a calibration that is not known.
        """
        if self.frame is PoseFrame.WORLD:
            return poses
        matrices = []
        for number, pose in zip(ids.tolist(), poses, strict=True):
            both = self.cameras(number)
            if both is None:
                raise DataError(f"frame {self.frame.value} needs the source-intensifier calibration of pair {number}")
            matrices.append(both.frame_to_world(self.frame) @ pose)
        return np.stack(matrices)

    def _miss(self, reason: str) -> None:
        if reason not in self.missing:
            self.missing.append(reason)
