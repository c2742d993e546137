"""Augmentation of pose training on whole batches: shifts with the pose corrected, photometric changes, blur and noise.

The paper (Wang et al., MICCAI 2025) states no augmentation beyond resizing to 256 x 256, so the transforms and ranges
here are **assumed**: those that are usual for X-ray images, small enough to stay within what a fluoroscope records.
Every number is in a constant below.

**Shifts.** One image moved by some pixels shows no pose of the implant in both planes at once, so the implant is moved
and both images follow. It is translated by t (world, mm) parallel to plane bs, the sources stay where they are, and the
rotation is unchanged. In the coordinates (h, v, n) of either plane, with the source at the principal point p and the
distance f, and the implant's origin at the depth w = f - n from the source, a point at that depth is projected to

    u = p + f / w (x - p),  and after the translation to  u' = p + f / (w - t_n) (x + t_hv - p),

hence u' = p + w / (w - t_n) (u - p) + f / (w - t_n) t_hv: a shift, and in plane fs also a magnification by a few
thousandths, because t has a component along its normal. Each plane is resampled once by the inverse of that map. It is
exact for what lies at the depth of the implant's origin. A point d mm nearer to the source moves on the detector by
about f |t| d / w^2 more: 0.4 mm at 40 mm, for the largest shift, or 0.3 pixels of a 256 x 256 image
(``tests/veriserum/pose/test_augmentation.py`` compares with the renderer). What enters at an edge repeats the edge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medcli.core.errors import DataError
from medcli.training.seeds import random_stream
from medcli.veriserum.dataset.detector import GRID_SIZE, PIXEL_MM, PLANES
from medcli.veriserum.dataset.trial_splits import Ids
from medcli.veriserum.geometry.biplane import DualPlane

SHIFT_MM = 10.0
"""Largest translation of the implant along each axis of plane bs, at the implant: about 14 mm on the detector."""
GAMMA, CONTRAST, BRIGHTNESS = (0.75, 1.33), (0.8, 1.2), (-0.1, 0.1)
"""Exponent of grey values from 0 to 1; factor on their distance from the image's mean; what is added."""
NOISE = (0.0, 0.03)
"""Standard deviation of Gaussian noise, of grey values from 0 to 1."""
BLUR_PX, BLUR_SHARE = (0.3, 1.0), 0.5
"""Standard deviation of the Gaussian blur, in pixels; share of the images that are blurred."""
_BLUR_RADIUS = 3
_HALF_MM, _CENTRE_MM = GRID_SIZE * PIXEL_MM / 2, -PIXEL_MM / 2
"""Half the edge of a calibrated image, and its centre to the right of the plane's (and as much above it, negated)."""
NUMBERS = 13
"""Of a plane: its axes h, v, n in the world (9), the principal point (2), the distance f, the implant's depth w."""


@dataclass(frozen=True)
class PoseAugmentation:
    """What happens to each pair of a batch; planes bs and fs along the second axis.

    Attributes:
        shift_mm: (B, 2) of the implant, right and up in plane bs.
        gamma, contrast, brightness, noise, blur_px: (B, 2) each, see the constants; a blur of 0 is none.
        noise_seed: of the noise of the whole batch.
    """

    shift_mm: NDArray[np.float64]
    gamma: NDArray[np.float64]
    contrast: NDArray[np.float64]
    brightness: NDArray[np.float64]
    noise: NDArray[np.float64]
    blur_px: NDArray[np.float64]
    noise_seed: int


def draw_augmentation(pairs: int, seed: int, *place: int) -> PoseAugmentation:
    """Draw for a batch of ``pairs``; it follows from the seed and the place in the run, (epoch, step, process)."""
    stream, shape = random_stream(seed, *place), (pairs, 2)
    return PoseAugmentation(
        shift_mm=stream.uniform(-SHIFT_MM, SHIFT_MM, shape),
        gamma=np.exp(stream.uniform(np.log(GAMMA[0]), np.log(GAMMA[1]), shape)),
        contrast=stream.uniform(*CONTRAST, shape),
        brightness=stream.uniform(*BRIGHTNESS, shape),
        noise=stream.uniform(*NOISE, shape),
        blur_px=stream.uniform(*BLUR_PX, shape) * (stream.random(shape) < BLUR_SHARE),
        noise_seed=int(stream.integers(2**62)),
    )


def pair_numbers(
    cameras: Callable[[int], DualPlane], ids: Ids, translations_mm: NDArray[np.floating]
) -> NDArray[np.float32]:
    """What a shift needs to know of each pair.

    Args:
        cameras: both cameras of a pose id.
        ids: (N,).
        translations_mm: (N, 3), the implant's origin in the world.

    Returns:
        (N, 2, 13) float32, see :data:`NUMBERS`; planes bs and fs.

    Raises:
        DataError: the calibration of a pair is unknown.
    """
    rows = np.empty((len(ids), len(PLANES), NUMBERS), np.float32)
    for row, number, origin in zip(rows, ids.tolist(), np.asarray(translations_mm, np.float64), strict=True):
        try:
            both = cameras(number)
        except DataError as error:
            hint = "shifts need the source-intensifier calibrations; train without them: --augment none"
            raise DataError(f"pair {number} cannot be augmented: {error.message}", hint) from error
        for values, name in zip(row, PLANES, strict=True):
            camera = both.camera(name)
            axes = camera.plane.to_world[:3, :3].T
            depth = camera.distance_mm - axes[2] @ (origin - camera.plane.centre_mm)
            values[:] = [*axes.ravel(), *camera.principal_point_mm, camera.distance_mm, depth]
    return rows


def augment_pairs(planes: Tensor, targets: Tensor, numbers: Tensor, plan: PoseAugmentation) -> tuple[Tensor, Tensor]:
    """Augment a batch.

    Args:
        planes: (B, 2, S, S) uint8 or float32, grey values from 0 to 255.
        targets: (B, 9), the translation in the world (mm) first.
        numbers: (B, 2, 13), see :func:`pair_numbers`.
        plan: what happens.

    Returns:
        planes as float32 from 0 to 255, and the targets of the moved implants.
    """
    moved, targets = shift_pairs(planes, targets, numbers, _as(plan.shift_mm, planes))
    grey = (moved / 255).clamp(0, 1) ** _by_plane(plan.gamma, planes)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    grey = mean + (grey - mean) * _by_plane(plan.contrast, planes) + _by_plane(plan.brightness, planes)
    grey = _blur(grey, _as(plan.blur_px, planes))
    generator = torch.Generator(grey.device).manual_seed(plan.noise_seed)
    noise = torch.randn(grey.shape, generator=generator, device=grey.device)
    return (grey + noise * _by_plane(plan.noise, planes)).clamp(0, 1) * 255, targets


def shift_pairs(planes: Tensor, targets: Tensor, numbers: Tensor, shift_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Translate the implants by ``shift_mm`` (B, 2), right and up in plane bs; both images follow, see the module."""
    axes = numbers[:, :, :9].reshape(-1, len(PLANES), 3, 3)
    point, distance, depth = numbers[:, :, 9:11], numbers[:, :, 11], numbers[:, :, 12]
    world = (shift_mm[:, :, None] * axes[:, 0, :2]).sum(dim=1)
    by_plane = torch.einsum("bpij,bj->bpi", axes, world)
    scale = (depth - by_plane[:, :, 2]) / depth
    centre = _as(np.array([_CENTRE_MM, -_CENTRE_MM]), point)
    # From a position of the result to that in the image: u = p + scale (u' - p) - f / w t_hv; here from the centre.
    offset = (scale[..., None] - 1) * (centre - point) - (distance / depth)[..., None] * by_plane[:, :, :2]
    maps = planes.new_zeros((*scale.shape, 2, 3), dtype=torch.float32)
    maps[..., 0, 0] = maps[..., 1, 1] = scale
    maps[..., 0, 2], maps[..., 1, 2] = offset[..., 0] / _HALF_MM, -offset[..., 1] / _HALF_MM
    stacked = planes.float().flatten(0, 1)[:, None]
    places = functional.affine_grid(maps.flatten(0, 1), list(stacked.shape), align_corners=False)
    moved = functional.grid_sample(stacked, places, "bilinear", "border", align_corners=False)
    corrected = torch.cat([targets[:, :3] + world.to(targets.dtype), targets[:, 3:]], dim=1)
    return moved.reshape(planes.shape), corrected


def _blur(grey: Tensor, sigmas_px: Tensor) -> Tensor:
    """Gaussian blur of (B, 2, S, S), each image by its own standard deviation; 0: unchanged."""
    steps = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=grey.device, dtype=grey.dtype)
    weights = torch.exp(-0.5 * (steps / sigmas_px.flatten()[:, None].clamp(min=1e-3)) ** 2)
    weights = (weights / weights.sum(dim=1, keepdim=True))[:, None, :, None]
    images = grey.flatten(0, 1)[None]
    for kernel, pad in (
        (weights, (0, 0, _BLUR_RADIUS, _BLUR_RADIUS)),
        (weights.mT, (_BLUR_RADIUS, _BLUR_RADIUS, 0, 0)),
    ):
        images = functional.conv2d(functional.pad(images, pad, "replicate"), kernel, groups=images.shape[1])
    return images.reshape(grey.shape)


def _as(values: NDArray[np.float64], like: Tensor) -> Tensor:
    numbers = torch.from_numpy(values).float()
    if like.is_cuda:  # from pinned memory the copy does not wait
        numbers = numbers.pin_memory()
    return numbers.to(like.device, non_blocking=True)


def _by_plane(values: NDArray[np.float64], like: Tensor) -> Tensor:
    return _as(values, like)[:, :, None, None]
