"""Masks over grey images."""

from __future__ import annotations

import numpy as np

from medcli.core.overlays import overlay_masks


def test_later_masks_lie_on_top_and_the_rest_stays_grey() -> None:
    grey = np.full((2, 3), 90, np.uint8)
    first, second = np.zeros((2, 3), bool), np.zeros((2, 3), bool)
    first[0, :2], second[0, 1] = True, True
    image = overlay_masks(grey, (first, (255, 0, 0)), (second, (0, 0, 255)))
    assert image.dtype == np.uint8
    assert image[0].tolist() == [[255, 0, 0], [0, 0, 255], [90, 90, 90]]
    assert (image[1] == 90).all()


def test_opacity_mixes_colour_and_grey() -> None:
    grey = np.full((1, 1), 100, np.uint8)
    mask = np.ones((1, 1), bool)
    assert overlay_masks(grey, (mask, (200, 0, 100)), opacity=0.5)[0, 0].tolist() == [150, 50, 100]
    assert grey[0, 0] == 100
