"""Rigid transforms and their conventions, stated once for the whole toolkit.

- Points are column vectors: a transform is a 4 x 4 matrix ``M``, ``p_to = M @ p_from``, and ``A @ B`` applies ``B``
  first. Lengths are millimetres, angles degrees.
- UltraBones100k writes rotations as *extrinsic* x-y-z Euler angles, R = Rz(c) Ry(b) Rx(a)
  (scipy ``Rotation.from_euler("xyz", …)``; specs: labelling, Geometry).
- Veriserum writes them as *intrinsic* z-x'-y'' angles, R = Rz Rx Ry
  (scipy ``Rotation.from_euler("ZXY", …)``; specs: veriserum, Poses).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

ULTRABONES_EULER = "xyz"
VERISERUM_EULER = "ZXY"


def rigid_transform(translation_mm: ArrayLike, angles_deg: ArrayLike, order: str) -> NDArray[np.float64]:
    """Matrices of rigid transforms from translations and Euler angles.

    Args:
        translation_mm: (..., 3), millimetres.
        angles_deg: (..., 3), degrees, in the order that ``order`` names.
        order: :data:`ULTRABONES_EULER`, :data:`VERISERUM_EULER` or any other scipy Euler sequence.

    Returns:
        (..., 4, 4) float64.
    """
    translation = np.asarray(translation_mm, dtype=np.float64)
    angles = np.asarray(angles_deg, dtype=np.float64)
    if translation.shape[-1:] != (3,) or angles.shape[-1:] != (3,):
        raise ValueError(f"translation and angles must be (..., 3), got {translation.shape}, {angles.shape}")
    matrix = np.zeros((*np.broadcast_shapes(translation.shape[:-1], angles.shape[:-1]), 4, 4))
    rotation = Rotation.from_euler(order, angles.reshape(-1, 3), degrees=True).as_matrix()
    matrix[..., :3, :3] = rotation.reshape(*angles.shape[:-1], 3, 3)
    matrix[..., :3, 3] = translation
    matrix[..., 3, 3] = 1.0
    return matrix


def invert_rigid(matrix: ArrayLike) -> NDArray[np.float64]:
    """Inverse of rigid transforms (..., 4, 4), by transposing the rotation."""
    matrix = np.asarray(matrix, dtype=np.float64)
    inverse = np.zeros_like(matrix)
    rotation_t = np.swapaxes(matrix[..., :3, :3], -1, -2)
    inverse[..., :3, :3] = rotation_t
    inverse[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation_t, matrix[..., :3, 3])
    inverse[..., 3, 3] = 1.0
    return inverse


def transform_points(matrix: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Apply one 4 x 4 transform to points (N, 3) in millimetres; returns (N, 3)."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"transform must be (4, 4), got {matrix.shape}")
    return np.asarray(np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3])


def rotation_angle_deg(rotation: ArrayLike) -> NDArray[np.float64]:
    """Geodesic angle in degrees, 0 to 180, of rotation matrices (..., 3, 3)."""
    rotation = np.asarray(rotation, dtype=np.float64)
    angle = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).magnitude()
    return np.degrees(angle).reshape(rotation.shape[:-2])
