"""Which bead is which: in any view, with missing and spurious beads, and on other phantoms."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.veriserum.calibration.grid_fit import phantom
from medcli.veriserum.calibration.grid_fit.bead_matching import View, match_grid
from tests.support.grid_images import Points, seen_beads, truth


@pytest.mark.parametrize("rotation_deg", [-10, -4, 0, 10])
@pytest.mark.parametrize(
    ("flip", "view"),
    [
        ((1, 1), View.UPRIGHT),
        ((-1, 1), View.LEFT_RIGHT),
        ((1, -1), View.UPSIDE_DOWN),
        ((-1, -1), View.TURNED),
    ],
)
def test_every_bead_is_recognised_in_any_view(rotation_deg: float, flip: tuple[int, int], view: View) -> None:
    pixels, nodes = seen_beads(rotation_deg, flip)
    order = np.random.default_rng(0).permutation(len(pixels))
    match = match_grid(pixels[order])
    assert match.view is view
    assert len(match.spots) == len(pixels)
    assert match.missing == 0
    assert np.array_equal(match.nodes, nodes[order][match.spots])


@pytest.mark.parametrize("seed", range(5))
def test_missing_and_spurious_beads_do_not_confuse(seed: int) -> None:
    generator = np.random.default_rng(seed)
    pixels, nodes = seen_beads(generator.uniform(-10, 10))
    kept = generator.random(len(nodes)) > 0.2
    kept |= np.all(nodes == phantom.ORIENTATION_BEAD, axis=1)
    # A missing patch as well: the lattice must continue around it.
    kept &= np.linalg.norm(nodes - [25, 20], axis=1) > 3.5
    spurious = generator.uniform(200, 1400, (90, 2))
    points = np.concatenate([pixels[kept] + generator.normal(0, 0.3, (kept.sum(), 2)), spurious])
    match = match_grid(points)
    true_spots = match.spots < kept.sum()
    assert true_spots.sum() > 0.99 * kept.sum()
    assert np.array_equal(match.nodes[true_spots], nodes[kept][match.spots[true_spots]])


def lattice_points(along: int, pitch_px: float, cut: bool = False) -> Points:
    index = np.arange(along) - along // 2
    nodes = np.stack(np.meshgrid(index, index), -1).reshape(-1, 2)
    return nodes * pitch_px + [832.0, 800.0]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.empty((0, 2)), "0 round dark beads found"),
        (lattice_points(15, 31.0), "225 round dark beads found"),
        (lattice_points(45, 31.0), "lattice of 45 x 45 beads, 2025 in all; 1761 of them fit"),
        (lattice_points(25, 50.0), "lattice of 25 x 25 beads, 625 in all"),
        (
            np.random.default_rng(0).uniform(100, 1500, (1762, 2)),
            "1762 round dark beads found, but they do not form a square lattice",
        ),
    ],
)
def test_another_phantom_is_described(points: Points, message: str) -> None:
    with pytest.raises(DataError, match=message):
        match_grid(points)


def test_orientation_bead_missing_or_doubled() -> None:
    pixels, nodes = seen_beads()
    is_orientation = np.all(nodes == phantom.ORIENTATION_BEAD, axis=1)
    with pytest.raises(DataError, match=r"orientation bead .* is not visible"):
        match_grid(pixels[~is_orientation])
    twin = truth()["bs"].inverse(phantom.nodes_to_mm([[39, 39]]))
    with pytest.raises(DataError, match="is not the only one: upright, mirrored left to right"):
        match_grid(np.concatenate([pixels, twin]))


def test_a_rotation_beyond_recognition_is_reported() -> None:
    with pytest.raises(DataError, match=r"rotated by [-+]2\d degrees"):
        match_grid(seen_beads(25)[0])


def test_the_same_pattern_at_another_pitch_is_another_phantom() -> None:
    pixels, _ = seen_beads()
    with pytest.raises(DataError, match=r"beads are 2\d\.\d pixels apart; the grid phantom's \(7 mm\) are about 31"):
        match_grid((pixels - [832, 800]) * 5 / 7 + [832, 800])


def test_part_of_the_grid_is_not_enough() -> None:
    pixels, _ = seen_beads()
    with pytest.raises(DataError, match="fit the grid phantom"):
        match_grid(pixels[pixels[:, 0] < 800])
