"""Tables of poses in other units: radians for degrees, metres for millimetres.

Every number of such a table is within its bounds, so it is recognised by all of them together: no angle of many poses
is beyond half a turn in radians, no position beyond the size of an X-ray room in metres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST_POSES = 3
_RADIANS = (0.2, np.pi + 0.01)
"""The largest angle of a table in radians; in degrees, no knee would ever be turned by more than three."""
_METRES = (0.01, 2.5)
"""The largest coordinate of a table in metres; the published poses are about 380 mm from the planes' origin."""


def unit_problem(numbers: NDArray[np.float64]) -> str:
    """Why poses (N, 6), tx ty tz in mm and rz rx ry in degrees, look like other units; empty: they do not.

    Rows that are not finite are not looked at; of fewer than three nothing is said.
    """
    numbers = numbers[np.isfinite(numbers).all(axis=1)]
    if len(numbers) < _LEAST_POSES:
        return ""
    position, angle = (float(np.abs(part).max()) for part in (numbers[:, :3], numbers[:, 3:]))
    found = []
    if _METRES[0] <= position <= _METRES[1]:
        found.append(f"positions within {position:.3g} look like metres: tx ty tz must be in mm, multiply by 1000")
    if _RADIANS[0] <= angle <= _RADIANS[1]:
        found.append(f"angles within {angle:.3g} look like radians: rz rx ry must be degrees, multiply by 57.2958")
    return "; ".join(found)
