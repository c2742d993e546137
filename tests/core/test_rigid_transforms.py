from __future__ import annotations

import numpy as np
import pytest

from medcli.core.rigid_transforms import (
    ULTRABONES_EULER,
    VERISERUM_EULER,
    invert_rigid,
    rigid_transform,
    rotation_angle_deg,
    transform_points,
)


def about(axis: int, angle_deg: float) -> np.ndarray:
    """Right-handed rotation about a coordinate axis, written out."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return {
        0: np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        1: np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        2: np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def test_ultrabones_order_is_rz_ry_rx() -> None:
    matrix = rigid_transform((1, 2, 3), (10, 20, 30), ULTRABONES_EULER)
    np.testing.assert_allclose(matrix[:3, :3], about(2, 30) @ about(1, 20) @ about(0, 10), atol=1e-15)
    np.testing.assert_array_equal(matrix[:, 3], [1, 2, 3, 1])


def test_veriserum_order_is_rz_rx_ry() -> None:
    matrix = rigid_transform((0, 0, 0), (10, 20, 30), VERISERUM_EULER)
    np.testing.assert_allclose(matrix[:3, :3], about(2, 10) @ about(0, 20) @ about(1, 30), atol=1e-15)


def test_many_at_once_and_inverse() -> None:
    rng = np.random.default_rng(0)
    matrices = rigid_transform(rng.normal(size=(5, 2, 3)), rng.uniform(-180, 180, (5, 2, 3)), "xyz")
    assert matrices.shape == (5, 2, 4, 4)
    identity = np.broadcast_to(np.eye(4), matrices.shape)
    np.testing.assert_allclose(invert_rigid(matrices) @ matrices, identity, atol=1e-12)


def test_points() -> None:
    matrix = rigid_transform((1, 0, 0), (0, 0, 90), "xyz")
    np.testing.assert_allclose(transform_points(matrix, [[1, 0, 0], [0, 1, 5]]), [[1, 1, 0], [0, 0, 5]], atol=1e-15)
    with pytest.raises(ValueError, match=r"got \(3, 3\)"):
        transform_points(np.eye(3), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="must be"):
        rigid_transform((1, 2), (1, 2, 3), "xyz")


def test_rotation_angle() -> None:
    assert rotation_angle_deg(about(0, 33) @ about(0, -13)) == pytest.approx(20)
    np.testing.assert_allclose(rotation_angle_deg(np.stack([np.eye(3), about(1, 180)])), [0, 180])
