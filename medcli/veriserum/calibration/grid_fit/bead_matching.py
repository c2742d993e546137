"""Match spots to the beads of the grid phantom, robustly against missing and spurious beads.

1. The pitch and the rotation of a square lattice from the vectors to each spot's neighbours.
2. The lattice, grown from the most regular spot to its neighbours and theirs, each step along the sides found so
   far, so that distortion does not accumulate; gaps are bridged by a polynomial through the spots found.
3. The lattice, shifted until it fits the phantom's octagon, which gives its centre.
4. The orientation bead next to one of the octagon's four slanted sides, which gives the orientation of the image.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.spatial import cKDTree

from medcli.core.errors import DataError, quantity
from medcli.veriserum.calibration.grid_fit.phantom import (
    BEADS_ALONG,
    MIDDLE,
    ORIENTATION_BEAD,
    PITCH_MM,
    bead_presence,
    octagon,
)
from medcli.veriserum.dataset.detector import GRID_SIZE, GRID_SPAN_MM

Points = NDArray[np.float64]

_LEAST_BEADS = 300
_LEAST_SHARE = 0.6
"""Fraction of the octagon's beads that must be visible for an unambiguous position."""
_MOST_OUTSIDE_SHARE = 0.03
_STEP_TOLERANCE = 0.25
"""Largest distance of a bead from its predicted position, as a fraction of the pitch."""
_FILL_TOLERANCE = 0.2
_MOST_TURN_DEG = 15.0
_PITCH_PX = PITCH_MM * GRID_SIZE / GRID_SPAN_MM
_MOST_PITCH_ERROR = 0.2
_LEAST_ORDER = 0.3
"""Mean agreement of the neighbours' directions: 1 on a lattice, 0.03 for scattered points."""
_STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])


class View(str, Enum):
    """Orientation of the image, by the corner that contains the orientation bead."""

    UPRIGHT = "upright"
    LEFT_RIGHT = "mirrored left to right"
    UPSIDE_DOWN = "mirrored top to bottom"
    TURNED = "rotated by 180 degrees"

    @property
    def is_mirrored(self) -> bool:
        """Whether handedness is reversed."""
        return self in (View.LEFT_RIGHT, View.UPSIDE_DOWN)

    @property
    def signs(self) -> NDArray[np.int64]:
        """(2,): 1 or -1, signs of the image's right and up directions relative to the phantom's."""
        across = -1 if self in (View.LEFT_RIGHT, View.TURNED) else 1
        along = -1 if self in (View.UPSIDE_DOWN, View.TURNED) else 1
        return np.array([across, along])


@dataclass(frozen=True)
class GridMatch:
    """The beads that were recognised.

    Attributes:
        spots: (K,) indices of the spots.
        nodes: (K, 2) the corresponding nodes of the phantom, from the left and from below.
        view: orientation of the image.
        rotation_deg: rotation of the image relative to the phantom, counter-clockwise.
    """

    spots: NDArray[np.int64]
    nodes: NDArray[np.int64]
    view: View
    rotation_deg: float

    @property
    def missing(self) -> int:
        """Number of the phantom's beads that were not recognised."""
        return int(bead_presence().sum()) - len(self.spots)


def match_grid(centres_px: Points) -> GridMatch:
    """Recognise the phantom's beads among spots.

    Args:
        centres_px: (N, 2) column and row of spots, some of which may not be beads.

    Raises:
        DataError: they do not show the phantom; the message describes what was found.
    """
    if len(centres_px) < _LEAST_BEADS:
        number = int(bead_presence().sum())
        raise DataError(f"{len(centres_px)} round dark beads found, the grid phantom has {number}")
    points = centres_px * [1.0, -1.0]  # up is positive from here on
    pitch, turn = _pitch_and_turn(points)
    lattice = _grow(points, pitch, turn)
    lattice = _fill(points, lattice, pitch)
    if len(lattice) < 0.5 * len(points) or len(lattice) < _LEAST_BEADS:
        raise DataError(
            f"{len(points)} round dark beads found, but only {len(lattice)} of them form a square lattice "
            f"(pitch {pitch:.1f} pixels)"
        )
    spots = np.array(sorted(lattice))
    nodes = _place(np.array([lattice[spot] for spot in spots]))
    if abs(pitch / _PITCH_PX - 1) > _MOST_PITCH_ERROR:
        raise DataError(
            f"the beads are {pitch:.1f} pixels apart; the grid phantom's ({PITCH_MM:g} mm) are about {_PITCH_PX:.0f}"
        )
    view = _view({(int(i), int(j)) for i, j in nodes})
    nodes = MIDDLE + (nodes - MIDDLE) * view.signs
    known = bead_presence()[tuple(np.clip(nodes, 0, BEADS_ALONG - 1).T)]
    known &= np.all((nodes >= 0) & (nodes < BEADS_ALONG), axis=1)
    return GridMatch(spots[known], nodes[known], view, float(np.degrees(turn)))


def _pitch_and_turn(points: Points) -> tuple[float, float]:
    """Distance in pixels of neighbours, and the lattice's angle in radians within ±45 degrees."""
    distances, neighbours = _nearest(cKDTree(points), points, count=5)
    pitch = float(np.median(distances[:, 1:3]))
    vectors = points[neighbours[:, 1:]] - points[:, None]
    near = np.abs(distances[:, 1:] / pitch - 1) < 0.2
    angles = np.arctan2(vectors[..., 1], vectors[..., 0])[near]
    direction = np.exp(4j * angles).sum()  # the same for all four neighbours of a square lattice
    if abs(direction) < _LEAST_ORDER * near.size:
        raise DataError(f"{len(points)} round dark beads found, but they do not form a square lattice")
    turn = float(np.angle(direction) / 4)
    if abs(np.degrees(turn)) > _MOST_TURN_DEG:
        raise DataError(
            f"the bead grid is rotated by {np.degrees(turn):+.0f} degrees; at most {_MOST_TURN_DEG:.0f} can be resolved"
        )
    return pitch, turn


def _nearest(tree: Any, points: Points, within: float = np.inf, count: int = 1) -> tuple[Points, NDArray[np.int64]]:
    """Distances and indices of the nearest spots, (N,) or (N, count); infinite where none is within reach."""
    distances, found = tree.query(points, k=count, distance_upper_bound=within)
    return np.asarray(distances), np.asarray(found)


def _grow(points: Points, pitch: float, turn: float) -> dict[int, tuple[int, int]]:
    """Spot -> node (counted from the first spot), by steps from neighbour to neighbour."""
    tree = cKDTree(points)
    side = pitch * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])  # rows: right, up
    first = _most_regular(points, tree, side, pitch)
    nodes: dict[int, tuple[int, int]] = {first: (0, 0)}
    taken = {(0, 0)}
    waiting = deque([(first, side)])
    while waiting:
        spot, sides = waiting.popleft()
        predicted = points[spot] + _STEPS @ sides
        distances, found = _nearest(tree, predicted, _STEP_TOLERANCE * pitch)
        hit = np.isfinite(distances)
        ours = sides.copy()
        for axis in (0, 1):
            steps = [points[found[k]] - points[spot] for k in (axis, axis + 2) if hit[k]]
            signs = [1 if k == axis else -1 for k in (axis, axis + 2) if hit[k]]
            if steps:
                ours[axis] = 0.5 * sides[axis] + 0.5 * np.mean([s * v for s, v in zip(signs, steps, strict=True)], 0)
        i, j = nodes[spot]
        for k in np.flatnonzero(hit):
            node = (i + int(_STEPS[k, 0]), j + int(_STEPS[k, 1]))
            neighbour = int(found[k])
            if neighbour not in nodes and node not in taken:
                nodes[neighbour] = node
                taken.add(node)
                waiting.append((neighbour, ours))
    return nodes


def _most_regular(points: Points, tree: Any, side: Points, pitch: float) -> int:
    """The spot near the centre whose eight lattice neighbours are closest to their expected positions."""
    from_middle = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    candidates = np.argsort(from_middle, kind="stable")[:200]
    around = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]) @ side
    distances, _ = _nearest(tree, points[candidates][:, None] + around)
    misfit = np.minimum(distances, _STEP_TOLERANCE * pitch).sum(axis=1)
    return int(candidates[np.argmin(misfit)])


def _fill(points: Points, lattice: dict[int, tuple[int, int]], pitch: float) -> dict[int, tuple[int, int]]:
    """Rematch spots and nodes by a cubic polynomial through the lattice until no further spot is found."""
    tree = cKDTree(points)
    for _ in range(10):
        if len(lattice) < _LEAST_BEADS:
            return lattice
        spots = np.array(list(lattice))
        nodes = np.array([lattice[spot] for spot in spots])
        middle, half = nodes.mean(axis=0), np.abs(nodes - nodes.mean(axis=0)).max()
        model, *_ = np.linalg.lstsq(_cubic((nodes - middle) / half), points[spots], rcond=None)
        first, last = nodes.min(axis=0) - 1, nodes.max(axis=0) + 1
        if np.any(last - first > 4 * BEADS_ALONG):
            return lattice
        wanted = np.stack(np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(first, last, strict=True))), -1)
        wanted = wanted.reshape(-1, 2)
        predicted = _cubic((wanted - middle) / half) @ model
        distances, found = _nearest(tree, predicted, _FILL_TOLERANCE * pitch)
        best: dict[int, tuple[int, int]] = {}
        for k in np.argsort(distances, kind="stable"):
            if np.isfinite(distances[k]) and int(found[k]) not in best:
                best[int(found[k])] = (int(wanted[k, 0]), int(wanted[k, 1]))
        if len(best) <= len(lattice):
            return best if len(best) == len(lattice) else lattice
        lattice = best
    return lattice


def _cubic(nodes: Points) -> Points:
    """The ten terms of a cubic in two variables, (N, 10)."""
    x, y = nodes.T
    return np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=1)


def _place(nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Shift nodes (K, 2) so that they fit the octagon best.

    Raises:
        DataError: another phantom, too little of it, or two positions that fit equally well.
    """
    first = nodes.min(axis=0)
    extent = nodes.max(axis=0) - first + 1
    seen = np.zeros(extent)
    seen[tuple((nodes - first).T)] = 1
    expected = octagon()
    hits = np.rint(fftconvolve(expected.astype(float), seen[::-1, ::-1]))  # [shift + extent - 1]
    best = np.unravel_index(np.argmax(hits), hits.shape)
    inside = int(hits[best])
    outside, number = len(nodes) - inside, int(expected.sum())
    others = hits.copy()
    others[best] = 0
    what = f"the beads found form a lattice of {extent[0]} x {extent[1]} beads, {len(nodes)} in all"
    if inside < _LEAST_SHARE * number or outside > _MOST_OUTSIDE_SHARE * number:
        raise DataError(
            f"{what}; {inside} of them fit the grid phantom ({BEADS_ALONG} x {BEADS_ALONG} with cut corners, "
            f"{number} and one), {outside} do not"
        )
    if inside - others.max() < 8:
        raise DataError(f"{what}; too little of the phantom's rim is visible to locate its centre")
    return np.asarray(nodes - first + (np.array(best) - (extent - 1)))


def _view(nodes: set[tuple[int, int]]) -> View:
    """The orientation of the image, by the orientation bead.

    Raises:
        DataError: there is none, or more than one.
    """
    away = np.array(ORIENTATION_BEAD) - MIDDLE
    at = {view: tuple(int(n) for n in MIDDLE + away * view.signs) for view in View}
    seen = [view for view, node in at.items() if node in nodes]
    if len(seen) != 1:
        what = "is not visible" if not seen else "is not the only one: " + ", ".join(view.value for view in seen)
        raise DataError(
            f"{quantity(len(nodes), 'bead')} of the grid found, but its orientation bead (at the top left) {what}"
        )
    return seen[0]
