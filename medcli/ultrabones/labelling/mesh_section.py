"""The section of bones with the image plane of a frame: its full label.

255 where the 3D distance from the pixel's centre to the nearest triangle is below 0.1 mm (strictly), the union over all
bones. It is a distance in space, so a surface that meets the plane at a slant gives a wider band.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcli.core.compiled import njit
from medcli.ultrabones.dataset.constants import PIXEL_SPACING_MM
from medcli.ultrabones.dataset.probe import ULTRABONES100K, Probe
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.image_to_ct import FRAME_SHAPE, ct_to_image
from medcli.ultrabones.geometry.triangle_tree import triangle_squared

BAND_MM = 0.1
"""Half width of the label around the surface."""
LABEL = 255


def full_label(
    surfaces: Sequence[Surface],
    pose: ArrayLike,
    spacing_mm: float = PIXEL_SPACING_MM,
    shape: tuple[int, int] = FRAME_SHAPE,
    band_mm: float = BAND_MM,
    probe: Probe = ULTRABONES100K,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The full label of a frame at a pose (6,).

    Returns:
        The label, (rows, columns) uint8 of 0 and 255, and for each surface the number of label pixels it added,
        (surfaces,), 0 for one that misses the plane.
    """
    image = np.zeros(shape, np.uint8)
    matrix = np.ascontiguousarray(ct_to_image(pose, probe)[:3])
    added = [_draw_section(image, matrix, *surface.tree, spacing_mm, band_mm) for surface in surfaces]
    return image, np.array(added, dtype=np.int64)


@njit()
def first_runs(full):
    """Each column's first run of label pixels, from row 0 on; (rows, columns) like the label."""
    rows, columns = full.shape
    partial = np.zeros_like(full)
    state = np.zeros(columns, np.uint8)  # 0: above the run, 1: in it, 2: below
    for v in range(rows):
        for u in range(columns):
            if full[v, u] != 0:
                if state[u] < 2:
                    state[u] = 1
                    partial[v, u] = LABEL
            elif state[u] == 1:
                state[u] = 2
    return partial


@njit()
def _draw_section(image, matrix, triangles, boxes, starts, spacing, band):
    """Set the pixels nearer than ``band`` to a triangle to 255; return how many were set.

    ``matrix`` is (3, 4), CT to image millimetres. Boxes of the tree that stay clear of the image rectangle are passed
    over whole.
    """
    rows, columns = image.shape
    first_leaf = (len(boxes) - 1) // 2
    margin = band + 1e-6  # what is passed over is farther than the band, rounding included
    high_u, high_v = columns * spacing + margin, rows * spacing + margin
    stack = np.empty(64, np.int64)
    stack[0] = 0
    size, added = 1, 0
    corners = np.empty((3, 3))
    while size > 0:
        size -= 1
        node = stack[size]
        low, high = np.empty(3), np.empty(3)
        for axis in range(3):
            centre, half = matrix[axis, 3], 0.0
            for k in range(3):
                centre += matrix[axis, k] * 0.5 * (boxes[node, k + 3] + boxes[node, k])
                half += abs(matrix[axis, k]) * 0.5 * (boxes[node, k + 3] - boxes[node, k])
            low[axis], high[axis] = centre - half, centre + half
        if low[2] > margin or high[2] < -margin or low[0] > high_u or high[0] < -margin:
            continue
        if low[1] > high_v or high[1] < -margin:
            continue
        if node < first_leaf:
            stack[size] = 2 * node + 1
            stack[size + 1] = 2 * node + 2
            size += 2
            continue
        for k in range(starts[node - first_leaf], starts[node - first_leaf + 1]):
            for corner in range(3):
                for axis in range(3):
                    corners[corner, axis] = (
                        matrix[axis, 0] * triangles[k, corner, 0]
                        + matrix[axis, 1] * triangles[k, corner, 1]
                        + matrix[axis, 2] * triangles[k, corner, 2]
                        + matrix[axis, 3]
                    )
            added += _draw_triangle(image, corners, spacing, band, margin)
    return added


@njit()
def _draw_triangle(image, t, spacing, band, margin):
    """Set the pixels nearer than ``band`` to one triangle (3, 3) in image millimetres."""
    low_z, high_z = min(t[0, 2], t[1, 2], t[2, 2]), max(t[0, 2], t[1, 2], t[2, 2])
    if low_z > margin or high_z < -margin:
        return 0
    rows, columns = image.shape
    low_x, high_x = min(t[0, 0], t[1, 0], t[2, 0]) - margin, max(t[0, 0], t[1, 0], t[2, 0]) + margin
    low_y, high_y = min(t[0, 1], t[1, 1], t[2, 1]) - margin, max(t[0, 1], t[1, 1], t[2, 1]) + margin
    ux, uy, uz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    wx, wy, wz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
    thick = margin * np.sqrt(nx * nx + ny * ny + nz * nz)
    offset = nx * t[0, 0] + ny * t[0, 1] + nz * t[0, 2]
    added = 0
    for v in range(max(0, int(low_y / spacing - 0.5)), min(rows - 1, int(high_y / spacing)) + 1):
        y = (v + 0.5) * spacing
        from_x, to_x = low_x, high_x
        # a pixel nearer than the band to the triangle is nearer than the band to its plane: an interval of the row
        if abs(nx) > 1e-12:
            one, other = (offset - ny * y - thick) / nx, (offset - ny * y + thick) / nx
            from_x, to_x = max(from_x, min(one, other) - 1e-6), min(to_x, max(one, other) + 1e-6)
        if to_x < 0.0 or from_x > to_x:
            continue
        for u in range(max(0, int(from_x / spacing - 0.5)), min(columns - 1, int(to_x / spacing)) + 1):
            if image[v, u] == 0 and triangle_squared((u + 0.5) * spacing, y, 0.0, t) < band * band:
                image[v, u] = LABEL
                added += 1
    return added
