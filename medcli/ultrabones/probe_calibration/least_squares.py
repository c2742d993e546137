"""The least squares of a probe calibration: a linear start, Levenberg-Marquardt, and standard errors.

The model: a point seen at pixel (u, v) of frame k lies at T_k (R [s (u + ½), s (v + ½), 0] + t), with T_k the tracked
pose of the marker. It is a point X of the phantom, known or not, or lies on a known wire through A in direction d.
Unknown are R, t, the spacing s unless it is given, and the points that are not known. Minimised are the squared
distances in mm: three components for a point, the two across it for a wire.

The start: with a = s R e1 and b = s R e2, and a point's X, the model is linear in (a, b, t, X). Standard errors: a
jackknife over frames, each left out to first order, since the errors of one frame (its tracking) are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from medcli.core.errors import DataError, quantity
from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.ultrabones.geometry.image_to_ct import probe_to_ct
from medcli.ultrabones.probe_calibration.observations import Observations, Phantom

LEAST_FRAMES = 5
_ALIKE_DEG = 5.0
_LINE_PX = 3.0
_LARGEST_ERROR_MM, _LARGEST_ERROR_DEG, _LARGEST_SPACING_ERROR = 3.0, 3.0, 0.05
_ILL = 1e-7

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationFit:
    """What the least squares found.

    Attributes:
        image_to_probe: (4, 4), from the top-left corner of the image, mm.
        spacing_mm: edge of a pixel.
        translation_error_mm: (3,), standard errors of the translation, along the marker's axes.
        rotation_error_deg: (3,), of the rotation, about the marker's axes.
        spacing_error_mm: of the spacing; 0 where it was given.
        residuals_mm: (N,), distance of each point to its target.
        left_out_mm: (N,), the same as the other frames predict it, to first order.
        in_plane_mm, out_of_plane_mm: root mean squares of the residuals' components along the image's axes and across
            them, each per component.
    """

    image_to_probe: Array
    spacing_mm: float
    translation_error_mm: Array
    rotation_error_deg: Array
    spacing_error_mm: float
    residuals_mm: Array
    left_out_mm: Array
    in_plane_mm: float
    out_of_plane_mm: float


class _Problem:
    """Residuals in mm of an increment to a calibration: rotation (3,), translation (3,), spacing, unknown points."""

    def __init__(self, seen: Observations, phantom: Phantom, spacing_mm: float | None) -> None:
        self.seen, self.phantom, self.spacing_mm = seen, phantom, spacing_mm
        poses = probe_to_ct(seen.poses)
        self.turn, self.shift = poses[:, :3, :3], poses[:, :3, 3]
        self.corner = seen.pixels + 0.5
        self.free = not seen.are_wires and not phantom.points
        self.unknown_points = len(seen.names) if self.free else 0
        if seen.are_wires:
            ends = np.stack([phantom.wires[name] for name in seen.names])[seen.targets]
            along = ends[:, 1] - ends[:, 0]
            along /= np.linalg.norm(along, axis=1, keepdims=True)
            # two directions across each wire: rows of (N, 2, 3)
            self.across = np.linalg.svd(along[:, None, :])[2][:, 1:]
            self.at = ends[:, 0]
        else:
            self.across = np.broadcast_to(np.eye(3), (len(seen.frames), 3, 3))
            known = [phantom.points[name] for name in seen.names] if phantom.points else np.zeros((len(seen.names), 3))
            self.at = np.stack(list(known))[seen.targets]

    @property
    def per_point(self) -> int:
        return int(self.across.shape[1])

    def start(self) -> tuple[Array, Array, float, Array]:
        """Rotation (3, 3), translation (3,), spacing and unknown points (J, 3) by linear least squares."""
        count = len(self.corner)
        fixed = 9 + 3 * self.unknown_points
        rows = np.zeros((count, 3, fixed))
        rows[:, :, :3] = self.turn * self.corner[:, 0, None, None]
        rows[:, :, 3:6] = self.turn * self.corner[:, 1, None, None]
        rows[:, :, 6:9] = self.turn
        for axis in range(3 if self.free else 0):
            rows[np.arange(count), axis, 9 + 3 * self.seen.targets + axis] = -1.0
        wanted = self.at - self.shift
        rows, wanted = self.across @ rows, np.einsum("nij,nj->ni", self.across, wanted)
        matrix, values = rows.reshape(-1, fixed), wanted.ravel()
        scale = np.linalg.norm(matrix, axis=0)
        singular = np.linalg.svd(matrix / np.where(scale > 0, scale, 1), compute_uv=False)
        if len(values) < fixed or singular[-1] < _ILL * singular[0]:
            raise _undetermined("the linear equations of the start have no unique solution")
        found = np.linalg.lstsq(matrix / scale, values, rcond=None)[0] / scale
        axes = found[:6].reshape(2, 3)
        u, _, v = np.linalg.svd(axes.T, full_matrices=False)
        two = u @ v  # the nearest pair of orthogonal unit vectors
        rotation = np.column_stack([two, np.cross(two[:, 0], two[:, 1])])
        spacing = self.spacing_mm or float(np.linalg.norm(axes) / np.sqrt(2))
        return rotation, found[6:9], spacing, found[9:].reshape(-1, 3)

    def vectors(self, values: Array, rotation: Array) -> Array:
        """(N, 3): from its target to each point, mm; for a wire, from a point on it."""
        turned = Rotation.from_rotvec(values[:3]).as_matrix() @ rotation
        spacing = self.spacing_mm or values[6]
        first = 6 if self.spacing_mm else 7
        in_probe = self.corner * spacing @ turned[:, :2].T + values[3:6]
        target = values[first:].reshape(-1, 3)[self.seen.targets] if self.free else self.at
        return np.asarray(np.einsum("nij,nj->ni", self.turn, in_probe) + self.shift - target)

    def residuals(self, values: Array, rotation: Array) -> Array:
        return np.asarray(np.einsum("nij,nj->ni", self.across, self.vectors(values, rotation)).ravel())


def fit_calibration_of_probe(seen: Observations, phantom: Phantom, spacing_mm: float | None = None) -> CalibrationFit:
    """The calibration that brings the points seen nearest to their targets.

    Args:
        spacing_mm: edge of a pixel; None: it is estimated.

    Raises:
        DataError: the observations do not determine it; says why.
    """
    problem = _Problem(seen, phantom, spacing_mm)
    _refuse_too_little(seen, problem)
    rotation, translation, spacing, points = problem.start()
    begin = np.concatenate([np.zeros(3), translation, [] if spacing_mm else [spacing], points.ravel()])
    found = least_squares(problem.residuals, begin, method="lm", x_scale="jac", args=(rotation,))
    turned = Rotation.from_rotvec(found.x[:3]).as_matrix() @ rotation
    # about the solution, so that errors of the rotation are angles about the marker's axes
    at = np.concatenate([np.zeros(3), found.x[3:]])
    jacobian = _jacobian(problem, at, turned)
    residuals = problem.residuals(at, turned)
    covariance, left_out = _jackknife(jacobian, residuals, np.repeat(seen.frames, problem.per_point))
    errors = np.sqrt(np.diag(covariance))
    result = CalibrationFit(
        image_to_probe=np.block([[turned, found.x[3:6, None]], [np.zeros((1, 3)), np.ones((1, 1))]]),
        spacing_mm=float(spacing_mm or found.x[6]),
        translation_error_mm=errors[3:6],
        rotation_error_deg=np.degrees(errors[:3]),
        spacing_error_mm=0.0 if spacing_mm else float(errors[6]),
        residuals_mm=np.linalg.norm(residuals.reshape(-1, problem.per_point), axis=1),
        left_out_mm=np.linalg.norm(left_out.reshape(-1, problem.per_point), axis=1),
        **_components(problem, residuals, turned),
    )
    _refuse_uncertain(result)
    return result


def _jacobian(problem: _Problem, at: Array, rotation: Array) -> Array:
    """(M, P), by central differences."""
    steps = np.where(np.arange(len(at)) < 3, 1e-5, 1e-4)
    if not problem.spacing_mm:
        steps[6] = 1e-6
    columns = [
        (problem.residuals(at + step, rotation) - problem.residuals(at - step, rotation)) / (2 * step.sum())
        for step in np.diag(steps)
    ]
    return np.stack(columns, axis=1)


def _jackknife(jacobian: Array, residuals: Array, frames: NDArray[np.int64]) -> tuple[Array, Array]:
    """Covariance (P, P) of the parameters, and the residuals (M,) of each frame by the others, to first order."""
    normal = np.linalg.pinv(jacobian.T @ jacobian)
    changes, left_out = [], np.empty_like(residuals)
    for frame in np.unique(frames):
        own = np.flatnonzero(frames == frame)
        part = jacobian[own]
        leverage = np.eye(len(own)) - part @ normal @ part.T
        left_out[own] = np.linalg.lstsq(leverage, residuals[own], rcond=1e-9)[0]
        changes.append(normal @ part.T @ left_out[own])
    moved = np.stack(changes)
    count = len(moved)
    return (count - 1) / count * moved.T @ moved, left_out


def _components(problem: _Problem, residuals: Array, rotation: Array) -> dict[str, float]:
    vectors = np.einsum("nij,ni->nj", problem.across, residuals.reshape(-1, problem.per_point))
    in_image = np.einsum("ji,nkj,nk->ni", rotation, problem.turn, vectors)
    flat, across = in_image[:, :2], in_image[:, 2]
    return {"in_plane_mm": float(np.sqrt((flat**2).mean())), "out_of_plane_mm": float(np.sqrt((across**2).mean()))}


def _refuse_too_little(seen: Observations, problem: _Problem) -> None:
    frames = len(np.unique(seen.frames))
    unknown = 7 - bool(problem.spacing_mm) + 3 * problem.unknown_points
    given = problem.per_point * len(seen.frames)
    if frames < LEAST_FRAMES or given < 2 * unknown:
        raise _undetermined(
            f"{quantity(len(seen.frames), 'point')} in {quantity(frames, 'frame')} are too few for {unknown} unknowns: "
            f"at least {quantity(LEAST_FRAMES, 'frame')} and "
            f"{quantity(-(-2 * unknown // problem.per_point), 'point')} are needed, 50 frames are usual"
        )
    _, first = np.unique(seen.frames, return_index=True)
    turns = problem.turn[first]
    spread = float(np.max(rotation_angle_deg(turns[0].T @ turns)))
    if spread < _ALIKE_DEG and not (seen.are_wires or problem.phantom.points):
        raise _undetermined(
            f"all poses are alike: none is turned by more than {spread:.1f} degrees against the first",
            "tilt and turn the probe by 30 degrees and more about each of its axes",
        )
    centred = seen.pixels - seen.pixels.mean(axis=0)
    narrow = float(np.linalg.svd(centred, compute_uv=False)[-1] / np.sqrt(len(centred)))
    if narrow < _LINE_PX:
        raise _undetermined(
            f"all points lie within {narrow:.1f} pixels of one line (or place) of the image",
            "let the phantom appear left and right, near and far",
        )


def _refuse_uncertain(fit: CalibrationFit) -> None:
    worst = {
        "translation": (float(fit.translation_error_mm.max()), _LARGEST_ERROR_MM, "mm"),
        "rotation": (float(fit.rotation_error_deg.max()), _LARGEST_ERROR_DEG, "degrees"),
        "spacing": (fit.spacing_error_mm / fit.spacing_mm, _LARGEST_SPACING_ERROR, "of itself"),
    }
    open_ones = [f"{name} ± {error:.2g} {unit}" for name, (error, most, unit) in worst.items() if not error <= most]
    if open_ones:
        raise _undetermined(
            f"it stays open: {', '.join(open_ones)}; residuals {np.sqrt((fit.residuals_mm**2).mean()):.2f} mm",
            "turn the probe about all of its axes, and check that points and poses belong together",
        )


def _undetermined(why: str, remedy: str = "record more frames, from all sides of the phantom") -> DataError:
    return DataError(f"the points do not determine the calibration: {why}", remedy)
