"""The beads of the grid phantom in synthetic and empty images."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.synthetic.fluoroscopy.grid_phantom import undistorted_grid
from medcli.veriserum.calibration.grid_fit.bead_detection import find_beads
from tests.support.grid_images import native, seen_beads


def test_beads_are_found_to_a_fraction_of_a_pixel() -> None:
    true, nodes = seen_beads()
    beads = find_beads(native("bs"))
    nearest = np.linalg.norm(beads.centres_px[:, None] - true, axis=2)
    found = nearest.min(axis=1) < 2
    offsets = (beads.centres_px - true[nearest.argmin(axis=1)])[found]
    assert 0.93 * len(nodes) < found.sum() < 0.97 * len(nodes)
    assert np.sqrt((offsets**2).mean()) < 0.1  # a bead is 9 pixels wide; 0.1 pixel is 0.02 mm
    assert np.all(np.abs(offsets.mean(axis=0)) < 0.01)  # an error of half a pixel in a convention would show
    assert (~found).sum() <= 20


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_image_has_no_beads(level: int) -> None:
    assert len(find_beads(np.full((1600, 1664), level, np.uint8))) == 0


def test_vignetting_and_noise_are_not_detected_as_beads() -> None:
    generator = np.random.default_rng(0)
    no_beads = np.zeros((45, 45), dtype=bool)
    image = undistorted_grid(no_beads) + 0.03 * generator.standard_normal((1600, 1600))
    assert len(find_beads((image * 255).clip(0, 255).astype(np.uint8))) < 20
