"""The resolution levels of a registration, from coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Level:
    """One resolution level, from coarse to fine.

    Attributes:
        size: pixels along each side of the calibrated image.
        blur_mm: standard deviation at the detector of the blur of image and rendering.
        reach_mm: distance from the implant's outline, at the detector, within which the image is compared.
        step: millimetres and degrees, step of the finite differences and unit of the unknowns.
        hardening: exponent of the path length, over 4 mm; below 1, thick metal attenuates less for each millimetre.
    """

    size: int
    blur_mm: float
    reach_mm: float
    step: float
    hardening: float = 1.0


LEVELS = (
    Level(256, 4.0, 14.0, 1.0),
    Level(256, 2.0, 9.0, 0.5),
    Level(512, 1.0, 5.0, 0.25),
    Level(1024, 0.4, 2.5, 0.3),  # finer than most images, to reduce the effect of the rendering's pixels
)
LOG_LEVELS = tuple(replace(level, hardening=0.7) for level in LEVELS)
"""The levels for the logarithms of real images. On simulated pairs with four energies, logarithm and hardening
lowered the mean rotation error of tibial components from 0.65 to 0.30 degrees and of femoral ones from 0.32 to 0.15."""
