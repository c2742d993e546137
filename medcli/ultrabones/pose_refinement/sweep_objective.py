"""How well the bright pixels of each frame lie on the bone, with the derivatives by the frame's pose; compiled.

The published data term counts a pixel of weight w when it is nearer than h = 0.5 mm to the bone. It has no derivative,
so the curve is found with w / (1 + (D / h)^(2 p)) in its place, which comes near to it as p grows, and is judged by the
published term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medcli.core.compiled import njit
from medcli.core.threads import map_in_threads
from medcli.ultrabones.geometry.image_to_ct import PROBE_FROM_IMAGE
from medcli.ultrabones.pose_refinement.distance_field import DistanceField, interpolate_distance
from medcli.ultrabones.pose_refinement.pose_optimizer import NEAR_MM, pose_matrix

_FRAMES_PER_TASK = 16
BAND_MM = 1.2
"""Pixels farther from the bone than this have no part in the derivatives."""


@dataclass(frozen=True)
class SweepPixels:
    """The pixels that take part, of all frames one after the other: five bytes each.

    Attributes:
        starts: (frames + 1,), first pixel of each frame.
        columns, rows: (pixels,) int16, of the image.
        greys: (pixels,) uint8.
        spacing_mm: (frames,).
        share: (frames,), area of a pixel over that of a native one.
        from_corner: (4, 4), millimetres from the image's top-left corner to the probe's marker.
    """

    starts: NDArray[np.int64]
    columns: NDArray[np.int16]
    rows: NDArray[np.int16]
    greys: NDArray[np.uint8]
    spacing_mm: NDArray[np.float64]
    share: NDArray[np.float64]
    from_corner: NDArray[np.float64] = field(default_factory=lambda: PROBE_FROM_IMAGE)

    @property
    def to_probe(self) -> NDArray[np.float64]:
        """(frames, 3, 3): column, row and 1 of a pixel to the probe's millimetres."""
        rotation, offset = self.from_corner[:3, :3], self.from_corner[:3, 3]
        spacing = self.spacing_mm[:, None]
        across, down = rotation[:, 0] * spacing, rotation[:, 1] * spacing
        return np.ascontiguousarray(np.stack([across, down, offset + 0.5 * (across + down)], axis=2))

    def thinned(self) -> SweepPixels:
        """Every second of the columns and of the rows, each pixel standing for four."""
        kept = ((self.columns >> 1) % 2 == 0) & ((self.rows >> 1) % 2 == 0)
        starts = np.concatenate([[0], np.cumsum(kept)])[self.starts]
        columns, rows, greys = (one[kept] for one in (self.columns, self.rows, self.greys))
        return SweepPixels(starts, columns, rows, greys, self.spacing_mm, 4.0 * self.share, self.from_corner)


@dataclass(frozen=True)
class Terms:
    """The smooth data term of each frame, (frames,), its gradient (frames, 6) and its Gauss-Newton curvature
    (frames, 6, 6) by the components of the pose, millimetres and degrees; the term is to be as large as possible."""

    value: NDArray[np.float64]
    gradient: NDArray[np.float64]
    curvature: NDArray[np.float64]


def smooth_terms(
    pixels: SweepPixels,
    poses: NDArray[np.float64],
    frames: NDArray[np.bool_],
    field: DistanceField,
    power: int,
    workers: int = 1,
) -> Terms:
    """The smooth data term of the chosen ``frames`` (frames,) at ``poses`` (frames, 6); zero for the others."""
    count = len(poses)
    terms = Terms(np.zeros(count), np.zeros((count, 6)), np.zeros((count, 6, 6)))

    def compute(span: tuple[int, int]) -> None:
        _smooth(
            span[0], span[1], frames, pixels.starts, pixels.columns, pixels.rows, pixels.greys, _WEIGHTS, pixels.share,
            to_probe, poses, *field.arrays, power, terms.value, terms.gradient, terms.curvature,
        )  # fmt: skip

    to_probe = pixels.to_probe
    for _ in map_in_threads(compute, _spans(count), workers):
        pass
    return terms


def published_terms(
    pixels: SweepPixels,
    poses: NDArray[np.float64],
    frames: NDArray[np.bool_],
    field: DistanceField,
    workers: int = 1,
) -> NDArray[np.float64]:
    """(frames,): the published data term by the distance field, zero for frames that are not chosen."""
    found, to_probe = np.zeros(len(poses)), pixels.to_probe

    def compute(span: tuple[int, int]) -> None:
        _published(
            span[0], span[1], frames, pixels.starts, pixels.columns, pixels.rows, pixels.greys, _WEIGHTS, pixels.share,
            to_probe, poses, *field.arrays, found,
        )  # fmt: skip

    for _ in map_in_threads(compute, _spans(len(poses)), workers):
        pass
    return found


_WEIGHTS = np.exp(5.0 * np.arange(256) / 255.0)


def _spans(count: int) -> Sequence[tuple[int, int]]:
    return list(pairwise([*range(0, count, _FRAMES_PER_TASK), count]))


@njit()
def _image_to_cells(pose, to_probe, origin, step, in_cells, turning, marker):
    """Write pixel (column, row, 1) to cells of the field (3, 3), the axes (3, 3) that the Euler angles turn about, by
    degree, and the place of the marker in cells (3,)."""
    matrix = np.empty((3, 4))
    pose_matrix(pose, matrix)
    for axis in range(3):
        for k in range(3):
            in_cells[axis, k] = 0.0
            for j in range(3):
                in_cells[axis, k] += matrix[axis, j] * to_probe[j, k] / step
        marker[axis] = (matrix[axis, 3] - origin[axis]) / step
        in_cells[axis, 2] += marker[axis]
    degree = np.pi / 180.0
    b, c = pose[4] * degree, pose[5] * degree
    turning[0, 0], turning[1, 0], turning[2, 0] = np.cos(c) * np.cos(b), np.sin(c) * np.cos(b), -np.sin(b)
    turning[0, 1], turning[1, 1], turning[2, 1] = -np.sin(c), np.cos(c), 0.0
    turning[0, 2], turning[1, 2], turning[2, 2] = 0.0, 0.0, 1.0
    for axis in range(3):
        for k in range(3):
            turning[axis, k] *= degree


@njit()
def _smooth(
    first, last, frames, starts, columns, rows, greys, weights, share, to_probe, poses, origin, step, index, values,
    power, value, gradient, curvature,
):  # fmt: skip
    m, turning, marker = np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    way, twist, moment = np.empty(6), np.empty(6), np.empty((6, 6))
    for f in range(first, last):
        if not frames[f]:
            continue
        _image_to_cells(poses[f], to_probe[f], origin, step, m, turning, marker)
        total = 0.0
        twist[:] = 0.0
        moment[:, :] = 0.0
        for i in range(starts[f], starts[f + 1]):
            c, r = float(columns[i]), float(rows[i])
            gx = m[0, 0] * c + m[0, 1] * r + m[0, 2]
            gy = m[1, 0] * c + m[1, 1] * r + m[1, 2]
            gz = m[2, 0] * c + m[2, 1] * r + m[2, 2]
            if gx < 0.0 or gy < 0.0 or gz < 0.0:
                continue
            ix, iy, iz = int(gx), int(gy), int(gz)
            bx, by, bz = ix >> 3, iy >> 3, iz >> 3
            if bx >= index.shape[0] or by >= index.shape[1] or bz >= index.shape[2]:
                continue
            block = index[bx, by, bz]
            if block < 0:
                continue
            fx, fy, fz = gx - ix, gy - iy, gz - iz
            x, y, z = ix & 7, iy & 7, iz & 7
            v000, v001 = values[block, x, y, z], values[block, x, y, z + 1]
            v010, v011 = values[block, x, y + 1, z], values[block, x, y + 1, z + 1]
            v100, v101 = values[block, x + 1, y, z], values[block, x + 1, y, z + 1]
            v110, v111 = values[block, x + 1, y + 1, z], values[block, x + 1, y + 1, z + 1]
            d00, d01 = v000 + (v001 - v000) * fz, v010 + (v011 - v010) * fz
            d10, d11 = v100 + (v101 - v100) * fz, v110 + (v111 - v110) * fz
            low, high = d00 + (d01 - d00) * fy, d10 + (d11 - d10) * fy
            distance = low + (high - low) * fx
            if distance >= BAND_MM:
                continue
            nx = (high - low) / step
            ny = ((d01 - d00) * (1.0 - fx) + (d11 - d10) * fx) / step
            nz = (
                ((v001 - v000) * (1.0 - fy) + (v011 - v010) * fy) * (1.0 - fx)
                + ((v101 - v100) * (1.0 - fy) + (v111 - v110) * fy) * fx
            ) / step
            ratio = (distance / NEAR_MM) ** 2
            raised = 1.0
            for _ in range(power - 1):
                raised *= ratio
            weight = weights[greys[i]] * share[f]
            near = 1.0 / (1.0 + raised * ratio)
            pull = weight * 2.0 * power * raised / (NEAR_MM * NEAR_MM) * near * near  # -w s'(D) / D
            total += weight * near
            vx, vy, vz = (gx - marker[0]) * step, (gy - marker[1]) * step, (gz - marker[2]) * step
            way[0], way[1], way[2] = nx, ny, nz
            way[3], way[4], way[5] = vy * nz - vz * ny, vz * nx - vx * nz, vx * ny - vy * nx
            for a in range(6):
                scaled = pull * way[a]
                twist[a] -= scaled * distance
                for b in range(a, 6):
                    moment[a, b] += scaled * way[b]
        value[f] = total
        _to_components(twist, moment, turning, gradient[f], curvature[f])


@njit()
def _to_components(twist, moment, turning, gradient, curvature):
    """From translation and rotation vector about the marker to the six components of the pose."""
    basis, half = np.zeros((6, 6)), np.zeros((6, 6))
    for a in range(3):
        basis[a, a] = 1.0
        for b in range(3):
            basis[3 + a, 3 + b] = turning[a, b]
    for a in range(6):
        for b in range(a):
            moment[a, b] = moment[b, a]
    for b in range(6):
        gradient[b] = 0.0
        for a in range(6):
            gradient[b] += basis[a, b] * twist[a]
            for j in range(6):
                half[a, b] += moment[a, j] * basis[j, b]
    for a in range(6):
        for b in range(6):
            curvature[a, b] = 0.0
            for j in range(6):
                curvature[a, b] += basis[j, a] * half[j, b]


@njit()
def _published(
    first, last, frames, starts, columns, rows, greys, weights, share, to_probe, poses, origin, step, index, values,
    found,
):  # fmt: skip
    m, turning, marker = np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    for f in range(first, last):
        if not frames[f]:
            continue
        _image_to_cells(poses[f], to_probe[f], origin, step, m, turning, marker)
        total = 0.0
        for i in range(starts[f], starts[f + 1]):
            c, r = float(columns[i]), float(rows[i])
            distance = interpolate_distance(
                m[0, 0] * c + m[0, 1] * r + m[0, 2],
                m[1, 0] * c + m[1, 1] * r + m[1, 2],
                m[2, 0] * c + m[2, 1] * r + m[2, 2],
                index, values,
            )  # fmt: skip
            if distance < NEAR_MM:
                total += weights[greys[i]]
        found[f] = total * share[f]
