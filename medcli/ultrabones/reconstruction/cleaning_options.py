"""How a cloud is cleaned and what is made of it, and which of that is refused; imports nothing that computes."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass

from medcli.core.errors import MedcliError, UsageError
from medcli.core.shell import install_extra

COMPANY_VOXEL_MM = 0.5
_LEAST_VOXEL_MM = 0.005


@dataclass(frozen=True)
class Cleaning:
    """How to clean a cloud; by default not at all.

    Attributes:
        voxel_mm: keep one point a cube of this size; 0: all.
        outlier_sd: drop points whose mean distance to the 20 nearest cubes exceeds the mean over all points by more
            than so many standard deviations; 0: none.
        radius_mm: drop points with fewer than 5 other cubes within this distance; 0: none.
    """

    voxel_mm: float = 0.0
    outlier_sd: float = 0.0
    radius_mm: float = 0.0

    @property
    def drops_points(self) -> bool:
        """Whether more is done than thinning."""
        return self.outlier_sd > 0 or self.radius_mm > 0


def check_cleaning(cleaning: Cleaning) -> None:
    """Refuse numbers that cannot be meant.

    Raises:
        UsageError: one is negative or not a number, or the radius is so small that it may be in metres.
    """
    for name, value in vars(cleaning).items():
        if not (math.isfinite(value) and value >= 0):
            raise UsageError(f"--{name.replace('_', '-')} {value}: expected a number of 0 or more; 0 leaves it out")
    if 0 < cleaning.radius_mm < COMPANY_VOXEL_MM:
        raise UsageError(
            f"--radius-mm {cleaning.radius_mm:g}: within less than {COMPANY_VOXEL_MM:g} mm no point has company",
            "a radius is in millimetres, usually 2 to 5",
        )
    if 0 < cleaning.voxel_mm < _LEAST_VOXEL_MM:
        raise UsageError(
            f"--voxel-mm {cleaning.voxel_mm:g} is far below the size of a pixel (0.05 mm)",
            "an edge is in millimetres, usually 0.2 to 1; 0 keeps all points",
        )


def check_surface_extra(kind: str | None) -> None:
    """Raise :class:`MedcliError` where a surface is asked for and its library is not installed."""
    if kind is not None and importlib.util.find_spec("skimage") is None:
        raise MedcliError("--surface needs scikit-image, which is not installed", install_extra("surface"))
