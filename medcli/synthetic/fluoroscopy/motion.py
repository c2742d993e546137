"""Knee motion in front of the two planes: smooth trials of gait, as poses of both components in the world frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medcli.veriserum.dataset.folder_index import POSE_COLUMNS
from medcli.veriserum.dataset.pose_tables import pose_numbers

CROSSING_MM = (0.0, 0.0, 381.0)
"""Where the axes of the two planes cross (published inter-plane geometry); the knee moves about this point."""
_FRAME_S = 1 / 25
_STRIDE_S = 1.1
_ABOVE_TRAY_MM = 21.0
"""Height of the femoral component's origin over the tray's underside: tray, plastic insert and femoral metal."""


@dataclass(frozen=True)
class KneePose:
    """Both components in the world: (4, 4) matrices from their own coordinates, millimetres."""

    femur: NDArray[np.float64]
    tibia: NDArray[np.float64]

    def of(self, kind: str) -> NDArray[np.float64]:
        """The pose of the ``femur`` or the ``tibia``."""
        return {"femur": self.femur, "tibia": self.tibia}[kind]


def knee_flexion_deg(phase: NDArray[np.floating]) -> NDArray[np.float64]:
    """Flexion over a stride (phase 0 to 1 from heel strike): a small wave in stance, a large one in swing."""
    away = [np.abs((phase - peak + 0.5) % 1 - 0.5) for peak in (0.15, 0.72)]
    return np.asarray(6 + 13 * np.exp(-((away[0] / 0.09) ** 2)) + 54 * np.exp(-((away[1] / 0.13) ** 2)))


def draw_trial(frames: int, generator: np.random.Generator) -> list[KneePose]:
    """One trial: consecutive frames at 25 per second of a walking knee in a roughly lateral view on plane bs."""
    phase = generator.uniform(0, 1) + np.arange(frames) * _FRAME_S / _STRIDE_S
    flexion = knee_flexion_deg(phase % 1)
    heading = generator.choice([-1, 1]) * generator.uniform(65, 115)
    place = np.array(CROSSING_MM) + generator.uniform([-22, -18, -30], [22, 18, 30])
    sway = generator.uniform(0.3, 1, 3) * [14, 9, 8]
    shifts = generator.uniform(0, 2 * np.pi, 3)
    tilt, lean, turn = generator.normal(0, [6, 3, 4])
    poses = []
    for wave, bend in zip(2 * np.pi * phase, flexion, strict=True):
        tibia = np.eye(4)
        swing = 0.45 * bend - 12 + tilt + 4 * np.sin(wave)
        angles = [heading + turn * np.sin(wave), swing, lean + 1.5 * np.sin(wave + 1)]
        tibia[:3, :3] = Rotation.from_euler("YXZ", angles, degrees=True).as_matrix()
        tibia[:3, 3] = place + sway * np.sin(wave + shifts)
        poses.append(KneePose(tibia @ _femur_on_tibia(bend), tibia))
    return poses


def _femur_on_tibia(flexion_deg: float) -> NDArray[np.float64]:
    """The femoral component in the tibial component's coordinates: flexed about x, rolled back, rotated externally."""
    relative = np.eye(4)
    angles = [-0.08 * flexion_deg, -flexion_deg, 1.0]
    relative[:3, :3] = Rotation.from_euler("YXZ", angles, degrees=True).as_matrix()
    relative[:3, 3] = [0, _ABOVE_TRAY_MM, -0.06 * flexion_deg]
    return relative


def pose_cells(matrix: NDArray[np.float64]) -> dict[str, float]:
    """The columns tx ty tz (mm) and rz rx ry (degrees) of a pose, with as many digits as the published tables have."""
    return {name: round(value, 5) for name, value in zip(POSE_COLUMNS, pose_numbers(matrix).tolist(), strict=True)}
