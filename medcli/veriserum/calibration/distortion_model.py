"""The published distortion model of one image plane: from pixels of a native image to millimetres at the detector.

For a pixel at column x, row y (the centre of the top-left pixel is (0, 0)):

1. reflect:     p = (x, -y)
2. rigid:       (u, v) = S R p + T                        millimetres
3. polynomial:  X = Σ a[4i+j] u^i v^j,  Y = Σ a[16+4i+j] u^i v^j,  i, j = 0 … 3;
                millimetres, origin at the image centre, x to the right, y up

Source: Wang et al., "Veriserum", MICCAI 2025, and the dataset's calibration tables, whose text form
``a_0,…,a_31;S;T_x,T_y;R_00,R_01,R_10,R_11`` is read and written here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike, NDArray

from medcli.core.errors import DataError
from medcli.veriserum.dataset.detector import NATIVE_HEIGHT, NATIVE_WIDTH

if TYPE_CHECKING:
    import pandas as pd

_NEWTON_STEPS = 30
_NEWTON_TOLERANCE_PX = 1e-10
_LEAST_RELATIVE_DETERMINANT = 0.05


@dataclass(frozen=True, eq=False)
class Distortion:
    """A distortion calibration of one plane; call it to map pixels to millimetres.

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

    def __post_init__(self) -> None:
        shapes = (self.coefficients.shape, self.translation_mm.shape, self.rotation.shape)
        if shapes != ((32,), (2,), (2, 2)):
            raise ValueError(f"coefficients, translation, rotation must be (32,), (2,), (2, 2); got {shapes}")

    @classmethod
    def from_text(cls, text: str) -> Distortion:
        """Read the text form of the published tables.

        Raises:
            DataError: another number of parts or numbers, or a number that is not finite.
        """
        parts = str(text).split(";")
        try:
            numbers = [np.array([float(word) for word in part.split(",")]) for part in parts]
        except ValueError as error:
            raise DataError(f"distortion calibration is not made of numbers: {error}") from error
        counts = [len(part) for part in numbers]
        if counts != [32, 1, 2, 4]:
            raise DataError(f"distortion calibration must have 32;1;2;4 numbers, got {';'.join(map(str, counts))}")
        if not all(np.isfinite(part).all() for part in numbers):
            raise DataError("distortion calibration holds a number that is not finite")
        return cls(numbers[0], float(numbers[1][0]), numbers[2], numbers[3].reshape(2, 2))

    @classmethod
    def from_row(cls, row: Mapping[Any, Any], plane: str) -> Distortion:
        """Read one plane ("bs" or "fs") of a row of the distortion calibration table.

        Raises:
            DataError: the column is absent or its text is not a calibration; names the row's id.
        """
        column = f"distortion_result_{plane}"
        if column not in row:
            raise DataError(f"distortion calibration table has no column {column}")
        try:
            return cls.from_text(row[column])
        except DataError as error:
            raise DataError(f"calibration {row.get('id', '?')}, plane {plane}: {error.message}") from error

    @classmethod
    def from_table(cls, table: pd.DataFrame | None, number: int, plane: str) -> Distortion:
        """Look one plane of a calibration up in the distortion calibration table, whose index are the ids.

        Raises:
            DataError: there is no table, the id is not in it, or what it says is not a calibration.
        """
        if table is None or number not in table.index:
            known = "there is no table" if table is None else f"it has {', '.join(map(str, table.index)) or 'none'}"
            raise DataError(
                f"distortion calibration {number} is not in the table; {known}", "check the tables below --root"
            )
        return cls.from_row({"id": number, **table.loc[number].to_dict()}, plane)

    def to_text(self) -> str:
        """The text form of the published tables; :meth:`from_text` gives the same numbers back."""
        parts = (self.coefficients, [self.scale], self.translation_mm, self.rotation.ravel())
        return ";".join(",".join(repr(float(number)) for number in part) for part in parts)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the numbers, in hexadecimal: equal for equal calibrations."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()

    def __call__(self, points_px: ArrayLike) -> NDArray[np.float64]:
        """Map pixels to millimetres.

        Args:
            points_px: (N, 2) column, row of the native image.

        Returns:
            (N, 2) x to the right, y up, millimetres from the image centre.
        """
        u, v = self._to_plane(_as_points(points_px))
        return np.stack([polynomial.polyval2d(u, v, part) for part in self._grids()], axis=-1)

    def jacobian(self, points_px: ArrayLike) -> NDArray[np.float64]:
        """Derivative of the map at pixels (N, 2): (N, 2, 2), [mm x or y, pixel column or row]."""
        u, v = self._to_plane(_as_points(points_px))
        gradient = [
            [polynomial.polyval2d(u, v, polynomial.polyder(part, axis=axis)) for axis in (0, 1)]
            for part in self._grids()
        ]
        reflected = self.scale * self.rotation * np.array([1.0, -1.0])
        return np.moveaxis(np.array(gradient), -1, 0) @ reflected

    def inverse(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Map millimetres back to pixels by Newton's method.

        Args:
            points_mm: (N, 2) x to the right, y up, millimetres from the image centre.

        Returns:
            (N, 2) column, row, also beyond the image, where the polynomial extrapolates; NaN where no position maps
            to the point (far outside, where the polynomial folds back). Round trips are exact to 1e-6 pixels.
        """
        target = _as_points(points_mm)
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
        """Show that the map keeps one orientation and does not collapse anywhere in a native image.

        Raises:
            DataError: it folds or collapses; ``name`` says which calibration.
        """
        columns, rows = np.linspace(0, NATIVE_WIDTH - 1, 65), np.linspace(0, NATIVE_HEIGHT - 1, 65)
        grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        determinant = np.linalg.det(self.jacobian(grid))
        least = np.median(np.abs(determinant)) * _LEAST_RELATIVE_DETERMINANT
        if least == 0 or not (np.all(determinant > least) or np.all(determinant < -least)):
            raise DataError(f"{name} is not invertible over the image: it maps different pixels to one place")

    def _to_plane(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        reflected = points_px * np.array([1.0, -1.0])
        return (self.scale * (reflected @ self.rotation.T) + self.translation_mm).T

    def _grids(self) -> NDArray[np.float64]:
        """(2, 4, 4): [X or Y, power of u, power of v]."""
        return self.coefficients.reshape(2, 4, 4)

    def _linear_inverse(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels by the best affine approximation of the inverse over the image: a start for Newton's method."""
        columns, rows = np.linspace(0, NATIVE_WIDTH - 1, 9), np.linspace(0, NATIVE_HEIGHT - 1, 9)
        pixels = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        fit, *_ = np.linalg.lstsq(_with_one(self(pixels)), pixels, rcond=None)
        return _with_one(points_mm) @ fit


def _as_points(points: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"points must be (N, 2), got {array.shape}")
    return array


def _with_one(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([points, np.ones(len(points))])
