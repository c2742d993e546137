"""How far a registered pose can be trusted: its status, and standard errors from the curvature of the objective.

The status is decided by the similarity of the worse plane and by the margin over the runner-up, the second-best
distinct pose; from one plane alone, no pose is called good. ``docs/pose.md`` gives the evidence: the limits were chosen
on one series of simulated pairs and measured on another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medcli.core.mesh import Mesh
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.registration.gradient_matching import ImplantView, Matcher
from medcli.veriserum.registration.resolution_levels import LOG_LEVELS
from medcli.veriserum.registration.rigid_motion import moved

Status = Literal["good", "doubtful", "ambiguous", "failed"]

GOOD_SIMILARITY = 0.7
"""Similarity that both planes of a good pose reach."""
LEAST_MARGIN = 0.02
"""Similarity of a good pose over that of the runner-up; below, the two are too close to tell apart."""
_LEVEL = LOG_LEVELS[2]
_STEP = 0.3
_OUTLINE_MM = 0.15


@dataclass(frozen=True)
class PoseQuality:
    """Quality of one pose.

    Attributes:
        status: ``good``; ``ambiguous``: another pose matches nearly as well; ``doubtful``: a plane matches too little,
            or there is only one; ``failed``: not the implant.
        similarity_bs, similarity_fs: gradient correlation of each plane about the pose, -1 to 1; NaN: plane not used.
        margin: gradient correlation over that of the runner-up.
        se_tx_mm … se_ry_deg: standard errors of the pose's numbers.
        se_mm, se_deg: standard errors of the implant's centre and of the rotation, over all three axes.
    """

    se_tx_mm: float
    se_ty_mm: float
    se_tz_mm: float
    se_rz_deg: float
    se_rx_deg: float
    se_ry_deg: float
    se_mm: float
    se_deg: float
    similarity_bs: float
    similarity_fs: float
    margin: float
    status: Status


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
    if len(by_plane) == 1:  # nothing confirms it: orientations 100 degrees off have matched one plane well
        return "doubtful"
    return "good" if min(by_plane.values()) >= GOOD_SIMILARITY else "doubtful"


def pose_covariance(view: ImplantView, pose: NDArray[np.float64], per_mm: float) -> NDArray[np.float64]:
    """(6, 6) covariance of a pose, in mm and degrees of :func:`medcli.veriserum.registration.rigid_motion.moved`.

    Least squares: covariance = s² (J'J)⁻¹ with the residuals' variance s². Blurred pixels are not independent; a
    Gaussian blur of b pixels leaves one independent value in 4 pi b² of them, by which the covariance is multiplied.
    Foreign edges in the window raise s². What outlines displaced by 0.15 mm at the detector would move is added, since
    blur, hardening and the surface displace them: in one plane, this changes the depth by millimetres. Calibration
    errors are not included. Infinite where the images determine nothing.
    """
    matcher, middle = Matcher(view.in_logarithms(), [pose], _LEVEL), view.middle_mm
    residuals = matcher.residuals(pose, per_mm)
    slopes = []
    basis = np.eye(6)
    basis[:3, :3] = matcher.shifts
    for axis in basis.T * _STEP:
        ahead, behind = (matcher.residuals(moved(pose, sign * axis, middle), per_mm) for sign in (1, -1))
        slopes.append((ahead - behind).astype(np.float64) / (2 * _STEP))
    jacobian = np.stack(slopes)
    normal = np.einsum("in,jn->ij", jacobian, jacobian)
    compared = 2 * sum(int(np.count_nonzero(plane.weight)) for plane in matcher.planes)
    variance = float(np.sum(np.square(residuals, dtype=np.float64))) / max(compared, 1)
    correlated = 4 * np.pi * float(np.mean([plane.blur for plane in matcher.planes])) ** 2
    displaced = _with_larger_outline(matcher, pose, per_mm) - residuals
    try:
        inverse = np.linalg.inv(normal)
        systematic = inverse @ np.einsum("in,n->i", jacobian, displaced.astype(np.float64))
        covariance = variance * correlated * inverse + np.outer(systematic, systematic)
        return np.asarray(basis @ covariance @ basis.T)
    except np.linalg.LinAlgError:
        return np.diag(np.full(6, np.inf))


def _with_larger_outline(matcher: Matcher, pose: NDArray[np.float64], per_mm: float) -> NDArray[np.float32]:
    """Residuals of an implant whose outline lies :data:`_OUTLINE_MM` further out on the detector."""
    mesh, middle = matcher.mesh, matcher.middle_mm
    size = float(np.ptp(mesh.bounds, axis=0).max())
    share = 2 * _OUTLINE_MM / (size * max(matcher.magnifications(pose)))
    larger = Mesh(middle + (mesh.vertices - middle) * (1 + share), mesh.faces)
    return Matcher.like(matcher, larger).residuals(pose, per_mm)


def standard_errors(covariance: NDArray[np.float64]) -> tuple[float, float]:
    """Of the implant's centre in millimetres and of the rotation in degrees, each over its three axes."""
    variances = np.maximum(np.diag(covariance), 0)
    return float(np.sqrt(variances[:3].sum())), float(np.sqrt(variances[3:].sum()))


def errors_of_numbers(
    covariance: NDArray[np.float64],
    pose: NDArray[np.float64],
    middle_mm: NDArray[np.float64],
    numbers: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Standard errors (6,) of a pose's numbers in a table, tx ty tz (mm) and rz rx ry (degrees), to first order.

    Args:
        covariance: (6, 6) of :func:`pose_covariance`.
        pose: (4, 4) implant to world.
        middle_mm: (3,) centre of the implant's bounds, in its coordinates.
        numbers: (4, 4) -> (6,).
    """
    if not np.isfinite(covariance).all():
        return np.full(6, np.inf)
    slopes = []
    for axis in np.eye(6) * _STEP:
        change = numbers(moved(pose, axis, middle_mm)) - numbers(moved(pose, -axis, middle_mm))
        change[3:] = (change[3:] + 180) % 360 - 180
        slopes.append(change / (2 * _STEP))
    jacobian = np.stack(slopes, axis=1)
    return np.asarray(np.sqrt(np.maximum(np.diag(jacobian @ covariance @ jacobian.T), 0)))


def measured_quality(
    pose: NDArray[np.float64],
    mesh: Mesh,
    covariance: NDArray[np.float64],
    by_plane: dict[str, float],
    margin: float,
    status: Status,
    numbers: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> PoseQuality:
    """The quality of a pose (4, 4) implant to world.

    Args:
        numbers: (4, 4) -> (6,), the numbers of a pose in the frame of its table, which the standard errors are of.
    """
    middle = mesh.bounds.mean(axis=0)
    errors = errors_of_numbers(covariance, pose, middle, numbers)
    planes = (by_plane.get(plane, math.nan) for plane in PLANES)
    values = (*errors.tolist(), *standard_errors(covariance), *planes, margin)
    names = [field.name for field in fields(PoseQuality) if field.name != "status"]
    return PoseQuality(**{name: round(value, 5) for name, value in zip(names, values, strict=True)}, status=status)
