"""The loss of the pose network: SmoothL1 of the translation and the geodesic angle of the rotation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from medcli.veriserum.pose.rotation_6d import angle_between, six_to_matrix

LOSSES = ("smoothl1+geodesic",)


def pose_loss(estimates: Tensor, targets: Tensor, weights: tuple[float, float]) -> Tensor:
    """Mean loss of a batch; see :func:`pose_losses`."""
    return pose_losses(estimates, targets, weights).mean()


def pose_losses(estimates: Tensor, targets: Tensor, weights: tuple[float, float]) -> Tensor:
    """(B,) loss of each pair, computed in float32 whatever the precision of ``estimates``.

    Args:
        estimates: (B, 9): translation in millimetres and six numbers of the rotation, not normalised.
        targets: (B, 9), the same of the truth.
        weights: of the translation (SmoothL1 with its bend at 1 mm, mean over x, y, z) and of the rotation (degrees).

    Returns:
        (B,) float32; finite with a finite gradient for finite arguments.
    """
    estimates, targets = estimates.float(), targets.float()
    translation = functional.smooth_l1_loss(estimates[:, :3], targets[:, :3], reduction="none").mean(dim=1)
    return weights[0] * translation + weights[1] * rotation_errors_deg(estimates, targets)


def rotation_errors_deg(estimates: Tensor, targets: Tensor) -> Tensor:
    """(B,) geodesic angles in degrees between the rotations of (B, 9) poses."""
    estimates, targets = estimates.float(), targets.float()
    return torch.rad2deg(angle_between(six_to_matrix(estimates[:, 3:]), six_to_matrix(targets[:, 3:])))
