"""Losses of the pose training, by their names for ``--loss``.

A new loss is one function of estimates and targets and one entry in :data:`POSE_LOSSES`. It must be finite, with a
finite gradient, for all finite arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PoseLoss:
    """One entry of :data:`POSE_LOSSES`.

    Attributes:
        compute: from estimates and targets, (B, 9) float32 each (three millimetres, six numbers of the rotation, not
            normalised in the estimates), to the terms of translation and rotation, (B,) each.
        about: description for the help.
    """

    compute: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    about: str

    def __call__(self, estimates: Tensor, targets: Tensor, weights: tuple[float, float]) -> Tensor:
        """(B,) weighted sums of both terms, in float32 for any precision of ``estimates``."""
        translation, rotation = self.compute(estimates.float(), targets.float())
        return weights[0] * translation + weights[1] * rotation


def smooth_l1_geodesic(estimates: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """SmoothL1 of the translation (beta 1 mm, mean over x, y, z), as published, and degrees of the rotation."""
    from torch.nn.functional import smooth_l1_loss

    translation = smooth_l1_loss(estimates[:, :3], targets[:, :3], reduction="none").mean(dim=1)
    return translation, rotation_errors_deg(estimates, targets)


def l1_geodesic(estimates: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute error of the translation (mean over x, y, z), in millimetres, and degrees of the rotation."""
    return (estimates[:, :3] - targets[:, :3]).abs().mean(dim=1), rotation_errors_deg(estimates, targets)


POSE_LOSSES = {
    "smoothl1+geodesic": PoseLoss(smooth_l1_geodesic, "SmoothL1 of the translation plus the geodesic angle"),
    "l1+geodesic": PoseLoss(l1_geodesic, "absolute error of the translation plus the geodesic angle"),
}
PUBLISHED_POSE_LOSS = "smoothl1+geodesic"


def rotation_errors_deg(estimates: Tensor, targets: Tensor) -> Tensor:
    """(B,) geodesic angles in degrees between the rotations of (B, 9) poses, computed in float32."""
    import torch

    from medcli.veriserum.pose.rotation_6d import angle_between, six_to_matrix

    one, other = (six_to_matrix(poses[:, 3:].float()) for poses in (estimates, targets))
    return torch.rad2deg(angle_between(one, other))
