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
LABEL_BAND_MM = 0.1
"""Half the thickness of the bone in a label, see ``labelling.mesh_section``."""


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
        gain: weight of the pixels on the bone (J without the marker's way) at ``pose`` over that at the tracked pose.
        grey_before: mean grey value, 0 to 255, of the odd pixels on the label at the tracked pose.
        grey_after: the same at ``pose``.
    """

    timestamp: int
    refined: bool
    reason: str
    pose: NDArray[np.float64]
    displacement_mm: float = 0.0
    rotation_deg: float = 0.0
    j_before: float = float("nan")
    j_after: float = float("nan")
    gain: float = float("nan")
    grey_before: float = float("nan")
    grey_after: float = float("nan")


@dataclass(frozen=True)
class BonePixels:
    """The pixels that take part in the refinement of a frame.

    Attributes:
        points: (N, 3), their centres in probe millimetres.
        grey: (N,), 0 to 1.
        distance: (N,), to the nearest bone at the tracked pose, millimetres.
        share: area of a pixel over that of a native one of UltraBones100k, so that J is of areas for every probe.
        positions: their row and column among the odd pixels.
    """

    points: NDArray[np.float64]
    grey: NDArray[np.float64]
    distance: NDArray[np.float64]
    share: float = 1.0
    positions: tuple[NDArray[np.int64], NDArray[np.int64]] = (np.empty(0, np.int64), np.empty(0, np.int64))

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
    grey = odd_pixels(image)
    pixels = usable_pixels(grey, pose, spacing_mm, surfaces, settings, probe)
    if isinstance(pixels, str):
        return Refinement(timestamp, False, pixels, pose)
    rng = np.random.default_rng([settings.seed, timestamp])
    draws = rng.standard_normal((settings.generations, settings.offspring, 6))
    found, _ = pose_optimizer.search(
        pose, settings.bound, settings.sigma, draws, pixels.points, pixels.weights, *field.arrays
    )
    before, after = (exact_objective(x, pose, pixels, surfaces) for x in (pose, found))
    if not after < before:
        return Refinement(timestamp, False, "no better pose found", pose, j_before=before, j_after=before)
    return judge_change(timestamp, grey, pose, found, spacing_mm, surfaces, before, after, probe)


def judge_change(
    timestamp: int,
    grey: NDArray[np.float64],
    pose: NDArray[np.float64],
    found: NDArray[np.float64],
    spacing_mm: float,
    surfaces: Sequence[Surface],
    before: float,
    after: float,
    probe: Probe = ULTRABONES100K,
) -> Refinement:
    """A refinement from ``pose`` (6,) to ``found`` (6,) with its sizes; ``grey`` as of :func:`odd_pixels`."""
    turned = probe_to_ct(pose)[:3, :3].T @ probe_to_ct(found)[:3, :3]
    way_mm, angle_deg = float(np.linalg.norm(found[:3] - pose[:3])), float(rotation_angle_deg(turned))
    weight = pose_optimizer.marker_cost(found, pose) - after if after else 0.0
    greys = [_label_grey(grey, one, spacing_mm, surfaces, probe) for one in (pose, found)]
    gain = float(weight / -before) if before else float("nan")
    return Refinement(timestamp, True, "", found, way_mm, angle_deg, before, after, gain, *greys)


def odd_pixels(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The pixels with odd row and odd column, 0 to 1."""
    return np.asarray(image[1::_STEP, 1::_STEP].astype(np.float64) / 255.0)


def usable_pixels(
    grey: NDArray[np.float64],
    pose: NDArray[np.float64],
    spacing_mm: float,
    surfaces: Sequence[Surface],
    settings: RefineSettings,
    probe: Probe = ULTRABONES100K,
) -> BonePixels | str:
    """The pixels of a frame that take part, or, by the published rules, why it is left alone."""
    distances = [_grid_distances(surface, pose, spacing_mm, grey.shape, probe) for surface in surfaces]
    if not any(_shows_bone(grey, distance) for distance in distances):
        return _why_hidden(distances)
    pixels = select_pixels(grey, np.min(distances, axis=0), spacing_mm, settings, probe)
    if len(pixels.grey) == 0 or _mean_of_brightest(pixels.grey) < 0.45:
        return "bone not bright enough"
    return "no bright pixel near the bone" if pixels.distance.min() > 0.9 else pixels


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
    share = (spacing_mm / PIXEL_SPACING_MM) ** 2
    return BonePixels(points, grey[rows, columns], distance[rows, columns], share, (rows, columns))


def _label_grey(
    grey: NDArray[np.float64], pose: NDArray[np.float64], spacing_mm: float, surfaces: Sequence[Surface], probe: Probe
) -> float:
    """Mean grey value, 0 to 255, of the odd pixels nearer than :data:`LABEL_BAND_MM` to the bone; NaN without any."""
    near = [_grid_distances(surface, pose, spacing_mm, grey.shape, probe, LABEL_BAND_MM) for surface in surfaces]
    on_label = np.isfinite(near).any(axis=0)
    return float(255.0 * grey[on_label].mean()) if on_label.any() else float("nan")


def _grid_distances(
    surface: Surface,
    pose: NDArray[np.float64],
    spacing_mm: float,
    shape: tuple[int, ...],
    probe: Probe,
    limit_mm: float = _BONE_REACH_MM,
) -> NDArray[np.float64]:
    """Distances of the centres of the odd pixels to a surface, ``inf`` from ``limit_mm`` on."""
    plane = image_to_ct(pose, probe)
    plane[:3, 3] += (plane[:3, 0] + plane[:3, 1]) * 1.5 * spacing_mm  # centre of pixel (1, 1)
    return surface.plane_distances(plane, (shape[0], shape[1]), _STEP * spacing_mm, limit_mm)


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
