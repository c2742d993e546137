"""Small rigid motions."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from medcli.veriserum.registration.rigid_motion import moved, rotation_vector_deg


def test_a_rotation_keeps_the_centre_fixed() -> None:
    pose = np.eye(4)
    pose[:3, 3] = [3, 4, 400]
    middle = np.array([10.0, -5, 2])
    result = moved(pose, np.array([0, 0, 0, 0, 90.0, 0]), middle)
    assert np.allclose(result @ [*middle, 1], pose @ [*middle, 1])
    assert np.allclose(result[:3, :3] @ [1, 0, 0], [0, 0, -1])
    shifted = moved(pose, np.array([1.0, -2, 3, 0, 0, 0]), middle)
    assert np.allclose(shifted[:3, 3], [4, 2, 403])


def test_rotation_vectors_are_those_of_scipy() -> None:
    for vector in ([0.0, 0, 0], [1e-9, 0, 0], [30.0, -20, 75]):
        turned = moved(np.eye(4), np.array([0, 0, 0, *vector]), np.zeros(3))[:3, :3]
        assert np.allclose(turned, Rotation.from_rotvec(vector, degrees=True).as_matrix(), atol=1e-12)
        assert np.allclose(rotation_vector_deg(turned), vector, atol=1e-9)
