"""Simulated X-ray image of a knee with metal components, from path lengths to the native 8-bit image.

Steps: attenuation along each ray (Beer-Lambert, effective coefficients at about 70 kV), an uneven beam, scatter and
veiling glare, the round field of the intensifier, its blur, the distortion, quantum noise, 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.mesh import Mesh
from medcli.synthetic.fluoroscopy.solids import loft
from medcli.veriserum.dataset.detector import GRID_SIZE, PIXEL_MM
from medcli.veriserum.geometry.biplane import Camera, ImageGrid

Image = NDArray[Any]
"""(H, W) float32, 0 to 1."""

METAL_PER_MM, BONE_PER_MM, SOFT_PER_MM = 0.17, 0.016, 0.006
FIELD_RADIUS_MM = 174.0
_BLUR_MM = 0.32
_GLARE_SHARE, _GLARE_MM = 0.16, 28.0
_DARK = 0.02
_COARSE, _VERY_COARSE = 2, 16  # soft shapes and glare need no full resolution
_QUANTA = 2600.0  # detected quanta per pixel at full brightness
_GRAIN_SPREAD = 0.5  # standard deviation of unit noise after the 3 x 3 Gaussian of sigma 0.6 pixel


@dataclass(frozen=True)
class AttenuatingBody:
    """An object in the beam: a closed mesh, its pose (4, 4), and its attenuation coefficient in 1/mm.

    A negative coefficient hollows out what surrounds it.
    """

    mesh: Mesh
    pose: NDArray[np.float64]
    per_mm: float
    is_sharp: bool = False


def leg_bodies(femur: NDArray[np.float64], tibia: NDArray[np.float64]) -> list[AttenuatingBody]:
    """Bones (a dense shell around a lighter core) and soft tissue about two components at their poses."""
    bodies = []
    for pose, direction, width in ((femur, 1.0, 29.0), (tibia, -1.0, 31.0)):
        bone, marrow = _shaft(direction, width, 14.5, 2.0), _shaft(direction, width - 2.0, 8.5, 5.0)
        flesh = _shaft(direction, 57.0, 51.0, -26.0, depth_share=0.9, rounding_mm=38.0)
        bodies += [AttenuatingBody(bone, pose, BONE_PER_MM), AttenuatingBody(marrow, pose, -0.75 * BONE_PER_MM)]
        bodies.append(AttenuatingBody(flesh, pose, SOFT_PER_MM))
    return bodies


def _shaft(
    direction: float, wide: float, narrow: float, start: float, depth_share: float = 0.72, rounding_mm: float = 3.0
) -> Mesh:
    """A round-ended shaft along y: half as wide as ``2 wide`` near the joint, as ``2 narrow`` from 70 mm on."""
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    bend = rounding_mm * (1 - np.cos(np.linspace(0.12, 1, 9) * np.pi / 2))
    heights = np.concatenate([bend, np.linspace(rounding_mm, 70, 18)[1:], [110, 160, 220]])
    share = 0.5 + 0.5 * np.cos(np.pi * np.clip(heights / 70, 0, 1))
    roundness = np.sqrt(1 - np.clip(1 - heights / rounding_mm, 0, 1) ** 2)
    widths = (narrow + (wide - narrow) * share) * roundness
    depths = (narrow + (depth_share * wide - narrow) * share) * roundness
    rings = [
        np.stack([w * np.cos(angles), np.full(64, direction * (h + start)), d * np.sin(angles)], 1)
        for h, w, d in zip(heights, widths, depths, strict=True)
    ]
    return loft(np.stack(rings))


def render_xray(bodies: list[AttenuatingBody], camera: Camera) -> Image:
    """The undistorted, noise-free image, (1600, 1600) float32 in 0 to 1, on the grid of calibrated images."""
    coarse = _attenuation([body for body in bodies if not body.is_sharp], camera, GRID_SIZE // _COARSE)
    attenuation: Image = cv2.resize(coarse, (GRID_SIZE, GRID_SIZE), interpolation=cv2.INTER_LINEAR)
    attenuation += _attenuation([body for body in bodies if body.is_sharp], camera, GRID_SIZE)
    return detect(attenuation)


def detect(attenuation: Image) -> Image:
    """From attenuation (1600, 1600) to the intensifier's image: beam, glare, blur, round field."""
    primary: Image = cv2.exp(-attenuation) * _beam()
    small = cv2.resize(primary, None, fx=1 / _VERY_COARSE, fy=1 / _VERY_COARSE, interpolation=cv2.INTER_AREA)
    glare = cv2.GaussianBlur(small, (0, 0), _GLARE_MM / (PIXEL_MM * _VERY_COARSE))
    image: Image = cv2.GaussianBlur(primary, (0, 0), _BLUR_MM / PIXEL_MM)
    image *= 1 - _GLARE_SHARE
    image += _GLARE_SHARE * cv2.resize(glare, (GRID_SIZE, GRID_SIZE), interpolation=cv2.INTER_LINEAR)
    image *= _field()
    image += np.float32(_DARK)
    return image


def _attenuation(bodies: list[AttenuatingBody], camera: Camera, size: int) -> Image:
    """Sum of coefficient times path length, (size, size)."""
    grid = ImageGrid.calibrated(size)
    total = np.zeros((size, size), np.float32)
    for body in bodies:
        rows, columns = _window(body, camera, grid)
        part = grid.cropped(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        if part.columns > 0 and part.rows > 0:
            total[rows, columns] += body.per_mm * camera.path_length(body.mesh, body.pose, part)
    return np.maximum(total, 0, out=total)


def _window(body: AttenuatingBody, camera: Camera, grid: ImageGrid) -> tuple[slice, slice]:
    """The rows and columns of the grid that a body can touch."""
    corners = body.mesh.vertices @ body.pose[:3, :3].T + body.pose[:3, 3]
    pixels = grid.to_pixels(camera.project(corners))
    first = np.clip(np.floor(pixels.min(axis=0)), 0, [grid.columns, grid.rows]).astype(int)
    last = np.clip(np.ceil(pixels.max(axis=0)) + 1, 0, [grid.columns, grid.rows]).astype(int)
    return slice(int(first[1]), int(last[1])), slice(int(first[0]), int(last[0]))


def _radius_mm() -> tuple[Image, Image, Image]:
    """Distance from the centre of the field, and position to the right and up, in millimetres."""
    along = ((np.arange(GRID_SIZE) - GRID_SIZE / 2) * PIXEL_MM).astype(np.float32)
    x, y = np.meshgrid(along, -along)
    return np.sqrt(x * x + y * y), x, y


@lru_cache(maxsize=1)
def _beam() -> Image:
    """Brightness of the open beam: less towards the rim (vignetting) and towards the anode (heel effect)."""
    radius, x, y = _radius_mm()
    share = radius / np.float32(FIELD_RADIUS_MM)
    return np.float32(0.93) * (1 - np.float32(0.24) * share * share) * (1 + np.float32(0.0004) * (x + 0.5 * y))


@lru_cache(maxsize=1)
def _field() -> Image:
    """1 inside the intensifier's round field, 0 outside, with a soft rim."""
    radius, _, _ = _radius_mm()
    return np.asarray(np.clip((np.float32(FIELD_RADIUS_MM) - radius) / np.float32(0.8) + np.float32(0.5), 0, 1))


def to_native(image: Image, lattice: NDArray[np.float32]) -> Image:
    """Distort an image (1600, 1600) as the intensifier does: native(x, y) = image at ``lattice[y, x]``."""
    outside: Any = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": _DARK}
    return cv2.remap(image, lattice, np.empty(0), cv2.INTER_CUBIC, **outside)


def digitise(native: Image, generator: np.random.Generator, noise: float) -> NDArray[np.uint8]:
    """Add quantum and electronic noise and convert to 8 bits.

    Args:
        native: (H, W) float32 in 0 to 1.
        noise: factor on the noise; 0 for none, 1 for a usual dose.
    """
    if noise > 0:
        grain: Image = generator.standard_normal(native.shape, dtype=np.float32)
        # Light spreads in the screen, so that the noise of neighbouring pixels is correlated.
        grain = cv2.GaussianBlur(grain, (3, 3), 0.6)
        spread = np.sqrt(np.maximum(native, 0) / np.float32(_QUANTA) + np.float32(0.004**2))
        native = native + np.float32(noise / _GRAIN_SPREAD) * spread * grain
    image: Any = cv2.convertScaleAbs(np.maximum(native, 0), alpha=255.0)  # rounds and saturates at 255
    return np.asarray(image)
