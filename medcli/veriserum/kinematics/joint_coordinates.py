"""The six coordinates of the knee joint by Grood and Suntay (1983, doi 10.1115/1.3138397; ISB recommendation).

A component's *axes* are a (4, 4) matrix whose columns are the directions right (of the patient), anterior and proximal,
and the origin, in the component's or in a common frame. For a right knee right is lateral, for a left knee medial; all
signs are by anatomy, so a left knee gives the same numbers as its mirror image.

Body axes: e1, the femur's lateral axis; e3, the tibia's proximal axis; and the floating axis e2, perpendicular to
both and pointing forwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
SIDES = {"right": 1.0, "left": -1.0}
"""Name of a side, and the component of its lateral direction along the patient's right."""
UNDEFINED_WITHIN_DEG = 5.0
"""Closer to 90 degrees of adduction than this, the floating axis is taken as undefined: 0.1 degrees of error in a pose
would be more than a degree in flexion and rotation (1 / cos 85 degrees is 11.5)."""
BAND = 1.96
"""Half width of a band in standard errors: 95 % of a normal distribution."""


@dataclass(frozen=True)
class JointCoordinate:
    """One coordinate.

    Attributes:
        name: of its column.
        title: in figures and tables.
        unit: ``deg`` or ``mm``.
        positive: what a positive value means.
        opensim: name of its column in a ``.mot`` file, before the side.
    """

    name: str
    title: str
    unit: str
    positive: str
    opensim: str

    @property
    def sign(self) -> str:
        """The unit as figures write it."""
        return "°" if self.unit == "deg" else self.unit


COORDINATES = (
    JointCoordinate("flexion_deg", "flexion", "deg", "the tibia's distal end moves backwards", "knee_flexion"),
    JointCoordinate(
        "adduction_deg", "adduction (varus)", "deg", "the tibia's distal end moves to the midline", "knee_adduction"
    ),
    JointCoordinate(
        "internal_rotation_deg",
        "internal rotation",
        "deg",
        "the front of the tibia turns to the midline",
        "knee_internal_rotation",
    ),
    JointCoordinate("lateral_mm", "lateral shift", "mm", "the tibia is displaced laterally", "knee_lateral"),
    JointCoordinate("anterior_mm", "anterior shift", "mm", "the tibia is displaced forwards", "knee_anterior"),
    JointCoordinate("distal_mm", "distraction", "mm", "the tibia is displaced distally", "knee_distal"),
)
"""The six coordinates of the tibia relative to the femur, in the order of every array of them."""


def joint_coordinates(femur: ArrayLike, tibia: ArrayLike, side: ArrayLike) -> Array:
    """Joint coordinates from the axes of both components in a common frame.

    Args:
        femur, tibia: (..., 4, 4), columns right, anterior, proximal (unit vectors), origin in mm.
        side: (...) of :data:`SIDES`: 1 right, -1 left.

    Returns:
        (..., 6) in degrees and mm, in the order of :data:`COORDINATES`; NaN where a pose is NaN. Flexion is within -180
        and 180 degrees. Flexion, rotation and anterior shift depend on the floating axis; they are NaN within
        :data:`UNDEFINED_WITHIN_DEG` of 90 degrees of adduction.
    """
    femur, tibia = np.asarray(femur, np.float64), np.asarray(tibia, np.float64)
    sign = np.asarray(side, np.float64)[..., None]
    lateral, e3 = sign * femur[..., :3, 0], tibia[..., :3, 2]
    across = np.cross(e3, lateral) * sign  # forwards for both sides
    length = np.linalg.norm(across, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        e2 = np.where(length > np.sin(np.radians(UNDEFINED_WITHIN_DEG)), across / length, np.nan)
        flexion = np.arctan2(-_dot(e2, femur[..., :3, 2]), _dot(e2, femur[..., :3, 1]))
        adduction = np.arctan2(_dot(lateral, e3), length[..., 0])
        rotation = np.arctan2(_dot(e2, sign * tibia[..., :3, 0]), _dot(e2, tibia[..., :3, 1]))
    between = tibia[..., :3, 3] - femur[..., :3, 3]
    angles = np.degrees(np.stack([flexion, adduction, rotation], axis=-1))
    shifts = np.stack([_dot(between, lateral), _dot(between, e2), -_dot(between, e3)], axis=-1)
    return np.concatenate([angles, shifts], axis=-1)


def unwrap_flexion(flexion_deg: Array) -> Array:
    """Flexion (N,) along a trial without jumps of 360 degrees; NaN stays. The median is within -90 and 270 degrees."""
    known = np.isfinite(flexion_deg)
    unwrapped = flexion_deg.copy()
    if known.any():
        unwrapped[known] = np.unwrap(flexion_deg[known], period=360)
        middle = float(np.median(unwrapped[known]))
        unwrapped -= 360 * np.floor((middle + 90) / 360)
    return unwrapped


def undefined_reason(coordinates: Array) -> str:
    """Why coordinates (6,) of a frame with both poses are not all defined; empty where they are."""
    if np.isfinite(coordinates).all() or not np.isfinite(coordinates[1]):
        return ""
    return f"adduction is {coordinates[1]:.0f} degrees: flexion, rotation and anterior shift are undefined near 90"


def _dot(a: Array, b: Array) -> Array:
    return np.asarray((a * b).sum(axis=-1))
