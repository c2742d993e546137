"""Standard errors of joint coordinates and low points from those of the poses, by the unscented transform.

The twelve numbers of both poses are taken as independent. The transform evaluates the coordinates at 24 places, one
standard error times the square root of 12 to either side along each number, and takes the spread of the results: exact
for linear functions, right to the second order for others (Julier and Uhlmann 2004, doi 10.1109/JPROC.2003.823141; with
these weights also called spherical cubature). There is nothing random in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcli.core.rigid_transforms import invert_rigid
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS
from medcli.veriserum.dataset.pose_tables import matrices_of
from medcli.veriserum.kinematics.joint_coordinates import joint_coordinates
from medcli.veriserum.kinematics.low_points import LowPoints, as_columns, rolled

Array = NDArray[np.float64]
ERROR_COLUMNS = tuple(f"se_{name}_{'mm' if name[0] == 't' else 'deg'}" for name in POSE_COLUMNS)
"""Columns of standard errors in a pose table, in the order of the pose's columns."""
BAND_HOLDS = "the noise of the fit of each pose, not errors of calibration, surface and axes, nor its bias"
"""What bands of standard errors hold, in words for figures and reports."""
_FRAMES_AT_A_TIME = 500
_NUMBERS = 12


def spread_of(
    numbers: Array, errors: Array, axes: tuple[Array, Array], side: Array, low: LowPoints | None
) -> tuple[Array, Array]:
    """Standard errors of the coordinates and low points of each frame.

    Args:
        numbers: (N, 2, 6) poses of femur and tibia, tx ty tz in mm and rz rx ry in degrees.
        errors: (N, 2, 6) their standard errors; NaN: not known.
        axes: of both components in their meshes, (N, 4, 4) each.
        side: (N,).
        low: the low points; None: there are none.

    Returns:
        (N, 6) of the coordinates and (N, 6) of the low points in the order of their columns; NaN where an error of
        the pose is not known or a coordinate is undefined.
    """
    found, found_low = np.full((len(numbers), 6), np.nan), np.full((len(numbers), 6), np.nan)
    known = np.flatnonzero(np.isfinite(errors).all(axis=(1, 2)) & np.isfinite(numbers).all(axis=(1, 2)))
    for start in range(0, len(known), _FRAMES_AT_A_TIME):
        some = known[start : start + _FRAMES_AT_A_TIME]
        points = _places(numbers[some], errors[some])
        femur, tibia = (matrices_of(points[:, :, i]) @ axes[i][some] for i in range(2))
        values = joint_coordinates(femur, tibia, side[some])
        values[..., :3] = _near(values[..., :3])
        found[some] = values.std(axis=0)
        if low is not None:
            middle = [matrices_of(numbers[some, i]) @ axes[i][some] for i in range(2)]
            at_rest = invert_rigid(middle[1]) @ middle[0]
            displacement = invert_rigid(tibia) @ femur @ invert_rigid(at_rest)
            mine = LowPoints(low.places[some], low.stiffness[some])
            found_low[some] = as_columns(rolled(mine, displacement), side[some]).std(axis=0)
    return found, found_low


def _places(numbers: Array, errors: Array) -> Array:
    """(24, N, 2, 6): the poses at which the coordinates are evaluated."""
    step = np.sqrt(_NUMBERS) * errors
    moves = np.eye(_NUMBERS).reshape(_NUMBERS, 1, 2, 6) * step
    return np.concatenate([numbers + moves, numbers - moves])


def _near(angles_deg: Array) -> Array:
    """Angles (S, ...) without jumps of 360 degrees between the places."""
    first = angles_deg[:1]
    return np.asarray(first + (angles_deg - first + 180) % 360 - 180)
