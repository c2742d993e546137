"""The two image planes: their names, the size of their images, and the grid of corrected images."""

from __future__ import annotations

PLANES = ("bs", "fs")
"""The planes in the order in which a pair's images are stacked."""
NATIVE_WIDTH, NATIVE_HEIGHT = 1664, 1600
"""Size in pixels of the images that the calibrations were measured on."""
GRID_SIZE = 1600
"""Pixels along each side of the corrected grid."""
GRID_SPAN_MM = 360.0
"""Millimetres at the detector that the corrected grid spans."""
PIXEL_MM = GRID_SPAN_MM / GRID_SIZE
"""Size of a pixel of the corrected grid, 0.225 mm."""
