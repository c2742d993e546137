"""A guess at the axes of a femoral component from its mesh.

Medio-lateral: normal of the plane of symmetry. Proximal: normal of the distal bone cut, the largest flat face inside
the opening of the shell (pegs stand on it). Anterior: the arm of the shell that is closed in the middle, the flange;
behind, a notch parts the condyles. Origin: the axis of the cylinder through the posterior condyles, in the plane of
symmetry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh
from medcli.veriserum.kinematics.implant_axes import ImplantAxes, MeshStamp
from medcli.veriserum.kinematics.surface_samples import (
    SurfaceSamples,
    SymmetryPlane,
    best_symmetry_plane,
    perpendicular,
)

Array = NDArray[np.float64]
_SHALLOW = 0.15
"""An opening that is less deep than this share of the component's length is none."""
_CUT_WITHIN_DEG = 40.0
"""The distal cut's normal is this near to that of the opening, which leans backwards because the flange is longer."""
_BEHIND_DEG = (15.0, 85.0)
"""Directions from distal to posterior in which the normals of the posterior condyles' cylinder point."""
_RIDGE_MM = 3.0
_SYMMETRIC_MM = 0.4


@dataclass(frozen=True)
class _Sagittal:
    """Samples seen from the side: coordinates (N, 2) and normals (N, 2) along two directions, and heights (N,)."""

    points: Array
    normals: Array
    across: Array


def guess_femoral_axes(mesh: Mesh) -> ImplantAxes:
    """The axes of a femoral component.

    Raises:
        DataError: it has no opening on one side, as a femoral component has.
    """
    samples = SurfaceSamples.of(mesh)
    plane = best_symmetry_plane(samples)
    basis = np.stack(perpendicular(plane.normal))
    side = _seen_from_the_side(samples, plane, basis)
    opening = _opening(side.points)
    proximal = _distal_cut(side, opening)
    anterior, remarks = _front(side, proximal)
    centre, radius, spread = _posterior_cylinder(side, anterior, proximal)
    matrix = np.eye(4)
    matrix[:3, 1], matrix[:3, 2] = anterior @ basis, proximal @ basis
    matrix[:3, 0] = np.cross(matrix[:3, 1], matrix[:3, 2])
    matrix[:3, 3] = centre @ basis + plane.offset_mm * plane.normal
    if plane.residual_mm > _SYMMETRIC_MM:
        remarks.append(f"not symmetric: the mirrored surface is {plane.residual_mm:.2f} mm away, check medio-lateral")
    how = (
        f"guess from the mesh: plane of symmetry (mirrored surface {plane.residual_mm:.2f} mm away), distal bone cut, "
        f"cylinder through the posterior condyles (radius {radius:.1f} mm, points within {spread:.2f} mm)"
    )
    return ImplantAxes.from_matrix(
        "femur", matrix, how, mesh=MeshStamp.of(mesh), remarks=tuple(remarks), radius_mm=round(radius, 3)
    )


def _seen_from_the_side(samples: SurfaceSamples, plane: SymmetryPlane, basis: Array) -> _Sagittal:
    across = samples.points @ plane.normal - plane.offset_mm
    return _Sagittal(samples.points @ basis.T, samples.normals @ basis.T, across)


def _opening(points: Array) -> Array:
    """(2,) direction in which the shell is open: normal of the edge of its hull with the deepest space behind it."""
    from scipy.spatial import ConvexHull

    hull = ConvexHull(points)
    best, opening = 0.0, np.zeros(2)
    for corners, equation in zip(hull.simplices, hull.equations, strict=True):
        start, end = points[corners]
        length = float(np.linalg.norm(end - start))
        share = (points - start) @ (end - start) / max(length, 1e-9) ** 2
        middle = (share > 0.3) & (share < 0.7)
        if middle.any():
            depth = float(-(points[middle] @ equation[:2] + equation[2]).max())
            if depth * length > best:
                best, opening, deep = depth * length, equation[:2], depth
    if not best or deep < _SHALLOW * float(np.ptp(points, axis=0).max()):
        raise DataError("it has no opening for the bone: it does not look like a femoral component")
    return np.asarray(opening)


def _distal_cut(side: _Sagittal, opening: Array) -> Array:
    """(2,) unit normal of the largest flat face inside the opening: the most frequent direction of normals there."""
    lengths = np.linalg.norm(side.normals, axis=1)
    facing = (lengths > 0.97) & (side.normals @ opening > np.cos(np.radians(_CUT_WITHIN_DEG)))
    if facing.sum() < 50:
        return opening
    normals = side.normals[facing] / lengths[facing, None]
    angles = np.degrees(np.arctan2(normals @ np.array([-opening[1], opening[0]]), normals @ opening))
    peak = angles[np.argmax([(np.abs(angles - angle) < 3).sum() for angle in angles[::5]]) * 5]
    for width in (5.0, 3.0, 3.0):
        peak = angles[np.abs(angles - peak) < width].mean()
    turn = np.radians(peak)
    return np.asarray(np.cos(turn) * opening + np.sin(turn) * np.array([-opening[1], opening[0]]))


def _front(side: _Sagittal, proximal: Array) -> tuple[Array, list[str]]:
    """(2,) anterior, and remarks: in the middle the flange is closed, and the condyles are parted."""
    ahead = np.array([proximal[1], -proximal[0]])
    along, up = side.points @ ahead, side.points @ proximal
    middle, half = (along.max() + along.min()) / 2, np.ptp(side.across) / 2
    closed, height = [], []
    for arm in (along > middle, along <= middle):
        high = arm & (up > np.percentile(up[arm], 60))
        closed.append(float((np.abs(side.across[high]) < 0.15 * half).mean()))
        height.append(float(np.percentile(up[arm], 99)))
    remarks = []
    if (closed[0] > closed[1]) != (height[0] > height[1]):
        remarks.append("the arm that is closed in the middle is not the higher one: check anterior")
    return (ahead if closed[0] > closed[1] else -ahead), remarks


def _posterior_cylinder(side: _Sagittal, anterior: Array, proximal: Array) -> tuple[Array, float, float]:
    """Centre (2,), radius and spread in mm of the circle through the ridges of both posterior condyles."""
    from scipy.optimize import least_squares

    angle = np.degrees(np.arctan2(side.normals @ -anterior, side.normals @ -proximal))
    rear = side.points @ -anterior
    behind = (angle > _BEHIND_DEG[0]) & (angle < _BEHIND_DEG[1]) & (rear > (rear.max() + rear.min()) / 2)
    chosen = np.zeros(len(behind), bool)
    for condyle in (side.across > 0, side.across < 0):
        mine = behind & condyle
        if mine.sum() < 30:
            raise DataError("no posterior condyle is found on one side: it does not look like a femoral component")
        ridge = np.median(side.across[mine][np.argsort(rear[mine])[-max(10, int(mine.sum()) // 50) :]])
        chosen |= mine & (np.abs(side.across - ridge) < _RIDGE_MM)
    points = side.points[chosen]
    begin = np.array([*points.mean(axis=0) + 15 * anterior, 20.0])

    def away(circle: Array) -> Array:
        return np.asarray(np.linalg.norm(points - circle[:2], axis=1) - circle[2])

    found = least_squares(away, begin, loss="soft_l1", f_scale=0.2)
    return found.x[:2], float(found.x[2]), float(np.sqrt(np.mean(away(found.x) ** 2)))
