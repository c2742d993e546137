"""Point clouds of a leg as freehand sweeps and a network's masks give them: one-sided, noisy, with false surfaces.

Every frame of a sweep is a fan of parallel beams; the first surface that a beam meets is the bone it shows. Each frame
is off by its tracking, each mask lies a little too deep or too shallow along smooth curves, parts are missing, and
false surfaces (fascia, reverberation, another bone's edge) lie where there is no bone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.mesh import merge_meshes
from medcli.core.rigid_transforms import ULTRABONES_EULER, rigid_transform, transform_points
from medcli.synthetic.ultrasound.dataset import Leg, plan_sweep
from medcli.ultrabones.dataset.constants import FRAME_HEIGHT, FRAME_WIDTH, PIXEL_SPACING_MM
from medcli.ultrabones.geometry.image_to_ct import PROBE_FROM_IMAGE

_MARGIN_MM = 0.6  # of the triangles looked at on both sides of a frame's plane


@dataclass(frozen=True)
class CloudSettings:
    """How a leg is scanned and how well its bone is found in the frames.

    Attributes:
        frames: of each sweep.
        beams: columns of a frame that a point can come from.
        label_noise_mm: standard deviation of the smooth error in depth along a mask.
        pixel_noise_mm: standard deviation of each point on top.
        tracking_mm, tracking_deg: standard deviation of each component of a frame's pose.
        missing: mean share of a mask that is missing, in one piece.
        outliers: share of the points that are not bone.
    """

    frames: int = 70
    beams: int = 120
    label_noise_mm: float = 0.4
    pixel_noise_mm: float = 0.2
    tracking_mm: float = 0.3
    tracking_deg: float = 0.2
    missing: float = 0.2
    outliers: float = 0.2


def scan_leg(
    leg: Leg,
    anatomies: tuple[str, ...] = ("tibia", "fibula", "foot"),
    seed: int = 0,
    settings: CloudSettings = CloudSettings(),
) -> NDArray[np.float64]:
    """The cloud of one sweep along each bone, (N, 3) in CT millimetres; ``settings.outliers`` of it are not bone."""
    generator = np.random.default_rng([seed, 17])
    triangles = merge_meshes(list(leg.meshes_in_ct().values())).triangles
    parts = []
    for anatomy in anatomies:
        poses = plan_sweep(leg, anatomy, settings.frames, generator).poses @ PROBE_FROM_IMAGE
        for pose in poses:
            seen = first_surface_depths(triangles, pose, settings.beams)
            points = _mask_points(seen, settings, generator)
            shift = generator.normal(0, settings.tracking_mm, 3)
            off = rigid_transform(shift, generator.normal(0, settings.tracking_deg, 3), ULTRABONES_EULER)
            parts.append(transform_points(pose @ off, points))
    return np.concatenate(parts)


def first_surface_depths(
    triangles: NDArray[np.float64], image_to_ct: NDArray[np.float64], beams: int
) -> NDArray[np.float64]:
    """Depth (beams,) in mm at which each beam of a frame first meets a triangle (F, 3, 3); NaN: it meets none."""
    axis, origin = image_to_ct[:3, 2], image_to_ct[:3, 3]
    height = (triangles - origin) @ axis
    cut = triangles[(height.min(axis=1) < _MARGIN_MM) & (height.max(axis=1) > -_MARGIN_MM)]
    local = (cut - origin) @ image_to_ct[:3, :3]
    width_mm, depth_mm = FRAME_WIDTH * PIXEL_SPACING_MM, FRAME_HEIGHT * PIXEL_SPACING_MM
    at = (np.arange(beams) + 0.5) * width_mm / beams
    best = np.full(beams, np.inf)
    crossings = [_crossing(local[:, edge], local[:, (edge + 1) % 3]) for edge in range(3)]
    for first, second in zip(crossings, crossings[1:] + crossings[:1], strict=True):
        low, high = np.minimum(first[:, 0], second[:, 0]), np.maximum(first[:, 0], second[:, 0])
        inside = (low[:, None] <= at) & (high[:, None] >= at) & (high > low)[:, None]
        share = (at - first[:, :1]) / np.where(high > low, second[:, 0] - first[:, 0], 1.0)[:, None]
        depth = first[:, 1:] + share * (second[:, 1:] - first[:, 1:])
        best = np.minimum(best, np.where(inside & (depth > 0), depth, np.inf).min(axis=0, initial=np.inf))
    return np.where(best < depth_mm, best, np.nan)


def _crossing(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where edges a-b (N, 3) cross the plane z = 0, (N, 2); NaN for those that do not."""
    apart = a[:, 2] - b[:, 2]
    share = np.divide(a[:, 2], apart, out=np.full(len(a), np.nan), where=apart != 0)
    share[(share < 0) | (share > 1)] = np.nan
    return np.asarray(a[:, :2] + share[:, None] * (b[:, :2] - a[:, :2]))


def _mask_points(
    depths: NDArray[np.float64], settings: CloudSettings, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Points (N, 3) of one frame's mask in the image's millimetres."""
    beams = len(depths)
    width_mm, depth_mm = FRAME_WIDTH * PIXEL_SPACING_MM, FRAME_HEIGHT * PIXEL_SPACING_MM
    across = (np.arange(beams) + 0.5) * width_mm / beams
    waves = generator.uniform(0, 2 * np.pi, 3)
    smooth = sum(np.cos(2 * np.pi * (k + 1) * across / width_mm + waves[k]) for k in range(3)) * np.sqrt(2 / 3)
    depth = depths + settings.label_noise_mm * smooth + generator.normal(0, settings.pixel_noise_mm, beams)
    start, length = generator.integers(0, beams), int(2 * settings.missing * generator.random() * beams)
    depth[(np.arange(beams) - start) % beams < length] = np.nan
    there = np.isfinite(depth)
    false = round(settings.outliers / (1 - settings.outliers) * np.count_nonzero(there))
    ridge = np.sort(generator.choice(beams, min(false, beams), replace=False)) if false else np.empty(0, int)
    level = generator.uniform(0.1, 0.9) * depth_mm + generator.uniform(-0.2, 0.2) * (across - width_mm / 2)
    scattered = generator.random(len(ridge)) < 0.3
    deep = np.where(scattered, generator.uniform(0, depth_mm, len(ridge)), level[ridge])
    columns = np.concatenate([across[there], across[ridge]])
    return np.stack([columns, np.concatenate([depth[there], deep]), np.zeros(len(columns))], axis=1)
