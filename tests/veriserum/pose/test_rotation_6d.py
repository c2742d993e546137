"""Six numbers for a rotation, the angle between rotations, and the loss: against SciPy, and at the hard places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from medcli.veriserum.pose.losses import pose_loss, rotation_errors_deg
from medcli.veriserum.pose.rotation_6d import angle_between, matrix_to_six, six_to_matrix


def random_rotations(count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix())


def turned(angle_deg: float) -> torch.Tensor:
    """(1, 9) pose turned about a slanted axis."""
    axis = np.array([1.0, 2.0, -2.0]) / 3
    matrix = torch.from_numpy(Rotation.from_rotvec(np.radians(angle_deg) * axis).as_matrix())
    return torch.cat([torch.zeros(3), matrix_to_six(matrix).float()])[None]


def test_six_numbers_are_the_first_two_rows_and_give_the_matrix_back() -> None:
    matrices = random_rotations(50)
    six = matrix_to_six(matrices)
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


@pytest.mark.parametrize("angle", [0.0, 0.01, 1.0, 90.0, 179.0, 179.99, 180.0])
def test_angle_is_right_and_its_gradient_finite_everywhere(angle: float) -> None:
    estimate = turned(angle).requires_grad_()
    found = rotation_errors_deg(estimate, turned(0.0))
    assert found.item() == pytest.approx(angle, abs=2e-3)
    found.sum().backward()
    assert estimate.grad is not None
    assert bool(torch.isfinite(estimate.grad).all())
    assert float(estimate.grad.abs().max()) < 1e3
    if 0.01 <= angle <= 179.0:
        assert float(estimate.grad.abs().max()) > 1  # it still says which way to turn


def test_loss_is_finite_for_parallel_rows_and_in_half_precision() -> None:
    estimate = torch.zeros(2, 9, dtype=torch.bfloat16, requires_grad=True)
    loss = pose_loss(estimate, torch.cat([turned(30.0), turned(180.0)]), (1.0, 1.0))
    loss.backward()
    assert loss.dtype == torch.float32
    assert bool(torch.isfinite(loss))
    assert estimate.grad is not None
    assert bool(torch.isfinite(estimate.grad).all())


def test_weights_are_of_a_millimetre_and_of_a_degree() -> None:
    target, estimate = turned(0.0), turned(20.0)
    estimate[0, :3] = torch.tensor([10.0, 0.0, 0.0])
    translation = (10 - 0.5) / 3  # SmoothL1 beyond its bend at 1 mm, mean over the axes
    assert pose_loss(estimate, target, (1.0, 0.0)).item() == pytest.approx(translation, rel=1e-5)
    assert pose_loss(estimate, target, (0.0, 1.0)).item() == pytest.approx(20, abs=1e-3)
    assert pose_loss(estimate, target, (2.0, 0.5)).item() == pytest.approx(2 * translation + 10, abs=1e-3)


def test_steepest_descent_finds_the_rotation_from_the_opposite_side() -> None:
    target = turned(0.0)
    estimate = turned(175.0).requires_grad_()
    optimiser = torch.optim.Adam([estimate], lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        pose_loss(estimate, target, (0.0, 1.0)).backward()
        optimiser.step()
    assert rotation_errors_deg(estimate, target).item() < 3
