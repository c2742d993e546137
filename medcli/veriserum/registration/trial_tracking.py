"""Track the components of a knee through the frames of a trial.

The first frame is searched without a start. Each further pose is predicted from the two before it (constant velocity
about the implant's centre) and refined with the other component in front of it; where a plane's similarity falls, the
search follows. A second pass runs backward over the frames that are not good. In three frames of a trial the result is
compared with its near-symmetric twins: if a twin is better in the sum, the component is tracked again from it, and the
margin over the twin there is the margin of the frames around.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh
from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.veriserum.geometry.biplane import DualPlane
from medcli.veriserum.registration.gradient_matching import Beside, ImplantView, Matcher, Refined, improve, similarity
from medcli.veriserum.registration.mirrored_images import gain_by_mirroring
from medcli.veriserum.registration.orientation_library import simplified
from medcli.veriserum.registration.pose_quality import GOOD_SIMILARITY
from medcli.veriserum.registration.pose_search import FoundPose, compare_with_twins, search_pose
from medcli.veriserum.registration.resolution_levels import LOG_LEVELS, Level
from medcli.veriserum.registration.rigid_motion import moved, rotation_vector_deg

Matrix = NDArray[np.float64]
Images = Mapping[str, NDArray[Any]]

_STEPS = ((Level(256, 2.0, 9.0, 0.5, 0.7), 2.5, 4), (LOG_LEVELS[2], 1.0, 4), (LOG_LEVELS[3], 0.0, 3))
"""Level, cell of the mesh in mm (0: the whole mesh) and iterations of a refinement from a prediction."""
_FALL = 0.85
"""Share of the similarity of the frames before, below which a plane counts as lost."""
_LONGEST_GAP = 5
"""Frames over which a pose is predicted."""
_CHECKED = (0.1, 0.5, 0.9)
"""Places in a trial at which twins are compared."""
_OTHER_DEG = 15.0


@dataclass(frozen=True, eq=False)
class TrackedPose:
    """The pose of one component in one frame.

    Attributes:
        pose: (4, 4) implant to world.
        per_mm: fitted attenuation, 1/mm.
        by_plane: plane -> gradient correlation about the pose.
        margin: over the runner-up, measured in this frame or the nearest that was compared with its twins.
        method: ``search``, ``tracked`` or ``backward``.
        beside: the other component in this frame, if known.
    """

    pose: Matrix
    per_mm: float
    by_plane: dict[str, float]
    margin: float
    method: str
    beside: Beside | None

    @property
    def similarity(self) -> float:
        """Mean over the planes."""
        return float(np.mean(list(self.by_plane.values())))


@dataclass(frozen=True, eq=False)
class TrialInput:
    """A trial: ids of its frames in their order, how to read a pair, its cameras, and ``anatomy_id`` -> surface."""

    frames: Sequence[int]
    images: Callable[[int], Images]
    cameras: DualPlane
    meshes: Mapping[int, Mesh]

    def view(self, place: int, anatomy: int, beside: Beside | None) -> ImplantView:
        """A component in the images of a frame; raises as ``images``."""
        return ImplantView(self.images(self.frames[place]), self.cameras, self.meshes[anatomy], beside)


class TrialTracker:
    """Tracks the components of one trial; those named first are found first.

    Attributes:
        found: anatomy -> place in the trial -> pose.
        failures: id -> why a frame has no pose of a component.
        matches_mirrored: whether its images match better when they are mirrored left to right.
    """

    def __init__(
        self,
        trial: TrialInput,
        least_similarity: float = 0.5,
        advance: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.trial, self.least, self.advance = trial, least_similarity, advance
        self.found: dict[int, dict[int, TrackedPose]] = {anatomy: {} for anatomy in trial.meshes}
        self.failures: dict[int, str] = {}
        self.matches_mirrored = False
        self._simple = {
            (anatomy, cell): simplified(mesh, cell) if cell else mesh
            for anatomy, mesh in trial.meshes.items()
            for _, cell, _ in _STEPS
        }

    def run(self) -> dict[int, dict[int, TrackedPose]]:
        """Both passes and the comparison with twins; returns :attr:`found`."""
        for place in range(len(self.trial.frames)):
            self._frame(place)
            self.advance(1)
        for anatomy in self.trial.meshes:
            self._compare_with_twins(anatomy)
            self._backward(anatomy)
        self.matches_mirrored = self._gain_by_mirroring() > 0
        return self.found

    def _gain_by_mirroring(self) -> float:
        """Of the component that was found first, where it matches best: a femur, which shows it most clearly."""
        for found, anatomy in ((self.found[anatomy], anatomy) for anatomy in self.trial.meshes if self.found[anatomy]):
            place = max(found, key=lambda one: min(found[one].by_plane.values()))
            best = found[place]
            return gain_by_mirroring(self.trial.view(place, anatomy, best.beside), best.pose, best.per_mm)
        return -1.0

    def _frame(self, place: int) -> None:
        """All components of one frame; a first femur once more with the tibia known."""
        number = self.trial.frames[place]
        try:
            images = self.trial.images(number)
        except DataError as error:
            self.failures[number] = error.message
            return
        for anatomy in self.trial.meshes:
            self._component(place, anatomy, images)
        first, *others = self.trial.meshes
        was_alone = place in self.found[first] and self.found[first][place].beside is None
        if was_alone and any(place in self.found[other] for other in others):
            before = self.found[first][place]
            again = self._near(place, first, before.pose, before.per_mm, images, "search")
            if again is not None:
                self.found[first][place] = replace(again, margin=before.margin)

    def _component(self, place: int, anatomy: int, images: Images) -> None:
        best: TrackedPose | None = None
        guess = self._predicted(place, anatomy, 1)
        if guess is not None:
            before = self._nearest(place, anatomy, 1)
            best = self._near(place, anatomy, guess, before.per_mm, images, "tracked")
            if best is not None and self._is_kept(best, before):
                self.found[anatomy][place] = replace(best, margin=before.margin)
                return
        try:
            found = self._searched(place, anatomy, images)
        except DataError as error:
            self.failures.setdefault(self.trial.frames[place], f"anatomy {anatomy}: {error.message}")
            found = None
        if found is not None and (best is None or found.similarity > best.similarity):
            best = found
        if best is not None and best.similarity >= self.least:
            self.found[anatomy][place] = best
        elif best is not None:
            reason = f"anatomy {anatomy}: the best match has similarity {best.similarity:.2f}, less than {self.least:g}"
            self.failures.setdefault(self.trial.frames[place], reason)

    def _searched(self, place: int, anatomy: int, images: Images) -> TrackedPose:
        beside = self._beside(place, anatomy)
        found = search_pose(ImplantView(images, self.trial.cameras, self.trial.meshes[anatomy], beside))
        refined = found.refined
        return TrackedPose(refined.pose, refined.per_mm, refined.after_planes, found.margin, "search", beside)

    def _near(
        self, place: int, anatomy: int, start: Matrix, per_mm: float, images: Images, method: str
    ) -> TrackedPose | None:
        """Refined from a prediction; None: it left the images."""
        pose, beside = start, self._beside(place, anatomy)
        view = ImplantView(images, self.trial.cameras, self.trial.meshes[anatomy], beside).in_logarithms()
        try:
            for level, cell, iterations in _STEPS:
                matcher = Matcher(replace(view, mesh=self._simple[anatomy, cell]), [pose], level)
                pose, per_mm = improve(matcher, pose, per_mm, level, iterations, level.size > 256)
            _, by_plane = similarity(view, pose, per_mm, LOG_LEVELS[-1])
        except (DataError, ValueError):
            return None
        return TrackedPose(pose, per_mm, by_plane, 0.0, method, beside)

    def _is_kept(self, pose: TrackedPose, before: TrackedPose) -> bool:
        """Whether no plane has lost much of the similarity before."""
        return all(
            value >= min(_FALL * before.by_plane.get(plane, 0.0), GOOD_SIMILARITY)
            for plane, value in pose.by_plane.items()
        )

    def _beside(self, place: int, anatomy: int) -> Beside | None:
        """The other component: as found in this frame, else as predicted."""
        for other, mesh in self.trial.meshes.items():
            if other == anatomy:
                continue
            if place in self.found[other]:
                known = self.found[other][place]
                return Beside(mesh, known.pose, known.per_mm)
            guess = self._predicted(place, other, 1)
            if guess is not None:
                return Beside(mesh, guess, self._nearest(place, other, 1).per_mm)
        return None

    def _places(self, place: int, anatomy: int, direction: int) -> list[int]:
        """Known places before (direction 1) or after (-1) a place, the nearest first."""
        places = [one for one in self.found[anatomy] if 0 < (place - one) * direction <= _LONGEST_GAP]
        return sorted(places, key=lambda one: abs(place - one))

    def _nearest(self, place: int, anatomy: int, direction: int) -> TrackedPose:
        return self.found[anatomy][self._places(place, anatomy, direction)[0]]

    def _predicted(self, place: int, anatomy: int, direction: int) -> Matrix | None:
        """The pose at constant velocity; None: no frame near it is known."""
        near = self._places(place, anatomy, direction)
        if not near:
            return None
        last = self.found[anatomy][near[0]].pose
        if len(near) == 1:
            return last
        before, middle = self.found[anatomy][near[1]].pose, self.trial.meshes[anatomy].bounds.mean(axis=0)
        share = (place - near[0]) / (near[0] - near[1])
        shift = ((last - before) @ np.append(middle, 1.0))[:3]
        turn = rotation_vector_deg(last[:3, :3] @ before[:3, :3].T)
        return moved(last, np.concatenate([shift, turn]) * share, middle)

    def _compare_with_twins(self, anatomy: int) -> None:
        """Compare with twins in a few frames; track the component again where a twin is better in the sum."""
        known = sorted(self.found[anatomy])
        if not known:
            return
        checked = sorted({known[int(share * (len(known) - 1) + 0.5)] for share in _CHECKED})
        margins, twins = {}, {}
        for place in checked:
            twin = self._twin(place, anatomy)
            is_other = rotation_angle_deg(twin.refined.pose[:3, :3] @ self.found[anatomy][place].pose[:3, :3].T)
            margins[place] = -twin.margin if is_other > _OTHER_DEG else twin.margin
            twins[place] = twin
        if sum(margins.values()) < 0:
            worst = min(margins, key=lambda place: margins[place])
            self._again(anatomy, worst, twins[worst])
            margins = {place: -margin for place, margin in margins.items()}
        for place, pose in self.found[anatomy].items():
            nearest = min(margins, key=lambda one: abs(one - place))
            margin = min(margins[nearest], pose.margin) if pose.method == "search" else margins[nearest]
            self.found[anatomy][place] = replace(pose, margin=margin)

    def _twin(self, place: int, anatomy: int) -> FoundPose:
        known = self.found[anatomy][place]
        value = known.similarity
        refined = Refined(known.pose, value, value, known.by_plane, 0.0, 0.0, known.per_mm, 0)
        return compare_with_twins(self.trial.view(place, anatomy, known.beside), refined)

    def _again(self, anatomy: int, place: int, twin: FoundPose) -> None:
        """Track a component anew, in both directions from one frame."""
        refined, old = twin.refined, self.found[anatomy]
        first = TrackedPose(
            refined.pose, refined.per_mm, refined.after_planes, twin.margin, "search", old[place].beside
        )
        self.found[anatomy] = {place: first}
        for direction, places in ((1, range(place + 1, len(self.trial.frames))), (-1, range(place - 1, -1, -1))):
            for other in places:
                pose = self._walked(other, anatomy, direction)
                if pose is not None and pose.similarity >= self.least:
                    self.found[anatomy][other] = pose

    def _backward(self, anatomy: int) -> None:
        """From the last frame to the first: frames without a pose or with a poor one, from those after them."""
        for place in range(len(self.trial.frames) - 2, -1, -1):
            known = self.found[anatomy].get(place)
            if known is not None and min(known.by_plane.values()) >= GOOD_SIMILARITY:
                continue
            pose = self._walked(place, anatomy, -1)
            least = max(self.least, known.similarity) if known is not None else self.least
            if pose is not None and pose.similarity > least:
                self.found[anatomy][place] = replace(pose, method="backward")
                self.failures.pop(self.trial.frames[place], None)

    def _walked(self, place: int, anatomy: int, direction: int) -> TrackedPose | None:
        guess = self._predicted(place, anatomy, direction)
        if guess is None:
            return None
        try:
            images = self.trial.images(self.trial.frames[place])
        except DataError:
            return None
        before = self._nearest(place, anatomy, direction)
        pose = self._near(place, anatomy, guess, before.per_mm, images, "tracked")
        return None if pose is None else replace(pose, margin=before.margin)
