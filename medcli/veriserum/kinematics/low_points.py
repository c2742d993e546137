"""The lowest point of each femoral condyle over the tray, in the tray's coordinates.

A low point does not depend on the axes of the femoral component, only on which vertices belong to which condyle. A mesh
is lowest at a vertex, which jumps by the length of a triangle's edge from frame to frame; so a paraboloid is fitted to
the vertices around it, and its lowest point is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CONDYLES = ("medial", "lateral")
LOW_POINT_AXES = {"ap_mm": "anterior", "ml_mm": "lateral", "height_mm": "above the plane of the tray"}
"""Coordinates of a low point in the order of arrays, and what is positive."""
LOW_POINT_COLUMNS = tuple(f"{condyle}_low_{axis}" for condyle in CONDYLES for axis in LOW_POINT_AXES)
_WINDOW_MM, _LEAST, _MOST = 0.5, 14, 400
_REACH_MM = 8.0
"""Vertices farther from the lowest one along the tray belong to another part of the condyle."""
_LARGEST_STEP_MM = 4.0
_LEAST_CURVATURE = 1 / 500.0
"""In 1/mm; flatter than this, the lowest place is not a point."""


@dataclass(frozen=True)
class LowPoints:
    """Low points of frames.

    Attributes:
        places: (N, 2, 3) medial and lateral; right, anterior, proximal in the tray's axes, mm.
        stiffness: (N, 2, 2, 2) inverse of the surface's curvature there, mm, over right and anterior; 0 at an edge.
    """

    places: Array
    stiffness: Array


def find_low_points(femur_in_tray: Array, vertices: Array, across: Array, side: Array) -> LowPoints:
    """The low points of each frame.

    Args:
        femur_in_tray: (N, 4, 4) from the femoral mesh's coordinates to the tray's axes; NaN without a pose.
        vertices: (V, 3) of the femoral component, mm.
        across: (V,) their coordinates along right, from the middle of the component.
        side: (N,) 1 for a right knee, -1 for a left one.
    """
    places = np.full((len(femur_in_tray), 2, 3), np.nan)
    stiffness = np.zeros((len(femur_in_tray), 2, 2, 2))
    halves = [np.ascontiguousarray(vertices[across < 0]), np.ascontiguousarray(vertices[across > 0])]
    for frame in np.flatnonzero(np.isfinite(femur_in_tray).all(axis=(1, 2))):
        left_and_right = [_lowest(femur_in_tray[frame], half) for half in halves]
        for condyle, (place, bend) in enumerate(left_and_right if side[frame] > 0 else left_and_right[::-1]):
            places[frame, condyle], stiffness[frame, condyle] = place, bend
    return LowPoints(places, stiffness)


def _lowest(pose: Array, vertices: Array) -> tuple[Array, Array]:
    """The low point (3,) and the inverse curvature (2, 2) of one condyle's vertices (V, 3)."""
    if not len(vertices):
        return np.full(3, np.nan), np.zeros((2, 2))
    heights = vertices @ pose[2, :3] + pose[2, 3]
    count = min(len(heights), max(_LEAST, int((heights < heights.min() + _WINDOW_MM).sum())))
    near = np.argpartition(heights, count - 1)[: min(count, _MOST * 4)]
    points = vertices[near] @ pose[:3, :3].T + pose[:3, 3]
    lowest = points[np.argmin(points[:, 2])]
    points = points[np.abs(points[:, :2] - lowest[:2]).max(axis=1) < _REACH_MM]
    if len(points) < _LEAST // 2:
        return lowest, np.zeros((2, 2))
    x, y, z = (points - lowest).T
    terms = np.stack([np.ones_like(x), x, y, x * x / 2, x * y, y * y / 2], axis=1)
    constant, a, b, p, q, r = np.linalg.lstsq(terms, z, rcond=None)[0]
    curvature = np.array([[p, q], [q, r]])
    if np.linalg.eigvalsh(curvature)[0] < _LEAST_CURVATURE:
        return lowest, np.zeros((2, 2))
    inverse = np.linalg.inv(curvature)
    step = -inverse @ np.array([a, b])
    if np.abs(step).max() > _LARGEST_STEP_MM:
        return lowest, np.zeros((2, 2))
    return lowest + np.array([*step, constant + np.array([a, b]) @ step / 2]), inverse


def rolled(low: LowPoints, displacement: Array) -> Array:
    """Low points after small displacements of the femur over the tray.

    The surface around each low point is taken as a paraboloid, whose new lowest point is known in closed form.

    Args:
        low: of N frames.
        displacement: (S, N, 4, 4) in the tray's axes.

    Returns:
        (S, N, 2, 3) right, anterior, proximal, mm.
    """
    normal = displacement[..., 2, :3]  # the tray's normal as seen from the displaced surface
    tilt = normal[..., :2] / normal[..., 2:]
    step = -np.einsum("ncij,snj->snci", low.stiffness, tilt)
    sag = -np.einsum("sni,snci->snc", tilt, step) / 2
    local = low.places + np.concatenate([step, sag[..., None]], axis=-1)
    moved = np.einsum("snij,sncj->snci", displacement[..., :3, :3], local)
    return np.asarray(moved + displacement[..., None, :3, 3])


def as_columns(places: Array, side: Array) -> Array:
    """(..., N, 6) in the order of :data:`LOW_POINT_COLUMNS` of places (..., N, 2, 3); ``side`` (N,)."""
    lateral = places[..., 0] * side[:, None]
    columns = np.stack([places[..., 1], lateral, places[..., 2]], axis=-1)
    return columns.reshape(*columns.shape[:-2], 6)
