"""How well each of the six directions of a pose is determined by the points: standard errors, and the names of those
that are not.

Information A = sum w J J', J the change of a point's distance with the pose. Errors of neighbouring points are not
independent (one mask, one pose of the probe), so the points of one 10 mm cube count as one error of the size of the
residuals: covariance A^-1 B A^-1 with B = s^2 sum over cubes of (sum w J)(sum w J)'. To it comes an error that all
points share, 0.3 mm across the surface (depth of the masks, speed of sound, threshold of the CT): it slides a bone
along its taper. J is taken with normals averaged over some 4 mm of the surface: facets and steps of a mesh from CT,
smaller than the residuals, would else seem to hold a shaft in its turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.rigid_transforms import transform_points
from medcli.ultrabones.registration.hypotheses import cells_of
from medcli.ultrabones.registration.surface_fit import SurfaceFit
from medcli.ultrabones.registration.surface_samples import BoneTarget

LIMIT_MM, LIMIT_DEG = 1.0, 1.0
"""A direction whose standard error exceeds this is not determined."""
COMMON_MM = 0.3
LEAST_RESIDUAL_MM = 0.2
"""Residuals below it are not believed: a mesh from CT is no better."""
_ELONGATED = 2.0
_ALONG = 0.97
_SMOOTHED_OVER = 24  # samples, 1.6 mm apart
_UNKNOWN = 999.0


@dataclass(frozen=True)
class Direction:
    """One of six directions.

    Attributes:
        name: what it is, in words.
        kind: ``shift`` or ``turn``.
        axis: (3,) unit vector in CT.
        standard_error: millimetres of a shift, degrees of a turn; at most 999.
        unit: ``mm`` or ``degrees``.
        determined: whether the standard error is within the limit (1 mm, 1 degree).
    """

    name: str
    kind: str
    axis: tuple[float, float, float]
    standard_error: float
    unit: str
    determined: bool


@dataclass(frozen=True)
class Determination:
    """What the points say about the pose.

    Attributes:
        directions: shifts along the three principal axes of the points and turns about them.
        centre_mm: (3,) where the shifts are counted and the axes of the turns pass, in CT: the middle of the points; of
            long ones, the point beside it about which they turn without a shift.
        lever_mm: root mean square distance of the points from it, by which radians are made millimetres.
        eigenvalues: (6,) of the information matrix in 1/mm^2, ascending: the square root of an inverse is a standard
            error.
        elongated: whether the points lie along one axis.
    """

    directions: tuple[Direction, ...]
    centre_mm: tuple[float, float, float]
    lever_mm: float
    eigenvalues: tuple[float, ...]
    elongated: bool

    @property
    def undetermined(self) -> tuple[str, ...]:
        """The directions that the points do not determine, with their standard errors."""
        return tuple(
            f"{one.name}, standard error {one.standard_error:.1f} {one.unit}"
            if one.standard_error < _UNKNOWN
            else f"{one.name}, not at all"
            for one in self.directions
            if not one.determined
        )


def determine(fit: SurfaceFit, points: NDArray[np.float64], target: BoneTarget) -> Determination:
    """Standard errors of the pose of points (N, 3) in the directions of their principal axes."""
    used = fit.weights > 0
    moved = transform_points(fit.pose, points[used])
    apart = moved - fit.centre
    lengths, vectors = np.linalg.eigh(apart.T @ apart / max(len(apart), 1))
    axes = (vectors[:, ::-1] * np.sign(vectors[np.abs(vectors).argmax(axis=0), range(3)])[::-1]).T
    extent = np.sqrt(np.maximum(lengths[::-1], 0))
    lever = max(float(np.sqrt((apart**2).sum(axis=1).mean())) if len(apart) else 0.0, 1.0)
    normals = _smooth_normals(moved, target)
    elongated = bool(extent[0] > _ELONGATED * max(extent[1], 1e-9))

    def covariance_in(axes: NDArray[np.float64]) -> NDArray[np.float64]:
        jacobian = np.concatenate([np.cross(apart, normals) @ axes.T / lever, normals @ axes.T], axis=1)
        return _covariance(fit, points, used, jacobian)

    covariance = covariance_in(axes)
    if elongated:  # the bone's axis is where it slides, not where the points of one side of it lie
        freest = np.linalg.eigh(covariance[3:, 3:])[1][:, -1]
        if abs(freest[0]) > _ALONG:
            axes = _turned_to(axes, (freest * np.sign(freest[0])) @ axes)
            covariance = covariance_in(axes)
    middle = fit.centre
    if elongated:
        aside = _free_axis(covariance, lever)
        covariance = _about(covariance, aside, lever)
        middle = middle + aside @ axes
    errors = np.sqrt(np.maximum(np.diag(covariance), 0))
    shifts = [_direction("shift", axes[k], float(errors[3 + k]), _name("shift", k, elongated)) for k in range(3)]
    turns = [
        _direction("turn", axes[k], float(np.degrees(errors[k] / lever)), _name("turn", k, elongated)) for k in range(3)
    ]
    values = np.sort(1 / np.maximum(np.linalg.eigvalsh(covariance), 1e-12))
    x, y, z = (float(round(value, 3)) for value in middle)
    return Determination(
        (*shifts, *turns), (x, y, z), round(lever, 2), tuple(float(f"{v:.4g}") for v in values), elongated
    )


def _covariance(
    fit: SurfaceFit,
    points: NDArray[np.float64],
    used: NDArray[np.bool_],
    jacobian: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(6, 6) in mm^2: turns about the axes (times the lever), then shifts along them."""
    weights = fit.weights[used]
    if not len(weights):
        return np.eye(6) * _UNKNOWN**2
    weighted = jacobian * weights[:, None]
    information = weighted.T @ jacobian
    residual = np.sqrt((weights * fit.distances[used] ** 2).sum() / max(weights.sum(), 1e-9))
    size = max(float(residual) * 1.2, LEAST_RESIDUAL_MM)  # the weights shorten the tail of the residuals
    cells = cells_of(points[used])
    sums = np.stack([np.bincount(cells, column) for column in weighted.T], axis=1)
    values, vectors = np.linalg.eigh(information)
    inverse = (vectors / np.maximum(values, 1e-6 * max(values[-1], 1e-9))) @ vectors.T
    common = inverse @ weighted.sum(axis=0) * COMMON_MM
    covariance = inverse @ (size**2 * sums.T @ sums) @ inverse + np.outer(common, common)
    weak = values < 1e-6 * values[-1]
    return np.asarray(covariance + (vectors[:, weak] * _UNKNOWN**2) @ vectors[:, weak].T)


def _turned_to(axes: NDArray[np.float64], first: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axes (3, 3), row by row, whose first one is ``first``, turned by as little as that takes."""
    second = axes[1] - (axes[1] @ first) * first
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second) * np.sign(np.linalg.det(axes))])


def _free_axis(covariance: NDArray[np.float64], lever: float) -> NDArray[np.float64]:
    """Where (3,), beside the middle, the axis passes about which a long bone turns without a shift of its own.

    One side of a shaft is seen, so its axis does not pass through the middle of the points: about that middle an
    undetermined turn would look like an undetermined shift as well.
    """
    along = np.array([0.0, *covariance[4:, 0]]) * lever / max(covariance[0, 0], 1e-12)
    aside = np.cross([1.0, 0.0, 0.0], along)
    return np.asarray(aside * min(1.0, lever / max(float(np.linalg.norm(aside)), 1e-9)))


def _about(covariance: NDArray[np.float64], aside: NDArray[np.float64], lever: float) -> NDArray[np.float64]:
    """The covariance with the shifts at a point ``aside`` of the middle, in axes' coordinates."""
    change = np.eye(6)
    for turn in range(3):
        change[3:, turn] = np.cross(np.eye(3)[turn], aside) / lever
    return np.asarray(change @ covariance @ change.T)


def _smooth_normals(places: NDArray[np.float64], target: BoneTarget) -> NDArray[np.float64]:
    """Unit normals (N, 3) of the surface near places (N, 3), smoothed over the samples around on the same side."""
    from scipy.spatial import cKDTree

    if not len(places):
        return places
    count = min(_SMOOTHED_OVER, len(target.points))
    near = np.asarray(cKDTree(target.points).query(places, count)[1]).reshape(len(places), count)
    around, own = target.normals[near], target.normals[near[:, 0]]
    same = (np.einsum("nki,ni->nk", around, own) > 0)[:, :, None]
    offsets = target.points[near] - places[:, None]
    terms = np.concatenate([np.ones((*offsets.shape[:2], 1)), offsets], axis=2) * same
    gram = np.einsum("nki,nkj->nij", terms, terms) + np.diag([1e-6, 1.0, 1.0, 1.0])
    mean = np.linalg.solve(gram, np.einsum("nki,nkj->nij", terms, around))[:, 0]  # a line through them, at the place
    return np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9))


def _direction(kind: str, axis: NDArray[np.float64], error: float, name: str) -> Direction:
    unit, limit = ("mm", LIMIT_MM) if kind == "shift" else ("degrees", LIMIT_DEG)
    x, y, z = (round(float(value), 4) for value in axis)
    error = min(error, _UNKNOWN)
    return Direction(f"{name} ({x:.2f} {y:.2f} {z:.2f})", kind, (x, y, z), float(f"{error:.3g}"), unit, error <= limit)


def _name(kind: str, place: int, elongated: bool) -> str:
    if elongated and place == 0:
        return "sliding along the long axis" if kind == "shift" else "turning about the long axis"
    if elongated:
        return "shift across the long axis" if kind == "shift" else "tilt of the long axis, about"
    return "shift along" if kind == "shift" else "turn about"
