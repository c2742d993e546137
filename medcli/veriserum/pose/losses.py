"""Losses of the pose training, by their names for ``--loss``.

A new loss is one function of estimates and targets, (B, 9) float32 each (three millimetres, six numbers of the
rotation, not normalised in the estimates), and the weights of its terms, to the loss of each pair (B,); and one
entry in :data:`POSE_LOSSES`. It must be finite, with a finite gradient, for all finite arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medcli.training.losses import TrainingLoss

if TYPE_CHECKING:
    from torch import Tensor


def smooth_l1_geodesic(estimates: Tensor, targets: Tensor, translation: float, rotation: float) -> Tensor:
    """SmoothL1 of the translation (beta 1 mm, mean over x, y, z), as published, and degrees of the rotation."""
    from torch.nn.functional import smooth_l1_loss

    away = smooth_l1_loss(estimates[:, :3], targets[:, :3], reduction="none").mean(dim=1)
    return translation * away + rotation * rotation_errors_deg(estimates, targets)


def l1_geodesic(estimates: Tensor, targets: Tensor, translation: float, rotation: float) -> Tensor:
    """Absolute error of the translation (mean over x, y, z), in millimetres, and degrees of the rotation."""
    away = (estimates[:, :3] - targets[:, :3]).abs().mean(dim=1)
    return translation * away + rotation * rotation_errors_deg(estimates, targets)


_TERMS = {"translation": 1.0, "rotation": 1.0}
POSE_LOSSES = {
    "smoothl1+geodesic": TrainingLoss(
        smooth_l1_geodesic, _TERMS, "SmoothL1 of the translation plus the geodesic angle"
    ),
    "l1+geodesic": TrainingLoss(l1_geodesic, _TERMS, "absolute error of the translation plus the geodesic angle"),
}
PUBLISHED_POSE_LOSS = "smoothl1+geodesic"


def rotation_errors_deg(estimates: Tensor, targets: Tensor) -> Tensor:
    """(B,) geodesic angles in degrees between the rotations of (B, 9) poses, computed in float32."""
    import torch

    from medcli.veriserum.pose.rotation_6d import angle_between, six_to_matrix

    one, other = (six_to_matrix(poses[:, 3:].float()) for poses in (estimates, targets))
    return torch.rad2deg(angle_between(one, other))
