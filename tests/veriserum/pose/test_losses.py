"""The losses of the pose training: values and singular cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from medcli.veriserum.pose.losses import POSE_LOSSES, PUBLISHED_POSE_LOSS, rotation_errors_deg

pose_loss = POSE_LOSSES[PUBLISHED_POSE_LOSS]


def turned(angle_deg: float) -> torch.Tensor:
    """(1, 9) pose rotated about an oblique axis."""
    axis = np.array([1.0, 2.0, -2.0]) / 3
    matrix = torch.from_numpy(Rotation.from_rotvec(np.radians(angle_deg) * axis).as_matrix())
    return torch.cat([torch.zeros(3), matrix[:2].reshape(6).float()])[None]


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
        assert float(estimate.grad.abs().max()) > 1  # it still gives the direction of the rotation


@pytest.mark.parametrize("name", POSE_LOSSES)
def test_loss_is_finite_for_parallel_rows_and_in_half_precision(name: str) -> None:
    estimate = torch.zeros(2, 9, dtype=torch.bfloat16, requires_grad=True)
    loss = POSE_LOSSES[name](estimate, torch.cat([turned(30.0), turned(180.0)]), (1.0, 1.0)).mean()
    loss.backward()
    assert loss.dtype == torch.float32
    assert bool(torch.isfinite(loss))
    assert estimate.grad is not None
    assert bool(torch.isfinite(estimate.grad).all())


def test_weights_are_of_a_millimetre_and_of_a_degree() -> None:
    target, estimate = turned(0.0), turned(20.0)
    estimate[0, :3] = torch.tensor([10.0, 0.0, 0.0])
    translation = (10 - 0.5) / 3  # SmoothL1 beyond beta 1 mm, mean over the axes
    assert pose_loss(estimate, target, (1.0, 0.0)).item() == pytest.approx(translation, rel=1e-5)
    assert pose_loss(estimate, target, (0.0, 1.0)).item() == pytest.approx(20, abs=1e-3)
    assert pose_loss(estimate, target, (2.0, 0.5)).item() == pytest.approx(2 * translation + 10, abs=1e-3)
    absolute = POSE_LOSSES["l1+geodesic"](estimate, target, (2.0, 0.5)).item()
    assert absolute == pytest.approx(2 * 10 / 3 + 10, abs=1e-3)


def test_steepest_descent_finds_the_rotation_from_the_opposite_side() -> None:
    target = turned(0.0)
    estimate = turned(175.0).requires_grad_()
    optimiser = torch.optim.Adam([estimate], lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        pose_loss(estimate, target, (0.0, 1.0)).backward()
        optimiser.step()
    assert rotation_errors_deg(estimate, target).item() < 3
