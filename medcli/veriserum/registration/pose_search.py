"""Find an implant in both planes without a start pose.

1. Every orientation of a library is compared with every window of both images. The two planes must agree: both see the
   implant at the same height, so the best pair of windows on one row gives the score and, by its two rays, the place.
2. The best distinct orientations are refined on a coarse level; to the best of them their near-symmetric twins are
   added: half turns about the implant's axes, and mirror images in the planes of the detectors.
3. The best few are refined on finer levels and compared by the same measure, the gradient correlation about each
   result alone. The margin over the runner-up is reported with the result, and decides on its status with the
   similarity of the worse plane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh
from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.geometry.biplane import DualPlane, ImageGrid
from medcli.veriserum.registration.gradient_matching import (
    LEVELS,
    Level,
    Matcher,
    MatchingSettings,
    Refined,
    improve,
    refine,
    similarity,
)
from medcli.veriserum.registration.orientation_library import (
    SIZE,
    WINDOW,
    OrientationLibrary,
    image_features,
    load_or_build_library,
    simplified,
)

Image = NDArray[Any]
Matrix = NDArray[np.float64]

Hypothesis = tuple[float, Matrix, float]
"""Gradient correlation, pose (4, 4), attenuation in 1/mm."""
_COARSE = Level(128, 3.0, 12.0, 1.0)
_FINER = Level(256, 1.6, 8.0, 0.5)
_MODES, _FINER_COUNT, _FINE_COUNT = 64, 10, 3
_COARSE_COUNT = 24
_FIRST_ITERATIONS, _COARSE_ITERATIONS, _FINER_ITERATIONS = 2, 5, 8
_DARK_LEVEL = 10.0
_APART_DEG, _APART_MM = 12.0, 4.0
_RUNNER_UP_DEG = 15.0  # nearer ones are the same hypothesis, less well converged
_MARGIN_PIXELS = 8  # windows whose centre lies nearer to the rim of the image are left out
_LEAST_CONTRAST = 3.0


@dataclass(frozen=True, eq=False)
class FoundPose:
    """An implant found without a start pose.

    Attributes:
        refined: the best hypothesis; its ``before`` is that of the coarse pose.
        margin: gradient correlation of the result over that of the second-best distinct hypothesis (of 0 if there is
            none), both measured on the last level but one.
        runner_up_pose: (4, 4) pose of that hypothesis.
        start: (4, 4) the pose before the finest level.
    """

    refined: Refined
    margin: float
    runner_up_pose: Matrix | None
    start: Matrix


def search_pose(
    images: Mapping[str, Image], cameras: DualPlane, mesh: Mesh, settings: MatchingSettings | None = None
) -> FoundPose:
    """Find an implant in both planes.

    Args:
        images: plane -> calibrated image (S, S), 0 to 255.
        cameras: of the recording.
        mesh: the implant, closed, millimetres.

    Raises:
        DataError: an image shows nothing, or no hypothesis has the implant in both images.
    """
    settings = settings or MatchingSettings()
    _check(images, mesh)
    library = load_or_build_library(mesh, cameras)
    coarse_mesh = simplified(mesh)
    starts, dark = candidates(images, cameras, mesh, library), _logarithms(images)
    first = _ranked(dark, cameras, coarse_mesh, starts, _COARSE, _FIRST_ITERATIONS, settings.per_mm)
    ranked = _improved(dark, cameras, coarse_mesh, first, _COARSE_COUNT, _COARSE, _COARSE_ITERATIONS)
    twins = [twin for _, pose, _ in ranked[:2] for twin in _twins(pose, mesh, cameras)]
    ranked += _ranked(dark, cameras, coarse_mesh, twins, _COARSE, _COARSE_ITERATIONS, settings.per_mm)
    ranked = _improved(dark, cameras, coarse_mesh, ranked, _FINER_COUNT, _FINER, _FINER_ITERATIONS)
    best = _improved(dark, cameras, mesh, ranked, _FINE_COUNT, LEVELS[2], _FINER_ITERATIONS)
    best = _distinct(best, mesh)
    if not best:
        raise DataError("the implant is in no place at which both planes see it")
    score, pose, per_mm = best[0]
    finest = refine(images, cameras, mesh, pose, replace(settings, levels=LEVELS[2:], per_mm=per_mm))
    others = [one for one in best if _apart(one[1], pose, mesh, _RUNNER_UP_DEG)]
    if others:
        return FoundPose(finest, score - others[0][0], others[0][1], pose)
    return FoundPose(finest, score, None, pose)


def compare_with_twins(
    images: Mapping[str, Image],
    cameras: DualPlane,
    mesh: Mesh,
    refined: Refined,
    settings: MatchingSettings | None = None,
) -> FoundPose:
    """The better of a refined pose and of those that a nearly symmetric implant could be confused with."""
    settings, coarse_mesh, dark = settings or MatchingSettings(), simplified(mesh), _logarithms(images)
    twins = _twins(refined.pose, mesh, cameras)
    ranked = _ranked(dark, cameras, coarse_mesh, twins, _COARSE, _COARSE_ITERATIONS, refined.per_mm)
    ranked = _improved(dark, cameras, coarse_mesh, ranked, _FINE_COUNT, _FINER, _FINER_ITERATIONS)
    ranked = [one for one in ranked if _apart(one[1], refined.pose, mesh)]
    best = _improved(dark, cameras, mesh, ranked, _FINE_COUNT - 1, LEVELS[2], _FINER_ITERATIONS)
    own = similarity(dark, cameras, mesh, refined.pose, refined.per_mm, LEVELS[2])[0]
    others = [one for one in best if _apart(one[1], refined.pose, mesh, _RUNNER_UP_DEG)]
    if not others:
        return FoundPose(refined, own, None, refined.pose)
    score, pose, per_mm = others[0]
    if score <= own:
        return FoundPose(refined, own - score, pose, refined.pose)
    finest = refine(images, cameras, mesh, pose, replace(settings, levels=LEVELS[2:], per_mm=per_mm))
    return FoundPose(finest, score - own, refined.pose, pose)


def _improved(
    images: Mapping[str, Image],
    cameras: DualPlane,
    mesh: Mesh,
    ranked: list[Hypothesis],
    count: int,
    level: Level,
    most: int,
) -> list[Hypothesis]:
    """The best distinct hypotheses, refined on one level, best first."""
    found = []
    for _, pose, per_mm in _distinct(ranked, mesh)[:count]:
        found += _ranked(images, cameras, mesh, [pose], level, most, per_mm)
    return sorted(found, key=lambda one: -one[0])


def _logarithms(images: Mapping[str, Image]) -> dict[str, Image]:
    """Logarithms of both images: metal stands out from bone, and the leg's rim before the open beam does not."""
    return {plane: np.log(image.astype(np.float32) + np.float32(_DARK_LEVEL)) for plane, image in images.items()}


def candidates(
    images: Mapping[str, Image], cameras: DualPlane, mesh: Mesh, library: OrientationLibrary
) -> list[Matrix]:
    """Coarse poses (4, 4) from the library, the best first."""
    rows, columns = {}, {}
    for plane in PLANES:
        scores = _window_scores(image_features(images[plane]), library, plane)
        columns[plane], rows[plane] = scores.argmax(axis=2), scores.max(axis=2)
    # The other plane may see it one row higher or lower, since the two sources differ in height and distance.
    neighbours = [np.roll(rows["fs"], shift, axis=1) for shift in (0, 1, -1)]
    best = np.argmax(neighbours, axis=0)
    total = rows["bs"] + np.max(neighbours, axis=0)
    row = total.argmax(axis=1)
    score = total.max(axis=1)
    found: list[int] = []
    for number in np.argsort(-score):
        turns = library.rotations[found].transpose(0, 2, 1) @ library.rotations[number]
        if not found or rotation_angle_deg(turns).min() > _APART_DEG:
            found.append(int(number))
        if len(found) == _MODES:
            break
    poses = []
    for number in found:
        row_bs = int(row[number])
        row_fs = int(row_bs - (0, 1, -1)[int(best[number, row_bs])]) % rows["fs"].shape[1]
        at = {"bs": (columns["bs"][number, row_bs], row_bs), "fs": (columns["fs"][number, row_fs], row_fs)}
        pose = np.eye(4)
        pose[:3, :3] = library.rotations[number]
        pose[:3, 3] = _triangulated(cameras, at) - pose[:3, :3] @ mesh.bounds.mean(axis=0)
        poses.append(pose)
    return poses


def _window_scores(features: tuple[Image, Image], library: OrientationLibrary, plane: str) -> NDArray[np.float32]:
    """(N, R, C): the agreement of each orientation with the window at each row and column."""
    view = np.lib.stride_tricks.sliding_window_view
    inner = slice(_MARGIN_PIXELS, -_MARGIN_PIXELS)
    x, y = (view(part, (WINDOW, WINDOW))[inner, inner] for part in features)
    count = x.shape[0]
    windows = np.concatenate([x.reshape(count * count, -1), y.reshape(count * count, -1)], axis=1)
    along = np.arange(WINDOW) - (WINDOW - 1) / 2
    bell = np.exp(-(along**2) / 2 / (WINDOW / 4.5) ** 2).astype(np.float32)
    energy = view(features[0] ** 2 + features[1] ** 2, (WINDOW, WINDOW))[inner, inner]
    norm = np.sqrt(np.einsum("rcij,i,j->rc", energy, bell, bell, optimize=True)).ravel()
    scores = library.entries[plane] @ (windows @ library.basis[plane].T).T
    return np.asarray((scores / (norm + 0.5 * norm.max() + 1e-9)).reshape(-1, count, count))


def _triangulated(cameras: DualPlane, at: Mapping[str, tuple[Any, Any]]) -> NDArray[np.float64]:
    """The point nearest to the rays through the centres of two windows, (3,) millimetres."""
    grid, normal, right = ImageGrid.calibrated(SIZE), np.zeros((3, 3)), np.zeros(3)
    for plane, (column, row) in at.items():
        camera, shift = cameras.camera(plane), _MARGIN_PIXELS + (WINDOW - 1) / 2
        h, v = grid.left_mm + (column + shift) * grid.pixel_mm, grid.top_mm - (row + shift) * grid.pixel_mm
        along = (camera.plane.to_world @ np.array([h, v, 0, 1]))[:3] - camera.source_mm
        across = np.eye(3) - np.outer(along, along) / (along @ along)
        normal, right = normal + across, right + across @ camera.source_mm
    return np.asarray(np.linalg.solve(normal, right))


def _ranked(
    images: Mapping[str, Image],
    cameras: DualPlane,
    mesh: Mesh,
    starts: Sequence[Matrix],
    level: Level,
    most: int,
    per_mm: float,
) -> list[Hypothesis]:
    """Each start refined on one level, measured about the result alone; best first."""
    found = []
    for start in starts:
        try:
            pose, fitted = improve(Matcher(images, cameras, mesh, [start], level), start, per_mm, level, most)
            score = Matcher(images, cameras, mesh, [pose], level).correlation(pose, fitted)
        except (DataError, ValueError):
            continue  # it left the image
        found.append((score, pose, fitted))
    return sorted(found, key=lambda one: -one[0])


def _distinct(ranked: list[Hypothesis], mesh: Mesh) -> list[Hypothesis]:
    """The best of each group of nearly equal poses, best first."""
    kept: list[Hypothesis] = []
    for one in sorted(ranked, key=lambda item: -item[0]):
        if all(_apart(one[1], other[1], mesh) for other in kept):
            kept.append(one)
    return kept


def _apart(pose: Matrix, other: Matrix, mesh: Mesh, most_deg: float = _APART_DEG / 2) -> bool:
    """Whether two poses are two hypotheses."""
    middle = np.append(mesh.bounds.mean(axis=0), 1.0)
    angle = float(rotation_angle_deg(pose[:3, :3] @ other[:3, :3].T))
    return angle > most_deg or float(np.linalg.norm((pose - other) @ middle)) > _APART_MM


def _twins(pose: Matrix, mesh: Mesh, cameras: DualPlane) -> list[Matrix]:
    """Poses that a nearly symmetric implant could be confused with."""
    centred = mesh.vertices - mesh.vertices.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1]
    turns = [pose[:3, :3] @ (2 * np.outer(axis, axis) - np.eye(3)) for axis in axes.T]
    mirrors = [np.eye(3) - 2 * np.outer(axis, axis) for axis in axes.T]
    for camera in (cameras.bs, cameras.fs):
        reflected = np.eye(3) - 2 * np.outer(camera.plane.normal, camera.plane.normal)
        turns += [reflected @ pose[:3, :3] @ mirror for mirror in mirrors]
    middle = mesh.bounds.mean(axis=0)
    twins = []
    for rotation in turns:
        twin = np.eye(4)
        twin[:3, :3] = rotation
        twin[:3, 3] = pose[:3, :3] @ middle + pose[:3, 3] - rotation @ middle
        twins.append(twin)
    return twins


def _check(images: Mapping[str, Image], mesh: Mesh) -> None:
    """Check images and surface before anything is rendered."""
    for plane in PLANES:
        if plane not in images:
            raise DataError(f"the image of plane {plane} is missing")
        if float(np.std(images[plane])) < _LEAST_CONTRAST:
            raise DataError(f"the image of plane {plane} is uniform: nothing can be found in it")
    size = float(np.ptp(mesh.bounds, axis=0).max())
    if not 10 <= size <= 250:
        raise DataError(
            f"the implant's surface is {size:g} mm long, not 10 to 250",
            "is it in metres or inches? surfaces are in millimetres",
        )
