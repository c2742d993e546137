"""A check of poses that owes nothing to the mesh: how far the bone's echoes lie from its CT surface.

Labels are cut from the mesh, so their distance to it is that of the label's band whatever the pose. Echoes are found in
the image alone: bright ridges across the beam with a dark shadow below. What is left is the error of pose, calibration,
CT registration and of the ridge finder, and it falls when poses become better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.image_io import read_grey
from medcli.core.threads import map_in_threads
from medcli.ultrabones.dataset.folder_layout import mask_name
from medcli.ultrabones.dataset.records import Poses, Sweep
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.image_to_ct import check_frame_size, pixels_to_ct

MOST_FRAMES = 100
"""Frames of a record that are looked at, evenly spread."""
REACH_MM = 5.0
"""Echoes farther from the mesh at the first poses are other tissue, or bone without a mesh: counted, not measured."""
DOUBTFUL_MEDIAN_MM, DOUBTFUL_SHARE = 1.5, 0.3
PREDICTIONS = "Labels_pred"
_FEWEST = 30  # echoes to judge a mesh by
_SKIN_MM = 4.0  # the transducer, gel and skin
_ACROSS_MM, _SMOOTH_MM = 0.5, 0.2
_SHADOW_MM = (1.0, 6.0)  # below the ridge
_BRIGHT, _OVER_SHADOW = 90.0, 2.0
_NEIGHBOURS_MM, _STEP_MM = 2.0, 1.0


@dataclass(frozen=True)
class SurfaceCheck:
    """Distances of echoes, or of predicted pixels, to the CT mesh.

    Attributes:
        source: ``echoes`` or ``predictions``.
        frames: frames looked at.
        points: echoes within :data:`REACH_MM` of the mesh at the first of the poses.
        found: echoes altogether.
        median_mm: at each of the poses compared (before, after), of the same points; NaN without points.
        within_1_mm: likewise, the share of points nearer than 1 mm.
    """

    source: str
    frames: int
    points: int
    found: int
    median_mm: tuple[float, ...]
    within_1_mm: tuple[float, ...]

    @property
    def doubtful(self) -> bool:
        """Whether so little of the echoes fits that the mesh may be that of another leg."""
        return self.found >= _FEWEST and (self.share < DOUBTFUL_SHARE or self.median_mm[-1] > DOUBTFUL_MEDIAN_MM)

    @property
    def share(self) -> float:
        """Echoes within reach of the mesh over all echoes."""
        return self.points / self.found if self.found else 0.0


def find_echoes(image: NDArray[np.uint8], spacing_mm: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of bone echoes in a frame (rows, columns), at most one for each half millimetre across.

    In each column the pixel that stands out most over what lies 1 to 6 mm below it; kept if it is bright, twice as
    bright as its shadow, and at the depth of most of its neighbours.
    """
    step = max(1, round(_ACROSS_MM / spacing_mm))
    columns = np.arange(step // 2, image.shape[1], step)
    smooth, total = smooth_columns(image, _SMOOTH_MM / spacing_mm, columns)
    lines = smooth.astype(np.float64)
    near, far = (max(1, round(length / spacing_mm)) for length in _SHADOW_MM)
    skin, last = round(_SKIN_MM / spacing_mm), len(lines) - near - 1
    if last <= skin:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    depth = np.arange(skin, last)
    end = np.minimum(depth + far, len(lines))
    shadow = (total[end] - total[depth + near]) / (end - depth - near)[:, None]
    contrast = lines[skin:last] - shadow
    best = np.argmax(contrast, axis=0)
    at = np.arange(len(columns))
    bright, dark = lines[skin + best, at], shadow[best, at]
    found = (bright >= _BRIGHT) & (bright >= _OVER_SHADOW * dark)
    rows = skin + best
    reach = round(_NEIGHBOURS_MM / _ACROSS_MM)
    offsets = [k for k in range(-reach, reach + 1) if k]
    padded, present = np.pad(rows, reach), np.pad(found, reach)
    alike = sum(
        present[reach + k : len(rows) + reach + k]
        & (np.abs(padded[reach + k : len(rows) + reach + k] - rows) <= abs(k) * 0.5 * _STEP_MM / spacing_mm + 2)
        for k in offsets
    )
    kept = found & (np.asarray(alike) >= len(offsets) / 2)
    return rows[kept], columns[kept]


def smooth_columns(
    image: NDArray[np.uint8], sigma_px: float, columns: NDArray[np.int64] | slice = slice(None)
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A frame smoothed by a Gaussian, (rows, columns chosen), and the sums down its columns, (rows + 1, columns
    chosen): the mean of rows a to b, such as the shadow below an echo, is (sums[b] - sums[a]) / (b - a)."""
    import cv2

    smooth = np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma_px), np.float32)[:, columns]
    sums = np.zeros((len(smooth) + 1, smooth.shape[1]))
    np.cumsum(smooth, axis=0, dtype=np.float64, out=sums[1:])
    return smooth, sums


def check_echoes(
    sweep: Sweep, poses: Sequence[Poses], surfaces: Sequence[Surface], workers: int = 1
) -> SurfaceCheck | None:
    """Distances of a sweep's echoes to the surfaces at several sets of poses; None without a usable frame."""

    def echoes(frame: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        image, spacing = read_grey(sweep.images[frame]), float(poses[0].spacing_mm[frame])
        check_frame_size(image.shape, spacing, sweep.images[frame], sweep.probe)
        return find_echoes(image, spacing)

    return _check("echoes", sweep, poses, surfaces, _usable(sweep, poses), echoes, workers)


def check_predictions(
    sweep: Sweep, poses: Sequence[Poses], surfaces: Sequence[Surface], workers: int = 1
) -> SurfaceCheck | None:
    """The same for the pixels of the masks in ``Labels_pred``; None where there are none."""
    folder = sweep.folder / PREDICTIONS
    masks = {frame: folder / mask_name(sweep.timestamps[frame], PREDICTIONS) for frame in _usable(sweep, poses)}
    frames = [frame for frame, path in masks.items() if path.is_file()]

    def pixels(frame: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows, columns = np.nonzero(read_grey(masks[frame]) == 255)
        return rows[::7], columns[::7]

    return _check("predictions", sweep, poses, surfaces, frames, pixels, workers)


def _usable(sweep: Sweep, poses: Sequence[Poses]) -> list[int]:
    return [frame for frame in np.flatnonzero(sweep.rows >= 0).tolist() if not any(one.problem(frame) for one in poses)]


def _check(
    source: str,
    sweep: Sweep,
    poses: Sequence[Poses],
    surfaces: Sequence[Surface],
    frames: Sequence[int],
    find: Callable[[int], tuple[NDArray[np.int64], NDArray[np.int64]]],
    workers: int,
) -> SurfaceCheck | None:
    spread = np.linspace(0, len(frames) - 1, min(MOST_FRAMES, len(frames))).round().astype(int)
    chosen = [frames[i] for i in spread]

    def measure(frame: int) -> list[NDArray[np.float64]] | None:
        try:
            rows, columns = find(frame)
        except DataError:
            return None  # said where the frame itself is used
        spacing = float(poses[0].spacing_mm[frame])
        places = [pixels_to_ct(one.pose[frame], columns, rows, spacing, sweep.probe) for one in poses]
        return [np.stack([surface.distances(place, 50.0) for surface in surfaces]).min(axis=0) for place in places]

    measured = [one for one in map_in_threads(measure, chosen, workers) if one is not None]
    if not measured:
        return None
    distances = np.stack([np.concatenate([one[k] for one in measured]) for k in range(len(poses))])
    near = distances[0] < REACH_MM
    kept = distances[:, near]
    return SurfaceCheck(
        source=source,
        frames=len(measured),
        points=int(near.sum()),
        found=len(near),
        median_mm=tuple(float(np.median(one)) if one.size else float("nan") for one in kept),
        within_1_mm=tuple(float((one < 1.0).mean()) if one.size else float("nan") for one in kept),
    )
