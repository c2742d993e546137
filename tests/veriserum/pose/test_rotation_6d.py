"""Six-number rotations and the angle between rotations, against SciPy."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from medcli.veriserum.pose.rotation_6d import angle_between, six_to_matrix


def random_rotations(count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix())


def test_six_numbers_are_the_first_two_rows_and_recover_the_matrix() -> None:
    matrices = random_rotations(50)
    six = matrices[:, :2].reshape(-1, 6)
    assert torch.equal(six[:, :3], matrices[:, 0])
    assert torch.equal(six[:, 3:], matrices[:, 1])
    assert torch.allclose(six_to_matrix(six), matrices, atol=1e-12)


def test_any_six_numbers_give_a_rotation() -> None:
    matrices = six_to_matrix(torch.randn(200, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    assert torch.allclose(matrices @ matrices.transpose(1, 2), torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(torch.linalg.det(matrices), torch.ones(200, dtype=torch.float64))


def test_angle_is_that_of_scipy() -> None:
    one, other = random_rotations(300, 1), random_rotations(300, 2)
    expected = (Rotation.from_matrix(one.numpy()) * Rotation.from_matrix(other.numpy()).inv()).magnitude()
    assert np.allclose(angle_between(one, other).numpy(), expected, atol=1e-5)
