"""Small rigid motions of a pose about a point of the implant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
_TINY = 1e-12


def moved(pose: Matrix, motion: NDArray[np.float64], middle_mm: NDArray[np.float64]) -> Matrix:
    """A pose after a rigid motion in the world.

    Args:
        pose: (4, 4) implant to world.
        motion: (6,) millimetres along x, y, z; rotation vector in degrees, about ``middle_mm``.
        middle_mm: (3,) centre of rotation in the implant's coordinates.
    """
    result = np.eye(4)
    result[:3, :3] = _rotation(motion[3:]) @ pose[:3, :3]
    result[:3, 3] = pose[:3, :3] @ middle_mm + pose[:3, 3] + motion[:3] - result[:3, :3] @ middle_mm
    return result


def _rotation(vector_deg: NDArray[np.float64]) -> Matrix:
    """(3, 3) of a rotation vector in degrees, by Rodrigues' formula: SciPy's takes longer than a coarse rendering."""
    x, y, z = np.deg2rad(vector_deg)
    angle = float(np.sqrt(x * x + y * y + z * z))
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    if angle < _TINY:
        return np.asarray(np.eye(3) + cross)
    sine, cosine = np.sin(angle) / angle, (1 - np.cos(angle)) / angle**2
    return np.asarray(np.eye(3) + sine * cross + cosine * (cross @ cross))


def rotation_vector_deg(rotation: Matrix) -> NDArray[np.float64]:
    """(3,) rotation vector in degrees of a rotation matrix (3, 3)."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_matrix(rotation).as_rotvec(degrees=True))
