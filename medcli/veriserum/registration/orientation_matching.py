"""Coarse poses of an implant: every orientation of a library against every window of the images.

The planes must agree: both see the implant at the same height, so the best pair of windows on one row gives the score
and, by its two rays, the place. In a single plane, the place along the ray is the nearest to where the beams cross.
Where the other component is known, two rankings are made: with its shadow subtracted, which finds a component that
stands beside it, and with the other one's shadow left out of the comparison, which finds one that is mostly behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.veriserum.geometry.biplane import DualPlane, ImageGrid
from medcli.veriserum.registration.gradient_matching import ImplantView
from medcli.veriserum.registration.orientation_library import (
    SIZE,
    WINDOW,
    OrientationLibrary,
    beams_cross_at,
    image_features,
)

Image = NDArray[Any]
Scores = NDArray[np.float32]
"""(N, R, C): the agreement of each orientation with the window at each row and column."""

APART_DEG = 12.0
_MARGIN_PIXELS = 8  # windows whose centre lies nearer to the rim of the image are left out
_SHADOW_PER_MM = 0.3
_LEAST_VISIBLE = 0.1  # share of a rendering's energy


def coarse_poses(view: ImplantView, library: OrientationLibrary, count: int) -> list[NDArray[np.float64]]:
    """Coarse poses (4, 4) from the library with distinct orientations, the best first; ``count`` of each ranking."""
    rankings = [
        _ranked_windows(scores, library, view.cameras, view.middle_mm, count) for scores in _rankings(view, library)
    ]
    alternating = chain.from_iterable(zip_longest(*rankings))
    return [pose for pose in alternating if pose is not None]


def _rankings(view: ImplantView, library: OrientationLibrary) -> Iterator[dict[str, Scores]]:
    beside = view.beside
    if beside is None:
        yield {plane: _window_scores(image_features(image), library, plane) for plane, image in view.images.items()}
        return
    subtracted, visible = {}, {}
    for plane, image in view.images.items():
        camera, fine = view.cameras.camera(plane), ImageGrid.calibrated(2 * SIZE)
        lengths = cv2.GaussianBlur(camera.path_length(beside.mesh, beside.pose, fine), (0, 0), 0.6 / fine.pixel_mm)
        features = image_features(image, lengths)
        subtracted[plane] = _window_scores(features, library, plane)
        share: Image = cv2.resize(np.exp(-_SHADOW_PER_MM * lengths), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        share = cv2.GaussianBlur(share, (0, 0), 1.0)
        x, y = image_features(image)
        visible[plane] = _window_scores((share * x, share * y), library, plane)
        visible[plane] *= _gain_of_hidden(share**2, library.energies[plane], visible[plane].shape[1])
    yield subtracted
    yield visible


def _ranked_windows(
    scores: dict[str, Scores], library: OrientationLibrary, cameras: DualPlane, centre: NDArray[np.float64], count: int
) -> list[NDArray[np.float64]]:
    columns = {plane: one.argmax(axis=2) for plane, one in scores.items()}
    rows = {plane: np.take_along_axis(one, columns[plane][..., None], axis=2)[..., 0] for plane, one in scores.items()}
    first, *rest = scores
    total, shifted = rows[first], np.zeros_like(columns[first])
    for plane in rest:
        # The other plane may see it one row higher or lower, since the two sources differ in height and distance.
        neighbours = np.stack([np.roll(rows[plane], shift, axis=1) for shift in (0, 1, -1)])
        shifted = np.array([0, 1, -1])[neighbours.argmax(axis=0)]
        total = total + neighbours.max(axis=0)
    row = total.argmax(axis=1)
    poses = []
    for number in _distinct_orientations(total.max(axis=1), library.rotations, count):
        at_row = {first: int(row[number])}
        at_row |= {plane: int(row[number] - shifted[number, row[number]]) % total.shape[1] for plane in rest}
        at = {plane: (columns[plane][number, place], place) for plane, place in at_row.items()}
        pose = np.eye(4)
        pose[:3, :3] = library.rotations[number]
        pose[:3, 3] = _triangulated(cameras, at) - pose[:3, :3] @ centre
        poses.append(pose)
    return poses


def _distinct_orientations(score: NDArray[Any], rotations: NDArray[np.float64], count: int) -> Sequence[int]:
    found: list[int] = []
    for number in np.argsort(-score):
        turns = rotations[found].transpose(0, 2, 1) @ rotations[number]
        if not found or rotation_angle_deg(turns).min() > APART_DEG:
            found.append(int(number))
        if len(found) == count:
            break
    return found


def _window_scores(features: tuple[Image, Image], library: OrientationLibrary, plane: str) -> Scores:
    view = np.lib.stride_tricks.sliding_window_view
    inner = slice(_MARGIN_PIXELS, -_MARGIN_PIXELS)
    x, y = (view(part, (WINDOW, WINDOW))[inner, inner] for part in features)
    count = x.shape[0]
    windows = np.concatenate([x.reshape(count * count, -1), y.reshape(count * count, -1)], axis=1)
    along = np.arange(WINDOW) - (WINDOW - 1) / 2
    bell = np.exp(-(along**2) / 2 / (WINDOW / 4.5) ** 2).astype(np.float32)
    energy = view(features[0] ** 2 + features[1] ** 2, (WINDOW, WINDOW))[inner, inner]
    norm = np.sqrt(np.einsum("rcij,i,j->rc", energy, bell, bell, optimize=True)).ravel()
    components = windows @ library.basis[plane].T / (norm + 0.5 * norm.max() + 1e-9)[:, None]
    return np.asarray((library.entries[plane] @ components.T).reshape(-1, count, count))


def _gain_of_hidden(share: Image, energies: NDArray[np.float16], count: int) -> Scores:
    """(N, R, C): 1 over the square root of the energy of each rendering that a known component leaves visible."""
    half = WINDOW // 2
    small = cv2.resize(share, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA)
    inner = slice(_MARGIN_PIXELS // 2, -(_MARGIN_PIXELS // 2))
    windows = np.lib.stride_tricks.sliding_window_view(small, (half, half))[inner, inner]
    side = windows.shape[0]
    energy = (energies.astype(np.float32) @ windows.reshape(side * side, -1).T).reshape(-1, side, side)
    nearest = np.minimum(np.arange(count) // 2, side - 1)
    gain = 1 / np.sqrt(np.clip(energy, 0, 1) + np.float32(_LEAST_VISIBLE))
    return np.asarray(gain[:, nearest[:, None], nearest])


def _triangulated(cameras: DualPlane, at: Mapping[str, tuple[Any, Any]]) -> NDArray[np.float64]:
    """The point nearest to the rays through the centres of the windows, (3,) millimetres."""
    grid, normal, right = ImageGrid.calibrated(SIZE), np.zeros((3, 3)), np.zeros(3)
    for plane, (column, row) in at.items():
        camera, shift = cameras.camera(plane), _MARGIN_PIXELS + (WINDOW - 1) / 2
        h, v = grid.left_mm + (column + shift) * grid.pixel_mm, grid.top_mm - (row + shift) * grid.pixel_mm
        along = (camera.plane.to_world @ np.array([h, v, 0, 1]))[:3] - camera.source_mm
        across = np.eye(3) - np.outer(along, along) / (along @ along)
        normal, right = normal + across, right + across @ camera.source_mm
    if len(at) == 1:  # any point of the ray would do: the nearest to where the beams cross
        normal, right = normal + 1e-6 * np.eye(3), right + 1e-6 * beams_cross_at(cameras)
    return np.asarray(np.linalg.solve(normal, right))
