"""Refine the pose of an implant by matching its rendering to both X-ray planes.

Gradients are compared: the edges of the metal determine the pose, with little influence of exposure and soft tissue.
With f and m the weighted gradient images (both directions) of image and rendering, each divided by its norm, the sum of
squares is |f - m|² = 2 - 2 <f, m>, so least squares over the six parameters of a rigid motion maximise the gradient
correlation <f, m> (Penney et al. 1998, IEEE Trans Med Imaging 17:586). The optimiser is Levenberg-Marquardt with finite
differences, which takes some hundred renderings of a window about the implant where a derivative-free search takes
thousands. From coarse to fine, blur and window shrink.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.mesh import Mesh
from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.veriserum.geometry.biplane import Camera, DualPlane, ImageGrid
from medcli.veriserum.registration.image_windows import cropped_image, resized_image, window_about
from medcli.veriserum.registration.levenberg_marquardt import Numbers, fixed_order_dot, minimise
from medcli.veriserum.registration.resolution_levels import LEVELS, Level
from medcli.veriserum.registration.rigid_motion import moved

Image = NDArray[Any]
"""(H, W) float32."""
Matrix = NDArray[np.float64]

_TINY = 1e-12
_DARK_LEVEL = 10.0
_THICK_MM = 4.0
_DEPTH_STEP = 10.0
_EDGE_SHARE = 0.3
_ATTENUATION_STEP = 0.1
_ATTENUATION_RANGE = (0.02, 2.0)
_DARK_CORRELATION = 1e-12
METAL_PER_MM = 0.2
"""Start value of the attenuation of an implant's metal, in 1/mm; it is fitted with the pose, since it depends on alloy,
tube voltage and glare."""


@dataclass(frozen=True, eq=False)
class Beside:
    """The knee's other component, whose pose is known: it hides edges, and its own edges are not compared.

    Attributes:
        mesh: closed, millimetres.
        pose: (4, 4) implant to world.
        per_mm: its attenuation, 1/mm.
    """

    mesh: Mesh
    pose: Matrix
    per_mm: float

    def transmission(self, camera: Camera, grid: ImageGrid) -> Image:
        """Share of the beam that passes it, (rows, columns) float32."""
        transmission: Image = cv2.exp(camera.path_length(self.mesh, self.pose, grid) * np.float32(-self.per_mm))
        return transmission


@dataclass(frozen=True, eq=False)
class ImplantView:
    """An implant in one plane or in both.

    Attributes:
        images: plane ("bs", "fs") -> calibrated image (S, S), 0 to 255; one plane hardly determines the position along
            its rays.
        cameras: of the recording.
        mesh: the implant, closed, millimetres.
        beside: the other component of the knee, if its pose is known; a tibial component is found more often so.
    """

    images: Mapping[str, Image]
    cameras: DualPlane
    mesh: Mesh
    beside: Beside | None = None

    @property
    def middle_mm(self) -> NDArray[np.float64]:
        """(3,) centre of the implant's bounds, in its coordinates."""
        return np.asarray(self.mesh.bounds.mean(axis=0))

    def in_logarithms(self) -> ImplantView:
        """With the logarithms of the images: metal stands out from bone, and its thickness shows in its shadow."""
        images = {plane: np.log(one.astype(np.float32) + np.float32(_DARK_LEVEL)) for plane, one in self.images.items()}
        return replace(self, images=images)


@dataclass(frozen=True, eq=False)
class Refined:
    """A refined pose.

    Attributes:
        pose: (4, 4) implant to world.
        before, after: gradient correlation, mean over the planes, of start and result at the finest level, -1 to 1,
            each in a window about that pose alone.
        after_planes: plane -> gradient correlation of the result.
        displacement_mm, rotation_deg: displacement of the implant's centre, and rotation of the implant.
        per_mm: fitted attenuation of the metal, 1/mm.
        evaluations: number of renderings of both planes.
    """

    pose: Matrix
    before: float
    after: float
    after_planes: dict[str, float]
    displacement_mm: float
    rotation_deg: float
    per_mm: float
    evaluations: int

    def since(self, start: Matrix, before: float, mesh: Mesh) -> Refined:
        """The same result with displacement and rotation from another start, whose similarity was ``before``."""
        distance, angle = _motion_between(start, self.pose, mesh)
        return replace(self, before=before, displacement_mm=distance, rotation_deg=angle)


class Matcher:
    """The objective at one level: one implant, the cameras and the two images."""

    def __init__(self, view: ImplantView, around: Sequence[Matrix], level: Level) -> None:
        self.mesh, self.middle_mm = view.mesh, view.middle_mm
        self.planes = [_PlaneMatcher(view, plane, around, level) for plane in view.images]
        self.evaluations = 0

    @property
    def shifts(self) -> Matrix:
        """(3, 3) columns: displacements that change the images about equally.

        In a single plane, a displacement along its normal changes them so little that ten times as much is needed.
        """
        if len(self.planes) > 1:
            return np.eye(3)
        return np.asarray(self.planes[0].camera.plane.to_world[:3, :3] * [1.0, 1.0, _DEPTH_STEP])

    @classmethod
    def like(cls, other: Matcher, mesh: Mesh) -> Matcher:
        """The same images, windows and weights with another surface."""
        made = copy.copy(other)
        made.mesh, made.planes = mesh, [copy.copy(plane) for plane in other.planes]
        for plane in made.planes:
            plane.mesh, plane._rendered = mesh, None
        return made

    def magnifications(self, pose: Matrix) -> list[float]:
        """Of the implant on each detector."""
        middle = pose[:3, :3] @ self.middle_mm + pose[:3, 3]
        depths = [plane.camera.matrix[2] @ np.append(middle, 1.0) for plane in self.planes]
        return [plane.camera.distance_mm / float(depth) for plane, depth in zip(self.planes, depths, strict=True)]

    def residuals(self, pose: Matrix, per_mm: float) -> NDArray[np.float32]:
        """f - m of all planes, one after the other, (N,)."""
        self.evaluations += 1
        return np.concatenate([plane.fixed - plane.moving(pose, per_mm) for plane in self.planes])

    def correlation(self, pose: Matrix, per_mm: float) -> float:
        """Gradient correlation, mean over the planes, -1 to 1."""
        return float(np.mean(self.correlations(pose, per_mm)))

    def correlations(self, pose: Matrix, per_mm: float) -> list[float]:
        """Gradient correlation of each plane, -1 to 1."""
        self.evaluations += 1
        return [fixed_order_dot(plane.fixed, plane.moving(pose, per_mm)) for plane in self.planes]


class _PlaneMatcher:
    """One plane's window."""

    def __init__(self, view: ImplantView, plane: str, around: Sequence[Matrix], level: Level) -> None:
        self.camera, self.mesh, self.hardening = view.cameras.camera(plane), view.mesh, level.hardening
        whole = ImageGrid.calibrated(level.size)
        self.blur = level.blur_mm / whole.pixel_mm
        margin = int(np.ceil((level.reach_mm + 2 * level.blur_mm) / whole.pixel_mm)) + 2
        self.grid, first = window_about(self.camera, self.mesh, around, whole, margin)
        image = cropped_image(resized_image(view.images[plane], level.size), first, self.grid)
        self.weight = self._weight(around, level.reach_mm / whole.pixel_mm)
        self.behind = None if view.beside is None else view.beside.transmission(self.camera, self.grid)
        if self.behind is not None:
            self.weight = self.weight * without_edges(self.behind, self.blur)
        self.fixed = self._gradients(image)
        self._rendered: tuple[bytes, Image] | None = None

    def _weight(self, around: Sequence[Matrix], reach: float) -> Image:
        """Square root of the weight: 1 near the implant at any of the poses, falling to 0 within ``reach`` pixels."""
        seen = np.zeros((self.grid.rows, self.grid.columns), dtype=bool)
        for pose in around:
            seen |= self.camera.silhouette(self.mesh, pose, self.grid)
        from medcli.veriserum.registration.distance_kernel import bounded_squared_distances  # loads Numba

        # Not OpenCV's distance transform, which occasionally gives other numbers when called from several threads.
        along, squares = np.empty(seen.shape, np.int64), np.empty(seen.shape, np.int64)
        bounded_squared_distances(seen, int(np.ceil(reach)), along, squares)
        return np.sqrt(np.clip(2 - 2 * np.sqrt(squares) / reach, 0, 1)).astype(np.float32)

    def moving(self, pose: Matrix, per_mm: float) -> NDArray[np.float32]:
        """Weighted gradients of the rendering, of norm 1, (N,)."""
        key = pose.tobytes()
        if self._rendered is None or self._rendered[0] != key:  # a change of the attenuation alone renders nothing
            self._rendered = key, self._hardened(self.camera.path_length(self.mesh, pose, self.grid))
        transmission: Image = cv2.exp(self._rendered[1] * np.float32(-per_mm))
        values = self._gradients(transmission if self.behind is None else transmission * self.behind)
        # An empty rendering must not match better than one in a wrong place.
        return values if values.any() else -self.fixed

    def _hardened(self, length: Image) -> Image:
        if self.hardening == 1:
            return length
        # A power by exponential and logarithm: cv2.pow takes five times as long on an image with zeros.
        logarithm: Image = cv2.log(np.maximum(length, np.float32(_TINY)))
        shift = np.float32((1 - self.hardening) * np.log(_THICK_MM))
        return cv2.exp(logarithm * np.float32(self.hardening) + shift)

    def _gradients(self, image: Image) -> NDArray[np.float32]:
        smooth = cv2.GaussianBlur(image, (0, 0), self.blur, borderType=cv2.BORDER_REPLICATE)
        parts = [
            (self.weight * cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=3, borderType=cv2.BORDER_REPLICATE)).ravel()
            for order in ((1, 0), (0, 1))
        ]
        values = np.concatenate(parts)
        norm = np.sqrt(fixed_order_dot(values, values))
        return values / np.float32(max(norm, _DARK_CORRELATION))


def without_edges(transmission: Image, blur: float) -> Image:
    """Weights that fall to 0 on the edges of a known component, (rows, columns) float32; ``blur`` in pixels."""
    smooth = cv2.GaussianBlur(transmission, (0, 0), blur, borderType=cv2.BORDER_REPLICATE)
    strength = np.hypot(*(cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=3) for order in ((1, 0), (0, 1))))
    strength = np.asarray(cv2.dilate(strength, np.ones((3, 3), np.uint8)))
    return np.asarray(1 / (1 + (strength / max(_EDGE_SHARE * float(strength.max()), _TINY)) ** 2), np.float32)


def refine(
    view: ImplantView, start: Matrix, levels: Sequence[Level] = LEVELS, per_mm: float = METAL_PER_MM, most: int = 15
) -> Refined:
    """Refine a pose.

    Args:
        view: the implant in images of any brightness, or in their logarithms.
        start: (4, 4) implant to world, within a few millimetres and degrees of the true pose.
        levels: from coarse to fine; those for logarithms differ.
        per_mm: start value of the attenuation, in 1/mm.
        most: maximum iterations at each level.

    Raises:
        DataError: the implant is not in the images at the start.
    """
    pose, evaluations = start, 0
    for level in levels:
        matcher = Matcher(view, [pose], level)
        pose, per_mm = improve(matcher, pose, per_mm, level, most)
        evaluations += matcher.evaluations
    # Each in a window about itself alone, so that a pose's similarity does not depend on where the search began.
    before, _ = similarity(view, start, per_mm, levels[-1])
    after, by_plane = similarity(view, pose, per_mm, levels[-1])
    distance, angle = _motion_between(start, pose, view.mesh)
    return Refined(
        pose=pose,
        before=before,
        after=after,
        after_planes=by_plane,
        displacement_mm=distance,
        rotation_deg=angle,
        per_mm=per_mm,
        evaluations=evaluations,
    )


def _motion_between(start: Matrix, pose: Matrix, mesh: Mesh) -> tuple[float, float]:
    """Displacement of the implant's centre in mm, and rotation in degrees."""
    middle = np.append(mesh.bounds.mean(axis=0), 1.0)
    angle = rotation_angle_deg(pose[:3, :3] @ start[:3, :3].T)
    return float(np.linalg.norm((pose - start) @ middle)), float(angle)


def similarity(
    view: ImplantView, pose: Matrix, per_mm: float, level: Level = LEVELS[-1]
) -> tuple[float, dict[str, float]]:
    """Gradient correlation of a pose, mean over the planes and of each plane: of the pose alone, whatever led to it.

    Raises:
        DataError: the implant is not in an image.
    """
    by_plane = dict(zip(view.images, Matcher(view, [pose], level).correlations(pose, per_mm), strict=True))
    return float(np.mean(list(by_plane.values()))), by_plane


def improve(
    matcher: Matcher, start: Matrix, per_mm: float, level: Level, most: int, is_central: bool = True
) -> tuple[Matrix, float]:
    """The best pose and attenuation at one level near a start: seven unknowns, at most ``most`` iterations.

    Args:
        is_central: derivatives by central differences; otherwise by forward ones, in half the time.
    """
    middle = matcher.middle_mm
    # The logarithm of the attenuation's change and six parameters of the motion, scaled to similar magnitude. The
    # attenuation is the first, since its derivative then needs no rendering.

    shifts = matcher.shifts

    def motion(numbers: Numbers) -> Numbers:
        return np.concatenate([shifts @ (numbers[1:4] * level.step), numbers[4:] * level.step])

    def attenuation(change: float) -> float:
        return float(np.clip(per_mm * np.exp(change), *_ATTENUATION_RANGE))

    def residuals(numbers: Numbers) -> Numbers:
        pose = moved(start, motion(numbers), middle)
        return matcher.residuals(pose, attenuation(numbers[0] * _ATTENUATION_STEP)).astype(np.float64)

    found = minimise(residuals, 7, most, is_central)
    return moved(start, motion(found), middle), attenuation(found[0] * _ATTENUATION_STEP)
