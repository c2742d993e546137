"""Images of the bead grid with known calibration, and positions of the imaged beads."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.synthetic.fluoroscopy.calibrations import draw_calibrations
from medcli.synthetic.fluoroscopy.grid_phantom import grid_image
from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from medcli.veriserum.calibration.grid_fit import phantom
from medcli.veriserum.dataset.detector import PLANES

Points = NDArray[np.float64]


@lru_cache(maxsize=1)
def truth() -> dict[str, PolynomialDistortion]:
    calibration = draw_calibrations(1, seed=3)[0]
    return {plane: calibration.distortion(plane) for plane in PLANES}


@lru_cache(maxsize=2)
def native(plane: str) -> NDArray[np.uint8]:
    """A typical image: noise, 5 % of the beads missing, some spurious spots."""
    generator = np.random.default_rng(11)
    image = grid_image(truth()[plane], generator, noise=1.0, missing_share=0.05)
    for x, y in generator.uniform(500, 1100, (20, 2)):
        cv2.circle(image, (round(x), round(y)), 4, 60, -1)
    return image


def seen_beads(rotation_deg: float = 0.0, flip: tuple[int, int] = (1, 1)) -> tuple[Points, Points]:
    """Beads in a distorted image that is then rotated about its centre and flipped: pixels, and their nodes."""
    nodes = np.argwhere(phantom.bead_presence())
    middle = np.array([831.5, 799.5])
    angle = np.radians(rotation_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pixels = (truth()["bs"].inverse(phantom.nodes_to_mm(nodes)) - middle) * flip
    return pixels @ turn + middle, nodes


def largest_map_error(fitted: PolynomialDistortion, true: PolynomialDistortion) -> float:
    """Millimetres, over every fourth pixel whose true position is between beads."""
    pixels = np.stack(np.meshgrid(np.arange(0, 1664, 4.0), np.arange(0, 1600, 4.0)), -1).reshape(-1, 2)
    places = true(pixels)
    half = phantom.MIDDLE * phantom.PITCH_MM
    inside = np.all(np.abs(places) <= half, axis=1)
    inside &= np.abs(places).sum(axis=1) <= (2 * phantom.MIDDLE - phantom.CUT_ROWS) * phantom.PITCH_MM
    return float(np.linalg.norm(fitted(pixels[inside]) - places[inside], axis=1).max())
