"""Echoes are found in the image alone: ridges with a shadow, not layers of tissue."""

from __future__ import annotations

import numpy as np

from medcli.ultrabones.pose_refinement.echo_distance import find_echoes

S = 0.05392


def frame(shadow: bool) -> tuple[np.ndarray, np.ndarray]:
    """Speckle, a layer of tissue at row 150, and a bright arc; below it tissue or a shadow."""
    rng = np.random.default_rng(0)
    columns = np.arange(950)
    arc = np.where(np.abs(columns - 475) < 200, 300 + ((columns - 475) / 30.0) ** 2, np.inf)
    image = 60 + 8 * rng.standard_normal((811, 950))
    rows = np.arange(811)[:, None]
    if shadow:
        image[rows > arc] *= 0.2
    image += 150 * np.exp(-(((rows - np.minimum(arc, 9e3)) / 5.0) ** 2)) + 70 * np.exp(-(((rows - 150) / 5.0) ** 2))
    return np.clip(image, 0, 255).astype(np.uint8), arc


def test_the_ridge_over_a_shadow_is_found_and_the_layer_is_not() -> None:
    image, arc = frame(shadow=True)
    rows, columns = find_echoes(image, S)
    on_arc = np.abs(columns - 475) < 190
    assert on_arc.sum() > 35
    assert np.abs(rows[on_arc] - arc[columns[on_arc]]).max() <= 3
    assert np.median(np.abs(rows[on_arc] - arc[columns[on_arc]])) <= 1.5
    layer = rows < 200
    assert layer.sum() <= 0.5 * on_arc.sum()


def test_half_the_size_gives_the_same_places() -> None:
    image, arc = frame(shadow=True)
    rows, columns = find_echoes(np.ascontiguousarray(image[::2, ::2]), 2 * S)
    on_arc = np.abs(2 * columns - 475) < 190
    assert np.abs(2 * rows[on_arc] - arc[2 * columns[on_arc]]).max() <= 6


def test_an_empty_or_flat_image_has_none() -> None:
    assert len(find_echoes(np.zeros((811, 950), np.uint8), S)[0]) == 0
    assert len(find_echoes(np.full((40, 950), 200, np.uint8), S)[0]) == 0
