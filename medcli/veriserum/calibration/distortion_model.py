"""Models of the distortion of one image plane: from pixels of a native image to millimetres at the detector.

Pixels are column x and row y of the native image, the centre of the top-left pixel being (0, 0); millimetres are
measured from the image centre, x to the right, y up.

A new model is one subclass of :class:`DistortionModel`, a frozen dataclass of numbers with ``__call__`` and
``from_estimate``, and its entry in :data:`DISTORTION_MODELS`. Its text in a calibration table starts with its name
(``brown:0.225,1e-6``); the published polynomial, whose text has no name, is the default.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike, NDArray

from medcli.core.errors import DataError, UsageError
from medcli.core.plausibility import DETECTOR_PIXEL_MM, FIELD_CENTRE_MM, FIELD_SHARE, FIELD_TURN_DEG
from medcli.veriserum.dataset.detector import GRID_SIZE, GRID_SPAN_MM, NATIVE_HEIGHT, NATIVE_WIDTH, PIXEL_MM

if TYPE_CHECKING:
    from typing import Self  # from Python 3.11

Points = NDArray[np.float64]
"""(N, 2)."""

_NEWTON_STEPS = 30
_NEWTON_TOLERANCE_PX = 1e-10
_DIFFERENCE_PX = 0.5
_LEAST_RELATIVE_DETERMINANT = 0.05
_FAR_OUTSIDE_PX = -1e6
_GRID_CENTRE = GRID_SIZE / 2
_PIXEL_TO_MM = np.array([PIXEL_MM, -PIXEL_MM])
_BLOCKS = 16
"""Number of blocks that an image is evaluated in, to limit memory."""


class DistortionModel(ABC):
    """A distortion calibration of one plane; call it to map pixels (N, 2) to millimetres (N, 2).

    A subclass overrides these general methods where it has faster or more exact ones.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def from_estimate(cls, points_px: Points, points_mm: Points) -> Self:
        """The model that best maps points (N, 2) to their true positions (N, 2)."""

    @abstractmethod
    def __call__(self, points_px: ArrayLike) -> Points:
        """Map pixels (N, 2) to millimetres (N, 2)."""

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the text of a calibration table.

        Raises:
            DataError: wrong number of values, or one that is not finite.
        """
        (numbers,) = finite_parts(text.partition(":")[2], [len(fields(cls))])  # type: ignore[arg-type]
        return cls(*numbers.tolist())

    @staticmethod
    def parse(text: str) -> DistortionModel:
        """The calibration that a cell of a calibration table describes, of whichever model.

        Raises:
            DataError: no such model, or the text does not contain its numbers.
        """
        name, colon, _ = text.partition(":")
        if colon and name not in DISTORTION_MODELS:
            raise DataError(f"no distortion model '{name}'; there are {', '.join(DISTORTION_MODELS)}")
        return DISTORTION_MODELS[name if colon else PolynomialDistortion.name].from_text(text)

    def to_text(self) -> str:
        """The text of a calibration table; :meth:`from_text` recovers the same numbers."""
        numbers = (float(getattr(self, entry.name)) for entry in fields(self))  # type: ignore[arg-type]
        return f"{self.name}:" + ",".join(map(repr, numbers))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the numbers, in hexadecimal: equal for equal calibrations."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()

    def residuals(self, points_px: Points, points_mm: Points) -> Points:
        """Mapped minus true positions, (N, 2) millimetres."""
        return self(points_px) - points_mm

    def jacobian(self, points_px: ArrayLike) -> NDArray[np.float64]:
        """Derivative of the map at pixels (N, 2): (N, 2, 2), [mm x or y, pixel column or row]."""
        points = as_points(points_px)
        shifts = _DIFFERENCE_PX * np.eye(2)
        return np.stack([(self(points + s) - self(points - s)) / (2 * _DIFFERENCE_PX) for s in shifts], axis=-1)

    def inverse(self, points_mm: ArrayLike) -> Points:
        """Map millimetres back to pixels by Newton's method.

        Args:
            points_mm: (N, 2) x to the right, y up, millimetres from the image centre.

        Returns:
            (N, 2) column, row, also beyond the image, where the model extrapolates; NaN where no position maps to the
            point (far outside, where a polynomial folds back). Round trips are exact to 1e-6 pixels.
        """
        target = as_points(points_mm)
        points = self._linear_inverse(target)
        step = np.full_like(points, np.inf)
        with np.errstate(all="ignore"):
            for _ in range(_NEWTON_STEPS):
                jacobian = self.jacobian(points)
                determinant = np.linalg.det(jacobian)[:, None]
                adjugate = np.stack([jacobian[:, 1, 1], -jacobian[:, 0, 1], -jacobian[:, 1, 0], jacobian[:, 0, 0]], -1)
                residual = target - self(points)
                step = np.einsum("nij,nj->ni", adjugate.reshape(-1, 2, 2), residual) / determinant
                points = points + step
                if not (np.abs(step) > _NEWTON_TOLERANCE_PX).any():
                    break
            found = np.all(np.abs(step) <= 1e-7, axis=1)
        return np.where(found[:, None], points, np.nan)

    def check_invertible(self, name: str = "distortion calibration") -> None:
        """Check that the map keeps one orientation and does not collapse anywhere in a native image.

        Raises:
            DataError: it folds or collapses; the message starts with ``name``.
        """
        with np.errstate(all="ignore"):
            determinant = np.linalg.det(self.jacobian(_image_points(65)))
        least = np.median(np.abs(determinant)) * _LEAST_RELATIVE_DETERMINANT
        if least == 0 or not (np.all(determinant > least) or np.all(determinant < -least)):
            raise DataError(f"{name} is not invertible over the image: it maps different pixels to one point")

    def check_plausible(self, name: str = "distortion calibration") -> None:
        """Check that the map is invertible, and maps a native image to about the size and place of the corrected grid.

        Raises:
            DataError: it does not; the message starts with ``name``.
        """
        with np.errstate(all="ignore"):  # of absurd numbers; NaN and infinity are implausible, too
            self.check_invertible(name)
            points = _image_points(33)
            jacobian, points_mm = self.jacobian(points), self(points)
            lengths = np.hypot(jacobian[:, 0], jacobian[:, 1])  # (N, 2): mm a column, mm a row
            areas = np.sqrt(np.abs(np.linalg.det(jacobian)))  # of the square with a pixel's area
            scales = [*np.median(lengths, axis=0).tolist(), float(np.median(areas))]
            share = float((np.abs(points_mm) <= GRID_SPAN_MM / 2).all(axis=1).mean())
            middle_mm = float(np.hypot(*self([[(NATIVE_WIDTH - 1) / 2, (NATIVE_HEIGHT - 1) / 2]])[0]))
        problems = [*(DETECTOR_PIXEL_MM.problem(scale) for scale in scales), FIELD_SHARE.problem(share)]
        problems.append(FIELD_CENTRE_MM.problem(middle_mm))
        if problem := next(filter(None, problems), ""):
            raise DataError(f"{name} cannot be right: {problem}")

    def check_orientation(self, name: str = "distortion calibration", may_mirror: bool = False) -> None:
        """Check that the map leaves right and up where they are in a native image, but for a small rotation.

        Args:
            may_mirror: the images of the study may be mirrored, which the map then reverses.

        Raises:
            DataError: it mirrors, turns or transposes them; the message starts with ``name``.
        """
        right_up = np.median(self.jacobian(_image_points(33)), axis=0) * [1, -1]
        if np.linalg.det(right_up) < 0:
            if not may_mirror:
                raise DataError(
                    f"{name} cannot be right: it mirrors the image, or exchanges its axes",
                    "check its signs and the order of its numbers; if the study's images are mirrored, fit it again "
                    "with --mirrored, or write 'mirrored: bs fs' (the planes that are) in its column method",
                )
            right_up = right_up * [-1, 1] * np.sign(right_up[1, 1])  # left to right, or top to bottom
        turn_deg = float(np.degrees(np.arctan2(right_up[1, 0] - right_up[0, 1], np.trace(right_up))))
        if problem := FIELD_TURN_DEG.problem(turn_deg):
            raise DataError(f"{name} cannot be right: {problem}")

    def grid_positions(self) -> NDArray[np.float64]:
        """(1600, 1664, 2): column and row of the corrected grid that each native pixel maps to."""
        columns, rows = np.arange(float(NATIVE_WIDTH)), np.arange(float(NATIVE_HEIGHT))
        blocks = (_mesh(columns, some) for some in np.array_split(rows, _BLOCKS))
        points_mm = np.concatenate([self(block) for block in blocks]).reshape(NATIVE_HEIGHT, NATIVE_WIDTH, 2)
        return np.asarray(points_mm / _PIXEL_TO_MM + _GRID_CENTRE)

    def native_positions(self, columns: NDArray[np.floating], rows: NDArray[np.floating]) -> NDArray[np.float32]:
        """(R, C, 2): x, y in the native image of the positions at ``rows`` (R,) and ``columns`` (C,) of the grid."""
        blocks = (_mesh(columns, some) for some in np.array_split(rows, _BLOCKS))
        found = [self.inverse((block - _GRID_CENTRE) * _PIXEL_TO_MM).astype(np.float32) for block in blocks]
        return np.nan_to_num(np.concatenate(found), nan=_FAR_OUTSIDE_PX).reshape(len(rows), len(columns), 2)

    def _linear_inverse(self, points_mm: Points) -> Points:
        """Pixels by the best affine approximation of the inverse over the image: a start for Newton's method."""
        pixels = _image_points(9)
        fit, *_ = np.linalg.lstsq(_with_one(self(pixels)), pixels, rcond=None)
        return _with_one(points_mm) @ fit


@dataclass(frozen=True, eq=False)
class PolynomialDistortion(DistortionModel):
    """The published model (Wang et al., "Veriserum", MICCAI 2025). For a pixel at column x, row y:

    1. reflect:     p = (x, -y)
    2. rigid:       (u, v) = S R p + T                        millimetres
    3. polynomial:  X = Σ a[4i+j] u^i v^j,  Y = Σ a[16+4i+j] u^i v^j,  i, j = 0 … 3;  millimetres

    Its text is ``a_0,…,a_31;S;T_x,T_y;R_00,R_01,R_10,R_11``.

    Attributes:
        coefficients: (32,) polynomial coefficients a_0 … a_31, the first 16 for X, the others for Y.
        scale: S, millimetres per pixel.
        translation_mm: (2,) T.
        rotation: (2, 2) R, row by row.
    """

    coefficients: NDArray[np.float64]
    scale: float
    translation_mm: NDArray[np.float64]
    rotation: NDArray[np.float64]
    name: ClassVar[str] = "polynomial"

    def __post_init__(self) -> None:
        shapes = (self.coefficients.shape, self.translation_mm.shape, self.rotation.shape)
        if shapes != ((32,), (2,), (2, 2)):
            raise ValueError(f"coefficients, translation, rotation must be (32,), (2,), (2, 2); got {shapes}")

    @classmethod
    def from_estimate(cls, points_px: Points, points_mm: Points) -> Self:
        from medcli.veriserum.calibration.grid_fit.polynomial_fit import solve_polynomial

        return cls(*solve_polynomial(points_px, points_mm))

    @classmethod
    def from_text(cls, text: str) -> Self:
        coefficients, scale, translation, rotation = finite_parts(text, [32, 1, 2, 4])
        return cls(coefficients, float(scale[0]), translation, rotation.reshape(2, 2))

    def to_text(self) -> str:
        parts = (self.coefficients, [self.scale], self.translation_mm, self.rotation.ravel())
        return ";".join(",".join(repr(float(number)) for number in part) for part in parts)

    def __call__(self, points_px: ArrayLike) -> Points:
        u, v = self._to_plane(as_points(points_px))
        return np.stack([polynomial.polyval2d(u, v, part) for part in self._grids()], axis=-1)

    def jacobian(self, points_px: ArrayLike) -> NDArray[np.float64]:
        u, v = self._to_plane(as_points(points_px))
        gradient = [
            [polynomial.polyval2d(u, v, polynomial.polyder(part, axis=axis)) for axis in (0, 1)]
            for part in self._grids()
        ]
        reflected = self.scale * self.rotation * np.array([1.0, -1.0])
        return np.asarray(np.moveaxis(np.array(gradient), -1, 0) @ reflected)

    def grid_positions(self) -> NDArray[np.float64]:
        from medcli.veriserum.calibration import undistortion_kernels

        positions = np.empty((NATIVE_HEIGHT, NATIVE_WIDTH, 2))
        undistortion_kernels.map_pixels(self._packed(), positions)
        return positions

    def native_positions(self, columns: NDArray[np.floating], rows: NDArray[np.floating]) -> NDArray[np.float32]:
        from medcli.veriserum.calibration import undistortion_kernels

        positions = np.empty((len(rows), len(columns), 2), np.float32)
        undistortion_kernels.invert_lattice(self._packed(), rows, columns, positions)
        return positions

    def _packed(self) -> NDArray[np.float64]:
        """(39,): the numbers in the order the kernels expect."""
        return np.concatenate([self.coefficients, [self.scale], self.translation_mm, self.rotation.ravel()])

    def _to_plane(self, points_px: Points) -> Points:
        reflected = points_px * np.array([1.0, -1.0])
        return np.asarray((self.scale * (reflected @ self.rotation.T) + self.translation_mm).T)

    def _grids(self) -> NDArray[np.float64]:
        """(2, 4, 4): [X or Y, power of u, power of v]."""
        return self.coefficients.reshape(2, 4, 4)


DISTORTION_MODELS: dict[str, type[DistortionModel]] = {model.name: model for model in (PolynomialDistortion,)}


def check_model(name: str) -> None:
    """Make sure that there is a distortion model of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in DISTORTION_MODELS:
        raise UsageError(f"--model '{name}' is not one of {', '.join(DISTORTION_MODELS)}")


def finite_parts(text: str, counts: list[int]) -> list[NDArray[np.float64]]:
    """The numbers of a text, parts separated by semicolons and numbers by commas.

    Raises:
        DataError: their number differs from ``counts``, or one is not finite.
    """
    try:
        parts = [np.array([float(word) for word in part.split(",")]) for part in text.split(";")]
    except ValueError as error:
        raise DataError(f"distortion calibration does not consist of numbers: {error}") from error
    found = [len(part) for part in parts]
    if found != counts:
        expected, got = (";".join(map(str, numbers)) for numbers in (counts, found))
        raise DataError(f"distortion calibration must have {expected} numbers, got {got}")
    if not all(np.isfinite(part).all() for part in parts):
        raise DataError("distortion calibration contains a number that is not finite")
    return parts


def as_points(points: ArrayLike) -> Points:
    """Points as an (N, 2) float64 array.

    Raises:
        ValueError: they have another shape.
    """
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"points must be (N, 2), got {array.shape}")
    return array


def _image_points(count: int) -> Points:
    """(count², 2): pixels distributed evenly over a native image."""
    return _mesh(np.linspace(0, NATIVE_WIDTH - 1, count), np.linspace(0, NATIVE_HEIGHT - 1, count))


def _mesh(columns: NDArray[np.floating], rows: NDArray[np.floating]) -> Points:
    """(R · C, 2): every column of every row."""
    return np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)


def _with_one(points: Points) -> Points:
    return np.column_stack([points, np.ones(len(points))])
