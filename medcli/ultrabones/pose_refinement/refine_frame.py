"""Refine the tracked pose of a frame so that bright pixels lie on the bone.

The method of Wu et al., Computers in Biology and Medicine 194 (2025) 110435: minimise J (see
``pose_optimizer``) over poses within 1 mm and 1 degree of the tracked one, in frames where the bone
shows. Where the published optimiser (differential evolution, stopped early) ends differs from run to run; here the
result is a function of image, pose, mesh and seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.rigid_transforms import rotation_angle_deg, transform_points
from medcli.ultrabones.dataset.constants import PIXEL_SPACING_MM
from medcli.ultrabones.dataset.probe import ULTRABONES100K, Probe
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.image_to_ct import corner_to_probe, image_to_ct, pixels_to_image, probe_to_ct
from medcli.ultrabones.pose_refinement import pose_optimizer
from medcli.ultrabones.pose_refinement.distance_field import DistanceField

_STEP = 2  # every second row and column, the odd ones
_BONE_REACH_MM = 3.0


@dataclass(frozen=True)
class RefineSettings:
    """How poses are refined; the defaults hold the published bounds and thresholds.

    Attributes:
        seed: of the search's random numbers.
        bound: farthest change of each component, millimetres and degrees.
        reach_mm: pixels nearer than this to the bone at the tracked pose take part.
        darkest: and only those with at least this grey value, 0 to 1.
        generations, offspring: length of the search; their product is the number of times J is computed.
        sigma: its first step, millimetres and degrees.
    """

    seed: int = 0
    bound: float = 1.0
    reach_mm: float = 2.5
    darkest: float = 10 / 255
    generations: int = 60
    offspring: int = 20
    sigma: float = 0.4


@dataclass(frozen=True)
class Refinement:
    """What became of one frame's pose.

    Attributes:
        timestamp: of the frame, milliseconds.
        refined: whether the pose was changed.
        reason: why it was not, empty when it was.
        pose: (6,), the pose to use: refined, or as tracked.
        displacement_mm: distance that the marker's origin moved.
        rotation_deg: angle of the rotation between the two poses.
        j_before: J of the tracked pose by exact distances, NaN where it was not computed.
        j_after: J of ``pose``, likewise.
    """

    timestamp: int
    refined: bool
    reason: str
    pose: NDArray[np.float64]
    displacement_mm: float = 0.0
    rotation_deg: float = 0.0
    j_before: float = float("nan")
    j_after: float = float("nan")


@dataclass(frozen=True)
class BonePixels:
    """The pixels that take part in the refinement of a frame.

    Attributes:
        points: (N, 3), their centres in probe millimetres.
        grey: (N,), 0 to 1.
        distance: (N,), to the nearest bone at the tracked pose, millimetres.
        share: area of a pixel over that of a native one of UltraBones100k, so that J is of areas for every probe.
    """

    points: NDArray[np.float64]
    grey: NDArray[np.float64]
    distance: NDArray[np.float64]
    share: float = 1.0

    @property
    def weights(self) -> NDArray[np.float64]:
        """(N,): what each pixel adds to -J when it lies on the bone."""
        return self.share * np.exp(5.0 * self.grey)


def refine_frame(
    image: NDArray[np.uint8],
    pose: NDArray[np.float64],
    spacing_mm: float,
    surfaces: Sequence[Surface],
    field: DistanceField,
    timestamp: int = 0,
    settings: RefineSettings = RefineSettings(),
    probe: Probe = ULTRABONES100K,
) -> Refinement:
    """Refine the pose (6,) of a frame (rows, columns) of 8-bit grey.

    Args:
        surfaces: the bones; J before and after is computed with exact distances to them.
        field: their distance field, which the search uses.
        timestamp: together with the seed it picks the random numbers, so that no frame depends on another.
    """
    grey = image[1::_STEP, 1::_STEP].astype(np.float64) / 255.0
    distances = [_grid_distances(surface, pose, spacing_mm, grey.shape, probe) for surface in surfaces]
    if not any(_shows_bone(grey, distance) for distance in distances):
        return Refinement(timestamp, False, _why_hidden(distances), pose)
    pixels = select_pixels(grey, np.min(distances, axis=0), spacing_mm, settings, probe)
    if len(pixels.grey) == 0 or _mean_of_brightest(pixels.grey) < 0.45:
        return Refinement(timestamp, False, "bone not bright enough", pose)
    if pixels.distance.min() > 0.9:
        return Refinement(timestamp, False, "no bright pixel near the bone", pose)
    rng = np.random.default_rng([settings.seed, timestamp])
    draws = rng.standard_normal((settings.generations, settings.offspring, 6))
    found, _ = pose_optimizer.search(
        pose, settings.bound, settings.sigma, draws, pixels.points, pixels.weights, *field.arrays
    )
    before, after = (exact_objective(x, pose, pixels, surfaces) for x in (pose, found))
    if not after < before:
        return Refinement(timestamp, False, "no better pose found", pose, j_before=before, j_after=before)
    turned = probe_to_ct(pose)[:3, :3].T @ probe_to_ct(found)[:3, :3]
    displacement_mm = float(np.linalg.norm(found[:3] - pose[:3]))
    return Refinement(timestamp, True, "", found, displacement_mm, float(rotation_angle_deg(turned)), before, after)


def exact_objective(
    pose: NDArray[np.float64], start: NDArray[np.float64], pixels: BonePixels, surfaces: Sequence[Surface]
) -> float:
    """J of a pose (6,) against the tracked pose ``start``, with exact distances to the triangles."""
    points = transform_points(probe_to_ct(pose), pixels.points)
    limit = pose_optimizer.NEAR_MM
    near = np.any([surface.distances(points, limit) < limit for surface in surfaces], axis=0)
    if not near.any():
        return 0.0
    return float(pose_optimizer.marker_cost(pose, start) - pixels.weights[near].sum())


def select_pixels(
    grey: NDArray[np.float64],
    distance: NDArray[np.float64],
    spacing_mm: float,
    settings: RefineSettings,
    probe: Probe = ULTRABONES100K,
) -> BonePixels:
    """The pixels near the bone that are not black, from the grid of odd rows and columns."""
    rows, columns = np.nonzero((distance <= settings.reach_mm) & (grey >= settings.darkest))
    in_image = pixels_to_image(_STEP * columns + 1, _STEP * rows + 1, spacing_mm)
    points = np.ascontiguousarray(transform_points(corner_to_probe(probe), in_image))
    return BonePixels(points, grey[rows, columns], distance[rows, columns], (spacing_mm / PIXEL_SPACING_MM) ** 2)


def _grid_distances(
    surface: Surface, pose: NDArray[np.float64], spacing_mm: float, shape: tuple[int, ...], probe: Probe
) -> NDArray[np.float64]:
    """Distances of the centres of the odd pixels to a surface, ``inf`` from 3 mm on."""
    plane = image_to_ct(pose, probe)
    plane[:3, 3] += (plane[:3, 0] + plane[:3, 1]) * 1.5 * spacing_mm  # centre of pixel (1, 1)
    return surface.plane_distances(plane, (shape[0], shape[1]), _STEP * spacing_mm, _BONE_REACH_MM)


def _shows_bone(grey: NDArray[np.float64], distance: NDArray[np.float64]) -> bool:
    near = grey[distance < _BONE_REACH_MM]
    return bool(near.size and near.max() > 150 / 255 and _mean_of_brightest(near) >= 0.4)


def _why_hidden(distances: Sequence[NDArray[np.float64]]) -> str:
    if any(np.isfinite(distance).any() for distance in distances):
        return "bone not bright enough"
    return "bone farther than 3 mm"


def _mean_of_brightest(grey: NDArray[np.float64]) -> float:
    """Mean of the values above the 95th percentile (of that itself, where no value is above it)."""
    threshold = np.percentile(grey, 95)
    above = grey[grey > threshold]
    return float(above.mean()) if above.size else float(threshold)
