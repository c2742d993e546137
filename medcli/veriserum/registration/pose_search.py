"""Find an implant in both planes, or in one, without a start pose.

1. Coarse poses from a library of orientations (:mod:`medcli.veriserum.registration.orientation_matching`).
2. The best distinct ones are refined on a coarse level; to the best of them their near-symmetric twins are added: half
   turns about the implant's axes, and mirror images in the planes of the detectors.
3. The best few are refined on finer levels, unless they are clearly worse, and compared by the same measure, the
   gradient correlation about each result alone. The margin over the runner-up is reported with the result, and decides
   on its status with the similarity of the worse plane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh
from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.veriserum.registration.gradient_matching import METAL_PER_MM, ImplantView, Matcher, Refined, improve, refine
from medcli.veriserum.registration.image_windows import resized_image
from medcli.veriserum.registration.orientation_library import load_or_build_library, simplified
from medcli.veriserum.registration.orientation_matching import APART_DEG, coarse_poses
from medcli.veriserum.registration.resolution_levels import LOG_LEVELS, Level

Image = NDArray[Any]
Matrix = NDArray[np.float64]

Hypothesis = tuple[float, Matrix, float]
"""Gradient correlation, pose (4, 4), attenuation in 1/mm."""


@dataclass(frozen=True)
class SearchStage:
    """One stage of the search: ``count`` hypotheses are refined in ``iterations`` on a mesh with cells of this size."""

    level: Level
    cell_mm: float
    count: int
    iterations: int


_FIRST = SearchStage(Level(128, 3.0, 12.0, 1.0), 4.0, 64, 2)
COARSE = SearchStage(_FIRST.level, 4.0, 24, 5)
_FINER_LEVEL = Level(256, 1.6, 8.0, 0.5)
FINER = SearchStage(_FINER_LEVEL, 2.5, 10, 3)
CONVERGED = SearchStage(_FINER_LEVEL, 2.5, 4, 6)
_PROBE = SearchStage(_FINER_LEVEL, 2.5, 3, 3)
_SURELY_NOTHING = 0.47
"""Finer similarity of the first hypotheses, below which the search ends after half of its time: 0.42 to 0.48 of femora
that are in none of 18 pairs; where they are, of femora 0.64 and more, of tibiae 0.51, beside a known femur 0.78."""
FINE = SearchStage(LOG_LEVELS[2], 1.0, 3, 10)
_CLEARLY_WORSE = 0.15
"""Gradient correlation below the best, from which a hypothesis is not refined on the finest levels."""
_MOST_OF_FINEST = 5
_APART_MM = 4.0
_RUNNER_UP_DEG = 15.0  # nearer ones are the same hypothesis, less well converged
_NOTHING = 0.5  # finer similarity of femoral components: none in the image 0.43, the worst right one 0.74
_LEAST_CONTRAST = 3.0
_MOST_OPEN = 0.02
"""Share of the edges of a surface that may be open: small defects hardly change a projection."""
_ALLOWED_MM = (10.0, 250.0)


@dataclass(frozen=True, eq=False)
class FoundPose:
    """An implant found without a start pose.

    Attributes:
        refined: the best hypothesis; its ``before`` is that of the coarse pose.
        margin: gradient correlation of the result over that of the second-best distinct hypothesis (of 0 if there is
            none), both measured on the last level but one, or on a coarser one if the other was clearly worse there.
        start: (4, 4) the pose before the finest level.
    """

    refined: Refined
    margin: float
    start: Matrix


def search_pose(view: ImplantView) -> FoundPose:
    """Find an implant in one plane or in both.

    Raises:
        DataError: an image shows nothing, or no hypothesis matches, or has the implant in all images.
    """
    check_searchable(view.images, view.mesh)
    ladder = SearchLadder(view)
    library = load_or_build_library(view.mesh, view.cameras)
    starts = coarse_poses(view, library, _FIRST.count)
    ranked = ladder.refined([(0.0, start, METAL_PER_MM) for start in starts], _FIRST)
    _refuse_nothing(ladder.best(ranked, _PROBE), _SURELY_NOTHING)
    ranked = ladder.best(ranked, COARSE)
    ranked += ladder.refined(ladder.twins(ranked[:2]), COARSE)
    many = ladder.best(ranked, FINER)
    ranked = ladder.best(many, CONVERGED)
    _refuse_nothing(ranked, _NOTHING)
    if not ranked:
        raise DataError("the implant is in no place at which all planes see it")
    rivals = [one for one in ranked if one[0] > ranked[0][0] - _CLEARLY_WORSE]
    measured = [ladder.best(rivals, FINE) or rivals, ranked, many]
    ranked = measured[0]
    score, pose, per_mm = ranked[0]
    finest = ladder.finest(pose, per_mm)
    # Where all others were clearly worse, the margin is that of the coarser level.
    for level in measured:
        others = [one for one in level if _apart(one[1], pose, ladder.middle_mm, _RUNNER_UP_DEG)]
        if others:
            return FoundPose(finest, level[0][0] - others[0][0], pose)
    return FoundPose(finest, score, pose)


def _refuse_nothing(ranked: Sequence[Hypothesis], least: float) -> None:
    """Raise :class:`DataError` where not even the best hypothesis matches so well on the finer level."""
    if ranked and not ranked[0][0] >= least:  # a damaged surface may give NaN
        raise DataError("nothing in the images matches the implant: is it in them, and is it this one?")


def compare_with_twins(view: ImplantView, refined: Refined) -> FoundPose:
    """The better of a refined pose and of those that a nearly symmetric implant could be confused with."""
    ladder = SearchLadder(view)
    ranked = ladder.refined(ladder.twins([(0.0, refined.pose, refined.per_mm)]), COARSE)
    ranked = ladder.best(ranked, replace(FINER, count=FINE.count))
    others = [one for one in ranked if _apart(one[1], refined.pose, ladder.middle_mm, _RUNNER_UP_DEG)]
    own = ladder.score(refined.pose, refined.per_mm, FINER)
    if others and others[0][0] < own - _CLEARLY_WORSE:
        return FoundPose(refined, own - others[0][0], refined.pose)
    ranked = [one for one in ranked if _apart(one[1], refined.pose, ladder.middle_mm)]
    best = ladder.best(ladder.best(ranked, CONVERGED), replace(FINE, count=FINE.count - 1))
    own = ladder.score(refined.pose, refined.per_mm, FINE)
    others = [one for one in best if _apart(one[1], refined.pose, ladder.middle_mm, _RUNNER_UP_DEG)]
    if not others:
        return FoundPose(refined, own, refined.pose)
    score, pose, per_mm = others[0]
    if score <= own:
        return FoundPose(refined, own - score, refined.pose)
    return FoundPose(ladder.finest(pose, per_mm), score - own, pose)


class SearchLadder:
    """The stages of a search, on the logarithms of the images."""

    def __init__(self, view: ImplantView) -> None:
        self.view, self.middle_mm = view.in_logarithms(), view.middle_mm
        self._resized: dict[int, dict[str, Image]] = {}

    def refined(self, starts: Sequence[Hypothesis], stage: SearchStage) -> list[Hypothesis]:
        """Each start refined in one stage, measured about the result alone; best first."""
        mesh, found = _simplified(_Key(self.view.mesh), stage.cell_mm), []
        for _, start, per_mm in starts:
            try:
                matcher = self._matcher(start, mesh, stage)
                is_central = stage.level.size > _FIRST.level.size
                pose, fitted = improve(matcher, start, per_mm, stage.level, stage.iterations, is_central)
                score = self._matcher(pose, mesh, stage).correlation(pose, fitted)
            except (DataError, ValueError):
                continue  # it left the image
            found.append((score, pose, fitted))
        return sorted(found, key=lambda one: -one[0])

    def best(self, ranked: list[Hypothesis], stage: SearchStage) -> list[Hypothesis]:
        """The best distinct hypotheses refined in one stage, best first."""
        return self.refined(_distinct(ranked, self.middle_mm)[: stage.count], stage)

    def score(self, pose: Matrix, per_mm: float, stage: SearchStage) -> float:
        return self._matcher(pose, self.view.mesh, stage).correlation(pose, per_mm)

    def finest(self, pose: Matrix, per_mm: float) -> Refined:
        """Refined on the last level with the whole mesh, from where the stages have converged."""
        return refine(self.view, pose, LOG_LEVELS[3:], per_mm, _MOST_OF_FINEST)

    def twins(self, of: Sequence[Hypothesis]) -> list[Hypothesis]:
        """Poses that a nearly symmetric implant could be confused with."""
        centred = self.view.mesh.vertices - self.view.mesh.vertices.mean(axis=0)
        axes = np.linalg.eigh(centred.T @ centred)[1]
        mirrors = [np.eye(3) - 2 * np.outer(axis, axis) for axis in axes.T]
        normals = [self.view.cameras.camera(plane).plane.normal for plane in self.view.images]
        found = []
        half_turns = [-mirror for mirror in mirrors]
        # A stem tilts the main axes; makers draw a component along its plate.
        half_turns += [2 * np.outer(axis, axis) - np.eye(3) for axis in np.eye(3)]
        for score, pose, per_mm in of:
            turns = [pose[:3, :3] @ turn for turn in half_turns]
            for normal in normals:
                turns += [(np.eye(3) - 2 * np.outer(normal, normal)) @ pose[:3, :3] @ mirror for mirror in mirrors]
            for rotation in turns:
                twin = np.eye(4)
                twin[:3, :3] = rotation
                twin[:3, 3] = (pose[:3, :3] - rotation) @ self.middle_mm + pose[:3, 3]
                found.append((score, twin, per_mm))
        return found

    def _matcher(self, pose: Matrix, mesh: Mesh, stage: SearchStage) -> Matcher:
        size = stage.level.size
        if size not in self._resized:
            self._resized[size] = {plane: resized_image(image, size) for plane, image in self.view.images.items()}
        beside = self.view.beside
        if beside is not None:
            beside = replace(beside, mesh=_simplified(_Key(beside.mesh), stage.cell_mm))
        return Matcher(ImplantView(self._resized[size], self.view.cameras, mesh, beside), [pose], stage.level)


class _Key:
    """A mesh as the key of a cache, by identity; the cache keeps it alive."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.mesh is self.mesh

    def __hash__(self) -> int:
        return id(self.mesh)


@lru_cache(maxsize=32)
def _simplified(key: _Key, cell_mm: float) -> Mesh:
    return simplified(key.mesh, cell_mm)


def _distinct(ranked: list[Hypothesis], middle_mm: NDArray[np.float64]) -> list[Hypothesis]:
    """The best of each group of nearly equal poses, best first."""
    ranked = sorted(ranked, key=lambda item: -item[0])
    if not ranked:
        return []
    poses = np.stack([pose for _, pose, _ in ranked])
    angles = rotation_angle_deg(np.einsum("aji,bjk->abik", poses[:, :3, :3], poses[:, :3, :3]))
    places = poses[:, :3, :3] @ middle_mm + poses[:, :3, 3]
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    is_apart = (angles > APART_DEG / 2) | (distances > _APART_MM)
    kept: list[int] = []
    for number in range(len(ranked)):
        if is_apart[number, kept].all():
            kept.append(number)
    return [ranked[number] for number in kept]


def _apart(pose: Matrix, other: Matrix, middle_mm: NDArray[np.float64], most_deg: float = APART_DEG / 2) -> bool:
    """Whether two poses are two hypotheses."""
    middle = np.append(middle_mm, 1.0)
    angle = float(rotation_angle_deg(pose[:3, :3] @ other[:3, :3].T))
    return angle > most_deg or float(np.linalg.norm((pose - other) @ middle)) > _APART_MM


def check_closed(mesh: Mesh) -> None:
    """Make sure that X-rays have a path through a surface: few open edges, faces that point outwards.

    Raises:
        DataError: says which does not hold.
    """
    open_share = mesh.open_edges()
    if open_share > _MOST_OPEN:
        raise DataError(
            f"the implant's surface is not closed: {100 * open_share:.0f} % of its edges have no neighbour",
            "triangles are missing or turned over: repair the STL file (MeshLab, 3D Slicer), or download it again",
        )
    if mesh.volume <= 0:
        raise DataError(
            "the implant's surface is inside out: its triangles point inwards",
            "turn all triangles over (MeshLab, 3D Slicer)",
        )


def check_searchable(images: Mapping[str, Image], mesh: Mesh) -> None:
    """Check images and surface before anything is rendered.

    Raises:
        DataError: there is no image, one is uniform, or the surface cannot be in millimetres.
    """
    for plane, image in images.items():
        if float(np.std(image)) < _LEAST_CONTRAST:
            raise DataError(f"the image of plane {plane} is uniform: nothing can be found in it")
    if not images:
        raise DataError("there is no image")
    check_closed(mesh)
    size, (low, high) = float(np.ptp(mesh.bounds, axis=0).max()), _ALLOWED_MM
    if not low <= size <= high:
        raise DataError(
            f"the implant's surface is {size:g} mm long, not {low:g} to {high:g}",
            "is it in metres or inches? surfaces are in millimetres",
        )
