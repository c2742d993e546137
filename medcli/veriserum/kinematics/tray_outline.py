"""The outline of a tray seen from above, for the paths of the low points."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.mesh import Mesh
from medcli.veriserum.kinematics.axes_guess import KnownAxes
from medcli.veriserum.kinematics.implant_axes import ImplantAxes
from medcli.veriserum.kinematics.joint_coordinates import SIDES

_PIXEL_MM = 0.1
_BITS = 4
_STRAIGHT_MM = 0.05


def tray_outline(motion: pd.DataFrame, known: KnownAxes) -> NDArray[np.float64] | None:
    """(N, 2) lateral and anterior in mm of a trial's tray, see :func:`tray_outline_of`; None without a mesh."""
    anatomies = motion["tibia_anatomy"].dropna()
    if anatomies.empty or int(anatomies.iloc[0]) not in known.meshes:
        return None
    anatomy = int(anatomies.iloc[0])
    return tray_outline_of(known.axes[anatomy], known.meshes[anatomy], str(motion["side"].iloc[0]))


def tray_outline_of(axes: ImplantAxes, mesh: Mesh, side: str) -> NDArray[np.float64]:
    """(N, 2) lateral and anterior in mm: the outline of a tray of a knee of this side, seen from above.

    It is that of all triangles laid on the plane of the tray, so that a notch shows; on a grid of 0.1 mm.
    """
    matrix = axes.matrix()
    flat = (mesh.vertices - matrix[:3, 3]) @ matrix[:3, :2] * [SIDES[side], 1.0]
    low = flat.min(axis=0) - 2 * _PIXEL_MM
    columns, rows = (np.ceil((flat.max(axis=0) - low) / _PIXEL_MM).astype(int) + 3).tolist()
    seen = np.zeros((rows, columns), np.uint8)
    for triangle in np.round((flat - low) / _PIXEL_MM * 2**_BITS).astype(np.int32)[mesh.faces]:
        cv2.fillConvexPoly(seen, triangle, 255, cv2.LINE_8, _BITS)
    contours, _ = cv2.findContours(seen, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = cv2.approxPolyDP(max(contours, key=cv2.contourArea), _STRAIGHT_MM / _PIXEL_MM, True)
    return np.asarray(largest[:, 0] * _PIXEL_MM + low, np.float64)
