"""How far a registered pose can be trusted: its status, and standard errors from the curvature of the objective.

The status is decided by the similarity of the worse plane and by the margin over the runner-up, the second-best
distinct pose. ``docs/pose.md`` gives the evidence: the limits were chosen on one series of simulated pairs and measured
on another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcli.core.mesh import Mesh
from medcli.veriserum.geometry.biplane import DualPlane
from medcli.veriserum.registration.gradient_matching import LEVELS, Matcher
from medcli.veriserum.registration.rigid_motion import moved

Status = Literal["good", "doubtful", "ambiguous", "failed"]

GOOD_SIMILARITY = 0.62
"""Similarity that both planes of a good pose reach."""
LEAST_MARGIN = 0.02
"""Similarity of a good pose over that of the runner-up; below, the two are too close to tell apart."""
_LEVEL = LEVELS[2]
_STEP = 0.3


@dataclass(frozen=True)
class PoseQuality:
    """Quality of one pose.

    Attributes:
        status: ``good``; ``ambiguous``: another pose matches nearly as well; ``doubtful``: a plane matches too little;
            ``failed``: not the implant.
        similarity_bs, similarity_fs: gradient correlation of each plane about the pose, -1 to 1.
        margin: gradient correlation over that of the runner-up.
        se_mm, se_deg: standard errors of the implant's centre and of the rotation, over all three axes.
    """

    status: Status
    similarity_bs: float
    similarity_fs: float
    margin: float
    se_mm: float
    se_deg: float


def status_of(by_plane: Mapping[str, float], margin: float, least_similarity: float) -> Status:
    """The status of a pose.

    Args:
        by_plane: plane -> gradient correlation about the pose.
        margin: over the runner-up.
        least_similarity: if the planes reach less in the mean, the pose counts as failed.
    """
    if float(np.mean(list(by_plane.values()))) < least_similarity:
        return "failed"
    if margin < LEAST_MARGIN:
        return "ambiguous"
    return "good" if min(by_plane.values()) >= GOOD_SIMILARITY else "doubtful"


def standard_errors(
    images: Mapping[str, NDArray[Any]], cameras: DualPlane, mesh: Mesh, pose: NDArray[np.float64], per_mm: float
) -> tuple[float, float]:
    """Standard errors in millimetres (implant's centre) and degrees (rotation), each over its three axes.

    Least squares: covariance = s² (J'J)⁻¹ with the residuals' variance s². Blurred pixels are not independent; a
    Gaussian blur of b pixels leaves one independent value in 4 pi b² of them, by which the covariance is multiplied.
    Foreign edges in the window raise s². Calibration errors are not included.
    """
    matcher = Matcher(images, cameras, mesh, [pose], _LEVEL)
    middle = mesh.bounds.mean(axis=0)
    residuals = matcher.residuals(pose, per_mm)
    slopes = []
    for axis in np.eye(6) * _STEP:
        ahead, behind = (matcher.residuals(moved(pose, sign * axis, middle), per_mm) for sign in (1, -1))
        slopes.append((ahead - behind).astype(np.float64) / (2 * _STEP))
    jacobian = np.stack(slopes)
    normal = np.einsum("in,jn->ij", jacobian, jacobian)
    compared = 2 * sum(int(np.count_nonzero(plane.weight)) for plane in matcher.planes)
    variance = float(np.sum(np.square(residuals, dtype=np.float64))) / max(compared, 1)
    correlated = 4 * np.pi * float(np.mean([plane.blur for plane in matcher.planes])) ** 2
    try:
        covariance = variance * correlated * np.linalg.inv(normal)
    except np.linalg.LinAlgError:
        return float("inf"), float("inf")
    errors = np.maximum(np.diag(covariance), 0)
    return float(np.sqrt(errors[:3].sum())), float(np.sqrt(errors[3:].sum()))
