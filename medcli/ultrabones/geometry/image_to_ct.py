"""From a pixel of an ultrasound frame to the CT scan: the conventions, stated once and used by everything.

Frames of reference, all in millimetres:

- *pixel*: column u to the right, row v down, integers at pixel **centres**' indices: pixel (u, v) covers
  [u, u + 1) x [v, v + 1), so its centre lies at (u + ½, v + ½).
- *image*: (s (u + ½), s (v + ½), 0) with s the pixel spacing (``space_factor`` of ``tracking.csv``); z leaves it.
- *probe*: the optical marker on the ultrasound probe; C, ``corner_to_probe`` of a :class:`Probe`, is its fixed
  calibration, ``PROBE_FROM_IMAGE`` that of UltraBones100k.
- *CT*: the coordinates of the CT scan and its bone meshes; a row of ``tracking.csv`` is the pose T of the probe in it.

p_CT = T · C · (s (u + ½), s (v + ½), 0, 1), each rigid transform from a translation and *extrinsic* x-y-z Euler angles,
R(a, b, c) = Rz(c) Ry(b) Rx(a), in degrees. A pose is six numbers, ``(x, y, z, euler_x, euler_y, euler_z)``.
Source: Wu et al., Computers in Biology and Medicine 194 (2025) 110435, and its published label images, which these
numbers reproduce.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcli.core.errors import DataError
from medcli.core.rigid_transforms import ULTRABONES_EULER, invert_rigid, rigid_transform, transform_points
from medcli.ultrabones.dataset.constants import (
    CALIBRATION_ANGLES_DEG,
    CALIBRATION_TRANSLATION_MM,
    FRAME_HEIGHT,
    FRAME_WIDTH,
)
from medcli.ultrabones.dataset.probe import ULTRABONES100K, Probe

FRAME_SHAPE = (FRAME_HEIGHT, FRAME_WIDTH)
"""Rows and columns of an UltraBones100k frame: 43.7 x 51.2 mm."""

PROBE_FROM_IMAGE: NDArray[np.float64] = rigid_transform(
    CALIBRATION_TRANSLATION_MM, CALIBRATION_ANGLES_DEG, ULTRABONES_EULER
)
"""(4, 4): image millimetres to the probe's marker; the calibration of the published records."""


@lru_cache(maxsize=16)
def corner_to_probe(probe: Probe) -> NDArray[np.float64]:
    """C: (4, 4), millimetres from the top-left corner of the image to the probe's marker. Not to be changed."""
    if probe.is_published:
        return PROBE_FROM_IMAGE
    matrix = np.array(probe.image_to_probe)
    matrix[:3, 3] -= matrix[:3, :2] @ probe.origin_mm
    matrix.setflags(write=False)
    return matrix


def probe_to_ct(pose: ArrayLike) -> NDArray[np.float64]:
    """T: (..., 4, 4) from poses (..., 6) in millimetres and degrees."""
    pose = np.asarray(pose, dtype=np.float64)
    if pose.shape[-1:] != (6,):
        raise ValueError(f"a pose is (..., 6): x y z euler_x euler_y euler_z, got {pose.shape}")
    return rigid_transform(pose[..., :3], pose[..., 3:], ULTRABONES_EULER)


def image_to_ct(pose: ArrayLike, probe: Probe = ULTRABONES100K) -> NDArray[np.float64]:
    """T · C: (..., 4, 4), image millimetres to CT millimetres."""
    return probe_to_ct(pose) @ corner_to_probe(probe)


def ct_to_image(pose: ArrayLike, probe: Probe = ULTRABONES100K) -> NDArray[np.float64]:
    """(T · C)^-1: (..., 4, 4); the section of a mesh with the image plane is z = 0 there."""
    return invert_rigid(image_to_ct(pose, probe))


def pixels_to_image(columns: ArrayLike, rows: ArrayLike, spacing_mm: float) -> NDArray[np.float64]:
    """Centres of pixels in image millimetres, (N, 3), from columns (N,) and rows (N,)."""
    u = np.asarray(columns, dtype=np.float64)
    return np.stack([(u + 0.5) * spacing_mm, (np.asarray(rows) + 0.5) * spacing_mm, np.zeros_like(u)], axis=-1)


def pixels_to_ct(
    pose: ArrayLike, columns: ArrayLike, rows: ArrayLike, spacing_mm: float, probe: Probe = ULTRABONES100K
) -> NDArray[np.float64]:
    """Centres of pixels in CT millimetres, (N, 3), for one pose (6,)."""
    return transform_points(image_to_ct(pose, probe), pixels_to_image(columns, rows, spacing_mm))


def check_frame_size(shape: tuple[int, ...], spacing_mm: float, path: str, probe: Probe = ULTRABONES100K) -> None:
    """Raise :class:`DataError` for a frame of another field of view, which the probe's calibration does not hold for.

    Resized frames with a ``space_factor`` to match pass; cropped ones and those of another depth do not.
    """
    expected = probe.frame_shape(spacing_mm)
    if any(abs(length - wanted) > 1 for length, wanted in zip(shape, expected, strict=True)):
        raise DataError(
            f"{path} is {shape[1]} x {shape[0]} pixels, expected {expected[1]} x {expected[0]} at {spacing_mm:g} mm a "
            "pixel: the probe's calibration holds for that field of view only",
            None if probe.is_published else f"the calibration is that of {probe.name}; --probe names another",
        )
