"""Refine the pose of an implant by matching its rendering to both X-ray planes.

Gradients are compared: the edges of the metal determine the pose, with little influence of exposure and soft tissue.
With f and m the weighted gradient images (both directions) of image and rendering, each divided by its norm, the sum of
squares is |f - m|² = 2 - 2 <f, m>, so least squares over the six parameters of a rigid motion maximise the gradient
correlation <f, m> (Penney et al. 1998, IEEE Trans Med Imaging 17:586). The optimiser is Levenberg-Marquardt with finite
differences, which takes some hundred renderings of a window about the implant where a derivative-free search takes
thousands. From coarse to fine, blur and window shrink.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh
from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.veriserum.geometry.biplane import Camera, DualPlane, ImageGrid

Image = NDArray[Any]
"""(H, W) float32."""
Matrix = NDArray[np.float64]
Numbers = NDArray[np.float64]

_LEAST_PIXELS = 12
"""Minimum extent of an implant in pixels along each side."""
_FIRST_DAMPING, _MOST_DAMPING, _TINY = 1e-3, 1e4, 1e-12
_LEAST_GAIN, _LEAST_STEP, _MOST_STEP = 1e-5, 5e-3, 5.0
_ATTENUATION_STEP = 0.1
_ATTENUATION_RANGE = (0.02, 2.0)
_DARK_CORRELATION = 1e-12


@dataclass(frozen=True)
class Level:
    """One resolution level, from coarse to fine.

    Attributes:
        size: pixels along each side of the calibrated image.
        blur_mm: standard deviation at the detector of the blur of image and rendering.
        reach_mm: distance from the implant's outline, at the detector, within which the image is compared.
        step: millimetres and degrees, step of the finite differences and unit of the unknowns.
    """

    size: int
    blur_mm: float
    reach_mm: float
    step: float


LEVELS = (
    Level(256, 4.0, 14.0, 1.0),
    Level(256, 2.0, 9.0, 0.5),
    Level(512, 1.0, 5.0, 0.25),
    Level(1024, 0.4, 2.5, 0.3),  # finer than most images, to reduce the effect of the rendering's pixels
)


@dataclass(frozen=True)
class MatchingSettings:
    """Settings of a refinement.

    Attributes:
        levels: from coarse to fine.
        per_mm: start value of the attenuation of the implant's metal, in 1/mm; it is fitted with the pose, since it
            depends on alloy, tube voltage and glare.
        most_evaluations: maximum evaluations of the residuals (without those for derivatives) per level.
    """

    levels: Sequence[Level] = LEVELS
    per_mm: float = 0.2
    most_evaluations: int = 15


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


class Matcher:
    """The objective at one level: one implant, the cameras and the two images."""

    def __init__(
        self, images: Mapping[str, Image], cameras: DualPlane, mesh: Mesh, around: Sequence[Matrix], level: Level
    ) -> None:
        self.mesh = mesh
        self.planes = [
            _PlaneMatcher(image, cameras.camera(plane), mesh, around, level) for plane, image in images.items()
        ]
        self.evaluations = 0

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
        return [_dot(plane.fixed, plane.moving(pose, per_mm)) for plane in self.planes]


class _PlaneMatcher:
    """One plane's window."""

    def __init__(self, image: Image, camera: Camera, mesh: Mesh, around: Sequence[Matrix], level: Level) -> None:
        self.camera, self.mesh = camera, mesh
        whole = ImageGrid.calibrated(level.size)
        self.blur = level.blur_mm / whole.pixel_mm
        margin = int(np.ceil((level.reach_mm + 2 * level.blur_mm) / whole.pixel_mm)) + 2
        self.grid, first = _window(camera, mesh, around, whole, margin)
        image = _cropped(_resized(image, level.size), first, self.grid)
        self.weight = self._weight(around, level.reach_mm / whole.pixel_mm)
        self.fixed = self._gradients(image)

    def _weight(self, around: Sequence[Matrix], reach: float) -> Image:
        """Square root of the weight: 1 near the implant at any of the poses, falling to 0 within ``reach`` pixels."""
        seen = np.zeros((self.grid.rows, self.grid.columns), dtype=bool)
        for pose in around:
            seen |= self.camera.silhouette(self.mesh, pose, self.grid)
        # Not OpenCV's distance transform, which occasionally gives other numbers when called from several threads.
        distance = ndimage.distance_transform_edt(~seen)
        return np.sqrt(np.clip(2 - 2 * distance / reach, 0, 1)).astype(np.float32)

    def moving(self, pose: Matrix, per_mm: float) -> NDArray[np.float32]:
        """Weighted gradients of the rendering, of norm 1, (N,)."""
        length = self.camera.path_length(self.mesh, pose, self.grid)
        transmission: Image = cv2.exp(length * np.float32(-per_mm))
        values = self._gradients(transmission)
        # An empty rendering must not match better than one in a wrong place.
        return values if values.any() else -self.fixed

    def _gradients(self, image: Image) -> NDArray[np.float32]:
        smooth = cv2.GaussianBlur(image, (0, 0), self.blur, borderType=cv2.BORDER_REPLICATE)
        parts = [
            (self.weight * cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=3, borderType=cv2.BORDER_REPLICATE)).ravel()
            for order in ((1, 0), (0, 1))
        ]
        values = np.concatenate(parts)
        norm = np.sqrt(_dot(values, values))
        return values / np.float32(max(norm, _DARK_CORRELATION))


def refine(
    images: Mapping[str, Image],
    cameras: DualPlane,
    mesh: Mesh,
    start: Matrix,
    settings: MatchingSettings | None = None,
) -> Refined:
    """Refine a pose.

    Args:
        images: plane ("bs", "fs") -> calibrated image (S, S), any brightness; one plane suffices, but hardly
            determines the position along its rays.
        cameras: of the recording.
        mesh: the implant, closed, millimetres.
        start: (4, 4) implant to world, within a few millimetres and degrees of the true pose.

    Raises:
        DataError: the implant is not in the images at the start.
    """
    settings = settings or MatchingSettings()
    pose, per_mm, evaluations = start, settings.per_mm, 0
    for level in settings.levels:
        matcher = Matcher(images, cameras, mesh, [pose], level)
        pose, per_mm = improve(matcher, pose, per_mm, level, settings.most_evaluations)
        evaluations += matcher.evaluations
    # Each in a window about itself alone, so that a pose's similarity does not depend on where the search began.
    before, _ = similarity(images, cameras, mesh, start, per_mm, settings.levels[-1])
    after, by_plane = similarity(images, cameras, mesh, pose, per_mm, settings.levels[-1])
    middle = np.append(mesh.bounds.mean(axis=0), 1.0)
    return Refined(
        pose=pose,
        before=before,
        after=after,
        after_planes=by_plane,
        displacement_mm=float(np.linalg.norm((pose - start) @ middle)),
        rotation_deg=float(rotation_angle_deg(pose[:3, :3] @ start[:3, :3].T)),
        per_mm=per_mm,
        evaluations=evaluations,
    )


def similarity(
    images: Mapping[str, Image], cameras: DualPlane, mesh: Mesh, pose: Matrix, per_mm: float, level: Level = LEVELS[-1]
) -> tuple[float, dict[str, float]]:
    """Gradient correlation of a pose, mean over the planes and of each plane: of the pose alone, whatever led to it.

    Raises:
        DataError: the implant is not in an image.
    """
    matcher = Matcher(images, cameras, mesh, [pose], level)
    by_plane = dict(zip(images, matcher.correlations(pose, per_mm), strict=True))
    return float(np.mean(list(by_plane.values()))), by_plane


def moved(pose: Matrix, motion: NDArray[np.float64], middle_mm: NDArray[np.float64]) -> Matrix:
    """A pose after a rigid motion in the world.

    Args:
        pose: (4, 4) implant to world.
        motion: (6,) millimetres along x, y, z; rotation vector in degrees, about ``middle_mm``.
        middle_mm: (3,) centre of rotation in the implant's coordinates.
    """
    result = np.eye(4)
    result[:3, :3] = Rotation.from_rotvec(motion[3:], degrees=True).as_matrix() @ pose[:3, :3]
    result[:3, 3] = pose[:3, :3] @ middle_mm + pose[:3, 3] + motion[:3] - result[:3, :3] @ middle_mm
    return result


def improve(matcher: Matcher, start: Matrix, per_mm: float, level: Level, most: int) -> tuple[Matrix, float]:
    """The best pose and attenuation at one level near a start: seven unknowns, at most ``most`` iterations."""
    middle = matcher.mesh.bounds.mean(axis=0)
    # Six parameters of the motion, and the logarithm of the attenuation's change, scaled to similar magnitude.
    steps = np.append(np.full(6, level.step), _ATTENUATION_STEP)

    def attenuation(change: float) -> float:
        return float(np.clip(per_mm * np.exp(change), *_ATTENUATION_RANGE))

    def residuals(numbers: Numbers) -> Numbers:
        pose = moved(start, numbers[:6] * steps[:6], middle)
        return matcher.residuals(pose, attenuation(numbers[6] * steps[6])).astype(np.float64)

    found = minimise(residuals, 7, most)
    return moved(start, found[:6] * steps[:6], middle), attenuation(found[6] * steps[6])


def minimise(residuals: Callable[[Numbers], Numbers], count: int, most: int) -> Numbers:
    """Least squares by the Levenberg-Marquardt method, starting from zeros.

    Sums are computed in a fixed order, without a threaded linear algebra library, so results are bitwise reproducible.
    That is why SciPy's ``least_squares`` is not used.

    Args:
        residuals: (count,) float64 -> (N,) float64; the unknowns are in units of the expected change.
        count: number of unknowns.
        most: maximum number of iterations.

    Returns:
        (count,) the unknowns.
    """
    numbers, damping = np.zeros(count), _FIRST_DAMPING
    current = residuals(numbers)
    cost = _dot(current, current)
    # Finite differences with a step of one unit: smaller ones are noisy because of the rendering's pixels.
    halves = np.eye(count) / 2
    for _ in range(most):
        slopes = np.stack([residuals(numbers + half) - residuals(numbers - half) for half in halves])
        normal, gradient = np.einsum("in,jn->ij", slopes, slopes), np.einsum("in,n->i", slopes, current)
        before = cost
        while damping < _MOST_DAMPING:
            damped = normal + np.diag(damping * np.diag(normal) + _TINY)
            step = -np.linalg.solve(damped, gradient)
            step *= min(1.0, _MOST_STEP / max(float(np.abs(step).max()), _TINY))
            trial = residuals(numbers + step)
            if (trial_cost := _dot(trial, trial)) < cost:
                numbers, current, cost, damping = numbers + step, trial, trial_cost, damping / 10
                break
            damping = max(damping, _FIRST_DAMPING) * 10
        if damping >= _MOST_DAMPING or before - cost < _LEAST_GAIN * before or np.abs(step).max() < _LEAST_STEP:
            break
    return numbers


def _dot(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Sum of products in float64, in an order that depends only on the length."""
    return float(np.sum(np.multiply(a, b, dtype=np.float64)))


def _window(
    camera: Camera, mesh: Mesh, around: Sequence[Matrix], whole: ImageGrid, margin: int
) -> tuple[ImageGrid, tuple[int, int]]:
    """The part of the image about the implant at some poses, and its first column and row.

    Raises:
        DataError: it is not in the image, or too small.
    """
    places = [mesh.vertices @ pose[:3, :3].T + pose[:3, 3] for pose in around]
    pixels = whole.to_pixels(camera.project(np.concatenate(places)))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    seen = np.minimum(high, whole.columns) - np.maximum(low, 0)
    if not np.all(seen >= _LEAST_PIXELS):
        raise DataError("the implant is not in the image at its start pose; is the pose in millimetres, in this frame?")
    first = np.floor(np.maximum(low, 0)).astype(int) - margin
    last = np.ceil(np.minimum(high, whole.columns)).astype(int) + margin
    grid = whole.cropped(int(first[0]), int(first[1]), int(last[0] - first[0]), int(last[1] - first[1]))
    return grid, (int(first[0]), int(first[1]))


def _resized(image: Image, size: int) -> Image:
    image = image.astype(np.float32)
    if image.shape == (size, size):
        return image
    shrinks = image.shape[0] > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _cropped(image: Image, first: tuple[int, int], grid: ImageGrid) -> Image:
    """The window of an image, extended by its edge pixels."""
    columns = np.clip(first[0] + np.arange(grid.columns), 0, image.shape[1] - 1)
    rows = np.clip(first[1] + np.arange(grid.rows), 0, image.shape[0] - 1)
    return np.ascontiguousarray(image[rows[:, None], columns])
