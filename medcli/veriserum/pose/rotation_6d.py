"""Rotations as six numbers, and the angle between rotations, for training with torch.

The six numbers are the first two *rows* of the matrix (Zhou et al., "On the continuity of rotation representations in
neural networks", CVPR 2019): any two non-parallel rows give a rotation by Gram-Schmidt, without the discontinuities of
Euler angles and quaternions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_SMALLEST = 1e-6


def six_to_matrix(six: Tensor) -> Tensor:
    """(..., 6) to (..., 3, 3) rotations: rows orthonormalised, the third their cross product.

    Computed at least in float32 for any precision of ``six``.
    """
    six = six if six.dtype == torch.float64 else six.float()
    first = functional.normalize(six[..., :3], dim=-1, eps=_SMALLEST)
    second = six[..., 3:] - (first * six[..., 3:]).sum(-1, keepdim=True) * first
    second = functional.normalize(second, dim=-1, eps=_SMALLEST)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)


def angle_between(one: Tensor, other: Tensor) -> Tensor:
    """Geodesic angle in radians, 0 to pi, between rotations (..., 3, 3); its gradient is finite everywhere.

    For R = one other^T: atan2(sin, cos) with 2 sin = |(R32 - R23, R13 - R31, R21 - R12)| and 2 cos = trace(R) - 1.
    The common arccosine of the trace has an infinite gradient at 0 and pi and loses half of the digits there.
    """
    relative = one @ other.transpose(-1, -2)
    axis = torch.stack(
        [
            relative[..., 2, 1] - relative[..., 1, 2],
            relative[..., 0, 2] - relative[..., 2, 0],
            relative[..., 1, 0] - relative[..., 0, 1],
        ],
        dim=-1,
    )
    twice_sine = torch.sqrt((axis**2).sum(-1) + _SMALLEST**2)
    twice_cosine = relative.diagonal(dim1=-2, dim2=-1).sum(-1) - 1
    return torch.atan2(twice_sine, twice_cosine)
