"""Limits of the numbers that enter from files: beyond them a number is damaged, or in another unit.

Each quantity has one :class:`Bound` here, and every reader asks it. The limits are generous, an order of magnitude
beyond the published data where the physics allows it, but narrow enough that metres or micrometres instead of
millimetres do not pass unnoticed. NaN and infinity are outside every bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Bound:
    """What a quantity can be.

    Attributes:
        name, unit: of the quantity, in messages; the unit may be empty.
        low, high: the limits, both included.
        why: where they come from.
    """

    name: str
    unit: str
    low: float
    high: float
    why: str

    def holds(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Which of some numbers are within the limits; NaN is not."""
        import numpy as np

        numbers = np.asarray(values, np.float64)
        return np.asarray((numbers >= self.low) & (numbers <= self.high))

    def problem(self, value: float, name: str = "") -> str:
        """Why a number cannot be right, empty where it can: ``x is 1e+308 mm, expected -10000 to 10000 mm``."""
        if self.low <= value <= self.high:
            return ""
        unit = f" {self.unit}" if self.unit else ""
        return f"{name or self.name} is {value:g}{unit}, expected {self.low:g} to {self.high:g}{unit}"


POSITION_MM = Bound(
    "position", "mm", -10_000, 10_000, "a CT scanner or an X-ray room is no larger; published: within 2,000 mm"
)
ANGLE_DEG = Bound("angle", "degrees", -3_600, 3_600, "ten turns, for angles that were unwrapped; published: within 180")
PIXEL_SPACING_MM = Bound(
    "pixel spacing", "mm", 0.001, 5.0, "edge of a pixel of an ultrasound image, of any probe and size; published: 0.054"
)
MEASURED_SPACING_MM = Bound(
    "pixel spacing", "mm", 0.005, 5.0, "as PIXEL_SPACING_MM; distances up to 2 mm are counted by the pixel, in a table"
)
SOURCE_DISTANCE_MM = Bound(
    "source-intensifier distance", "mm", 100, 10_000, "from tabletop to room; published: 1,851 to 1,861"
)
PRINCIPAL_POINT_MM = Bound(
    "principal point", "mm", -1_000, 1_000, "some detectors beside the centre of one; published: within 12"
)
MESH_EXTENT_MM = Bound(
    "extent", "mm", 5, 3_000, "from a small implant to a whole skeleton; a bone in metres or micrometres is outside"
)
IMPLANT_EXTENT_MM = Bound(
    "extent",
    "mm",
    25,
    400,
    "a knee's components are 40 to 150, with a long stem more; in centimetres below",
)
POINT_PX = Bound("position", "pixels", -5_000, 5_000, "native images have 1,664 x 1,600; a polynomial extrapolates")
POINT_MM = Bound("position", "mm", -2_000, 2_000, "five times the detector's 360 mm")
DETECTOR_PIXEL_MM = Bound(
    "its scale at the detector", "mm a pixel", 0.1125, 0.45, "within a factor of two of the nominal 0.225"
)
FIELD_SHARE = Bound(
    "the part of the native image on the corrected grid", "", 0.2, 1, "a quarter at twice the scale; published: 0.96"
)
FIELD_CENTRE_MM = Bound(
    "the distance of the image's centre from that of the grid", "mm", 0, 45, "an eighth of the grid; published: 2 to 15"
)
FIELD_TURN_DEG = Bound(
    "its rotation", "degrees", -20, 20, "`calibrate fit` reads grids turned by up to 10; published: 0.3 to 0.6"
)


_USUAL_MM = {
    MESH_EXTENT_MM: ("a leg bone is 50 to 500", 160.0),
    IMPLANT_EXTENT_MM: ("a knee's component is 40 to 150", 75.0),
}
"""What lies within a bound of extents, in words and the middle of it."""
_LARGER = {"metres": 1000.0, "inches": 25.4, "centimetres": 10.0}
_SMALLER = {"micrometres": 0.001}
"""Unit -> millimetres."""


def problem_of(values: Mapping[str, float], bounds: Mapping[str, Bound]) -> str:
    """The first problem among named numbers, empty where there is none; names without a bound are not looked at."""
    return next(
        (text for name, value in values.items() if name in bounds and (text := bounds[name].problem(value, name))), ""
    )


def pose_bounds(names: tuple[str, ...]) -> dict[str, Bound]:
    """The bounds of a pose's six columns: three positions, then three angles."""
    return dict(zip(names, [POSITION_MM] * 3 + [ANGLE_DEG] * 3, strict=True))


def mesh_problem(vertices: Any, bound: Bound = MESH_EXTENT_MM) -> tuple[str, str | None]:
    """Why vertices (V, 3) in millimetres cannot be those of a bone or an implant, and what to do; empty: they can.

    Args:
        bound: of the largest extent, :data:`MESH_EXTENT_MM` or :data:`IMPLANT_EXTENT_MM`.
    """
    import numpy as np

    low, high = np.min(vertices, axis=0), np.max(vertices, axis=0)
    extent = float(np.max(high - low))
    far = np.flatnonzero(~POSITION_MM.holds(vertices).all(axis=1))
    if 0 < len(far) < len(vertices) / 2:
        worst = float(vertices[far[0]][np.abs(vertices[far[0]]).argmax()])
        text = f"{len(far)} of {len(vertices):,} vertices cannot be right: {POSITION_MM.problem(worst, 'a coordinate')}"
        return text, "the file is damaged: get it again"
    if not bound.holds(extent):
        usual, middle = _USUAL_MM[bound]
        units = _SMALLER if extent > bound.high else _LARGER
        unit = min(units, key=lambda name: abs(np.log(max(extent, 1e-9) * units[name] / middle)))
        text = f"is {extent:.3g} mm long as it stands; {usual} mm, so this looks like {unit}"
        return f"{text}: scale it by {units[unit]:g}", "coordinates must be millimetres"
    if len(far):
        return f"lies {float(np.abs(vertices).max()):.3g} mm from the origin", "coordinates must be those of the CT, mm"
    return "", None
