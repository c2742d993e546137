"""Numba kernels of the distortion correction; the tests compare each with a slow reference implementation.

``model`` is a published calibration as one array of 39 numbers: coefficients (32), S, T (2), R (4).
Coordinates (x, y) are pixel columns and rows of the native image; targets are pixel columns and rows of the
corrected grid, X = (column - 800) · 0.225 mm, Y = -(row - 800) · 0.225 mm.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from medcli.core.compiled import njit
from medcli.veriserum.dataset.detector import GRID_SIZE, GRID_SPAN_MM, NATIVE_HEIGHT, NATIVE_WIDTH

_PX_PER_MM = GRID_SIZE / GRID_SPAN_MM
_CENTRE = GRID_SIZE / 2
_NEWTON_STEPS = 30
_FINE_PX = 1e-9


@njit()
def to_grid(model, x, y):
    """Column and row of the corrected grid at pixel (x, y)."""
    u = model[32] * (model[35] * x - model[36] * y) + model[33]
    v = model[32] * (model[37] * x - model[38] * y) + model[34]
    big_x = 0.0
    big_y = 0.0
    power = 1.0
    for i in range(4):
        k = 4 * i
        big_x += power * (model[k] + v * (model[k + 1] + v * (model[k + 2] + v * model[k + 3])))
        big_y += power * (model[k + 16] + v * (model[k + 17] + v * (model[k + 18] + v * model[k + 19])))
        power *= u
    return big_x * _PX_PER_MM + _CENTRE, -big_y * _PX_PER_MM + _CENTRE


@njit()
def solve(model, column, row, x, y):
    """The pixel (x, y) that maps to (column, row), by Newton's method from a start; derivatives by differences."""
    for _ in range(_NEWTON_STEPS):
        column_0, row_0 = to_grid(model, x, y)
        column_x, row_x = to_grid(model, x + 0.5, y)
        column_w, row_w = to_grid(model, x - 0.5, y)
        column_y, row_y = to_grid(model, x, y + 0.5)
        column_n, row_n = to_grid(model, x, y - 0.5)
        a, b = column_x - column_w, column_y - column_n
        c, d = row_x - row_w, row_y - row_n
        determinant = a * d - b * c
        if determinant == 0.0:
            break
        column_0, row_0 = column - column_0, row - row_0
        step_x = (d * column_0 - b * row_0) / determinant
        step_y = (a * row_0 - c * column_0) / determinant
        # Far outside the image the cubic terms grow; a bounded step keeps the iteration on its branch.
        step_x = min(max(step_x, -200.0), 200.0)
        step_y = min(max(step_y, -200.0), 200.0)
        x += step_x
        y += step_y
        if abs(step_x) < _FINE_PX and abs(step_y) < _FINE_PX:
            break
    return x, y


@njit()
def map_pixels(model, positions):
    """Write column and row of the corrected grid of every native pixel to ``positions`` (1600, 1664, 2) float64."""
    for y in range(positions.shape[0]):
        for x in range(positions.shape[1]):
            positions[y, x, 0], positions[y, x, 1] = to_grid(model, x, y)


@njit()
def nearest_pixels(positions, rows, columns, out):
    """For each grid pixel the native pixel whose mapped centre is nearest in the plane.

    Args:
        positions: (1600, 1664, 2) float64, column and row of the grid that each native pixel maps to.
        rows, columns: (R,), (C,) grid rows and columns, ascending.
        out: (R, C) int32, receives y · 1664 + x.

    Starting from the neighbour's solution, a walk to the best of the eight neighbours ends at the nearest
    pixel. Outside the mapped image the walk follows the image's edge.
    """
    start_x, start_y = positions.shape[1] // 2, positions.shape[0] // 2
    for i in range(len(rows)):
        start_x, start_y = walk_to_nearest(positions, columns[0], rows[i], start_x, start_y)
        x, y = start_x, start_y
        for j in range(len(columns)):
            x, y = walk_to_nearest(positions, columns[j], rows[i], x, y)
            out[i, j] = y * positions.shape[1] + x


@njit()
def walk_to_nearest(positions, column, row, x, y):
    """From pixel (x, y), step to the neighbour mapped nearest to (column, row) until none is nearer."""
    height, width, _ = positions.shape
    best = (positions[y, x, 0] - column) ** 2 + (positions[y, x, 1] - row) ** 2
    while True:
        best_x, best_y = x, y
        for next_y in range(max(y - 1, 0), min(y + 2, height)):
            for next_x in range(max(x - 1, 0), min(x + 2, width)):
                distance = (positions[next_y, next_x, 0] - column) ** 2 + (positions[next_y, next_x, 1] - row) ** 2
                if distance < best:
                    best, best_x, best_y = distance, next_x, next_y
        if best_x == x and best_y == y:
            return x, y
        x, y = best_x, best_y


@njit()
def invert_lattice(model, rows, columns, out):
    """Write the native positions x, y of a lattice of grid positions to ``out`` (R, C, 2) float32; no rounding."""
    start_x, start_y = solve(model, columns[0], rows[0], (NATIVE_WIDTH - 1) / 2, (NATIVE_HEIGHT - 1) / 2)
    for i in range(len(rows)):
        x, y = solve(model, columns[0], rows[i], start_x, start_y)
        start_x, start_y = x, y
        for j in range(len(columns)):
            x, y = solve(model, columns[j], rows[i], x, y)
            out[i, j, 0] = x
            out[i, j, 1] = y


def intensity(image, values, pixel):
    """Intensity of a pixel: looked up by its grey level, or the image's value if it is not an integer."""
    return values[image[pixel]] if image.dtype.kind == "u" else image[pixel]


@overload(intensity)
def _intensity(image, values, pixel):
    """The same, selected when a kernel is compiled."""
    if isinstance(image.dtype, types.Integer):
        return lambda image, values, pixel: np.float64(values[image[pixel]])
    return lambda image, values, pixel: np.float64(image[pixel])


@njit()
def gather_reference(image, values, nearest, first, second, weight, out):
    """Nearest-pixel correction and bilinear reduction in one pass, in the arithmetic of the published procedure.

    Args:
        image: (1600 · 1664,) native image, row by row: grey levels, or float32 intensities.
        values: (256,) float32, grey level -> intensity; not read if the image contains intensities.
        nearest: (R, R) uint32, native pixel of each grid pixel that is read.
        first, second: (size,) uint32 indices into R of the two neighbours along a side.
        weight: (size,) float32, weight of ``second``.
        out: (size, size) uint8.
    """
    for i in range(len(first)):
        above, below = nearest[first[i]], nearest[second[i]]
        lower = np.float64(weight[i])
        upper = np.float64(np.float32(1.0) - weight[i])
        for j in range(len(first)):
            right = np.float64(weight[j])
            left = np.float64(np.float32(1.0) - weight[j])
            a, b = first[j], second[j]
            top = intensity(image, values, above[a]) * left + intensity(image, values, above[b]) * right
            bottom = intensity(image, values, below[a]) * left + intensity(image, values, below[b]) * right
            out[i, j] = np.uint8((top * upper + bottom * lower) * 255.0)


@njit()
def gather_area(image, corners, inside, samples, gain, out):
    """Mean of the image over the footprint of each output pixel; 0 outside the field of view.

    Args:
        image: (H, W) uint8, any size.
        corners: (size + 1, size + 1, 2) float32 native positions x, y of the output pixels' corners.
        inside: (size, size) bool, footprint completely inside the image.
        samples: the footprint is sampled at samples x samples points, bilinearly.
        gain: factor on the mean before it is rounded.
        out: (size, size) uint8.
    """
    height, width = image.shape
    scale_x, scale_y = width / NATIVE_WIDTH, height / NATIVE_HEIGHT
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            if not inside[i, j]:
                out[i, j] = 0
                continue
            total = np.float32(0.0)
            for m in range(samples):
                t = np.float32((m + 0.5) / samples)
                west_x = corners[i, j, 0] + t * (corners[i + 1, j, 0] - corners[i, j, 0])
                west_y = corners[i, j, 1] + t * (corners[i + 1, j, 1] - corners[i, j, 1])
                east_x = corners[i, j + 1, 0] + t * (corners[i + 1, j + 1, 0] - corners[i, j + 1, 0])
                east_y = corners[i, j + 1, 1] + t * (corners[i + 1, j + 1, 1] - corners[i, j + 1, 1])
                for n in range(samples):
                    s = np.float32((n + 0.5) / samples)
                    x = np.float32((west_x + s * (east_x - west_x) + 0.5) * scale_x - 0.5)
                    y = np.float32((west_y + s * (east_y - west_y) + 0.5) * scale_y - 0.5)
                    total += bilinear(image, x, y)
            value = total / np.float32(samples * samples) * np.float32(gain) + np.float32(0.5)
            out[i, j] = np.uint8(min(value, np.float32(255.0)))


@njit()
def bilinear(image, x, y):
    """Value of an (H, W) image at column x, row y; beyond the outermost pixel centres the edge value."""
    height, width = image.shape
    x = min(max(x, np.float32(0.0)), np.float32(width - 1))
    y = min(max(y, np.float32(0.0)), np.float32(height - 1))
    left, top = min(int(x), width - 2), min(int(y), height - 2)
    s, t = x - np.float32(left), y - np.float32(top)
    upper = image[top, left] + s * (np.float32(image[top, left + 1]) - np.float32(image[top, left]))
    lower = image[top + 1, left] + s * (np.float32(image[top + 1, left + 1]) - np.float32(image[top + 1, left]))
    return upper + t * (lower - upper)
