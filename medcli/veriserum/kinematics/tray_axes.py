"""A guess at the axes of a tibial component from its mesh.

Proximal: normal of the tray's underside, away from stem, keel or pegs. Medio-lateral: normal of the plane of symmetry,
along the longer extent of the tray. Posterior: the side of the notch for the cruciate ligament, else that to which the
keel's fins point. Origin: midway between the middles of the medial and the lateral half of the tray, in the plane of
its underside. The middle of a half is that of its depth beside the notch, whose depth does not move the origin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh
from medcli.veriserum.kinematics.implant_axes import ImplantAxes, MeshStamp
from medcli.veriserum.kinematics.surface_samples import (
    SurfaceSamples,
    SymmetryPlane,
    fit_plane_normal,
    symmetry_plane,
)

Array = NDArray[np.float64]
_FLAT = float(np.cos(np.radians(8)))
_LEAST_PLATE = 0.33
"""Share of the surface that is parallel to the tray: 0.52 and more of synthetic trays, below 0.3 of femora."""
_SURELY_PLATE = 0.45
_SAME_PLANE_MM = 0.4
_NOTCH_MM, _FIN_MM = 1.0, 1.0
_ROUND = 1.05
_HALF, _STRIP = (0.5, 0.8), 0.02
"""Share of the tray's half width, in strips, in which the middle of a half is measured: beside notch and corners."""
_SYMMETRIC_MM = 0.4


def plate_share(samples: SurfaceSamples) -> tuple[float, Array]:
    """The largest share of a surface that is parallel to one plane, up or down, and that plane's normal (3,)."""
    step = max(1, len(samples.normals) // 4000)
    normals = samples.normals[::step]
    shares = (np.abs(normals @ normals[:: max(1, len(normals) // 400)].T) > _FLAT).mean(axis=0)
    normal = normals[:: max(1, len(normals) // 400)][int(np.argmax(shares))]
    for _ in range(3):
        facing = samples.normals @ normal
        normal = (np.sign(facing) * (np.abs(facing) > _FLAT)) @ samples.normals
        normal = normal / np.linalg.norm(normal)
    return float(shares.max()), normal


def is_tray(samples: SurfaceSamples) -> bool:
    """Whether a surface has so large a plate that it is surely none of a femoral component."""
    return plate_share(samples)[0] > _SURELY_PLATE


def guess_tray_axes(mesh: Mesh) -> ImplantAxes:
    """The axes of a tibial component.

    Raises:
        DataError: it has no plate, as a tibial component has.
    """
    samples = SurfaceSamples.of(mesh)
    share, normal = plate_share(samples)
    if share < _LEAST_PLATE:
        raise DataError("it has no flat plate: it does not look like a tibial component")
    proximal, height = _underside(samples, normal)
    plate = samples.where(np.abs(samples.points @ proximal - height) < 0.1 * np.ptp(samples.points @ proximal) + 2)
    plane, width, depth = _symmetry(samples, plate, proximal)
    anterior, back, remarks = _front(samples, plate, plane, proximal, height)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = np.cross(anterior, proximal), anterior, proximal
    middle = _middle(plate.points @ plane.normal - plane.offset_mm, plate.points @ anterior)
    matrix[:3, 3] = plane.offset_mm * plane.normal + middle * anterior + height * proximal
    if plane.residual_mm > _SYMMETRIC_MM:
        remarks.append(f"not symmetric: the mirrored surface is {plane.residual_mm:.2f} mm away, check medio-lateral")
    how = (
        f"guess from the mesh: underside of the tray ({width:.0f} x {depth:.0f} mm), plane of symmetry (mirrored "
        f"surface {plane.residual_mm:.2f} mm away), {back}"
    )
    return ImplantAxes.from_matrix("tibia", matrix, how, mesh=MeshStamp.of(mesh), remarks=tuple(remarks))


def _underside(samples: SurfaceSamples, normal: Array) -> tuple[Array, float]:
    """Unit normal (3,) of the underside, upwards, and its height along it."""
    up = samples.points @ normal
    plate = np.median(up[np.abs(samples.normals @ normal) > _FLAT])
    proximal = normal if plate - up.min() > up.max() - plate else -normal
    for _ in range(2):
        up = samples.points @ proximal
        below = samples.normals @ proximal < -_FLAT
        heights = up[below]
        level = heights[np.argmax([(np.abs(heights - h) < _SAME_PLANE_MM).sum() for h in heights[::20]]) * 20]
        level = float(np.median(heights[np.abs(heights - level) < _SAME_PLANE_MM]))
        proximal = fit_plane_normal(samples.points[below & (np.abs(up - level) < _SAME_PLANE_MM)], proximal)
    up = samples.points @ proximal
    near = (samples.normals @ proximal < -_FLAT) & (np.abs(up - np.median(up[below])) < 2 * _SAME_PLANE_MM)
    return proximal, float(np.median(up[near])) if near.any() else level


def _symmetry(samples: SurfaceSamples, plate: SurfaceSamples, proximal: Array) -> tuple[SymmetryPlane, float, float]:
    """The plane of symmetry across the tray's longer extent, and both extents in mm."""
    flat = plate.points - np.outer(plate.points @ proximal, proximal)
    axes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)[2][:2]
    found = []
    for axis in axes:
        axis = axis - (axis @ proximal) * proximal
        plane = symmetry_plane(samples, axis / np.linalg.norm(axis), perpendicular_to=proximal)
        found.append((plane, float(np.ptp(plate.points @ plane.normal))))
    (one, wide), (other, deep) = sorted(found, key=lambda pair: -pair[1])
    if wide < _ROUND * deep and other.residual_mm < one.residual_mm:  # hardly longer: by symmetry alone
        (one, wide), (other, deep) = (other, deep), (one, wide)
    return one, wide, deep


def _middle(across: Array, along: Array) -> float:
    """Where the origin lies from back to front: the mean of the middles of both halves of the tray, in mm.

    Args:
        across: (N,) distances from the plane of symmetry, with sign.
        along: (N,) positions from back to front.
    """
    middles = []
    for sign in (1, -1):
        out = sign * across / (sign * across).max()
        strips = [along[(out > low) & (out <= low + _STRIP)] for low in np.arange(*_HALF, _STRIP)]
        middles.append(np.mean([(strip.max() + strip.min()) / 2 for strip in strips if len(strip)]))
    return float(np.mean(middles))


def _front(
    samples: SurfaceSamples, plate: SurfaceSamples, plane: SymmetryPlane, proximal: Array, height: float
) -> tuple[Array, str, list[str]]:
    """Anterior (3,), what told it, and remarks."""
    ahead = np.cross(proximal, plane.normal)
    across, along = plate.points @ plane.normal - plane.offset_mm, plate.points @ ahead
    middle = np.abs(across) < 0.04 * np.ptp(across)
    gap_ahead, gap_behind = along.max() - along[middle].max(), along[middle].min() - along.min()
    if abs(gap_ahead - gap_behind) > _NOTCH_MM:
        anterior = ahead if gap_behind > gap_ahead else -ahead
        return anterior, f"notch of {max(gap_ahead, gap_behind):.1f} mm behind", []
    below = samples.where(samples.points @ proximal < height - 2)
    reach, out = below.points @ ahead, np.abs(below.points @ plane.normal - plane.offset_mm)
    if len(reach) > 50:
        fins = reach[out > np.percentile(out, 90)].mean() - reach[out < np.percentile(out, 50)].mean()
        if abs(fins) > _FIN_MM:
            return (ahead if fins < 0 else -ahead), "fins that point backwards", ["no notch behind: check anterior"]
    return ahead, "front and back told by nothing", ["front and back cannot be told by the mesh: check anterior"]
