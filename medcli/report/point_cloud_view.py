"""Points and mesh reduced to a size that can be embedded in a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.files import read_whole
from medcli.report.blocks import PointCloud

MOST_POINTS = 20_000
MOST_FACES = 9_000
_MARGIN_MM = 12.0
_FULL = 65535
_PALETTE_STOPS = 33


def point_cloud(
    points: NDArray[np.float64],
    values: NDArray[np.float64],
    full_scale: float,
    triangles: NDArray[np.float64] | None,
    scale: tuple[str, str],
    alt: str,
    caption: str,
) -> PointCloud:
    """A view of points (N, 3) in mm coloured by ``values`` (N,), 0 to ``full_scale``, over triangles (F, 3, 3)."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(points))[:MOST_POINTS])
    shown, shown_values = points[chosen], values[chosen]
    low, high = shown.min(axis=0), shown.max(axis=0)
    vertices, faces = np.empty((0, 3)), np.empty((0, 3), np.int64)
    if triangles is not None:
        vertices, faces = simplify(crop(triangles, low - _MARGIN_MM, high + _MARGIN_MM))
    both = np.concatenate([shown, vertices])
    low, size = both.min(axis=0), np.maximum(np.ptp(both, axis=0), 1e-3)
    levels = np.clip(np.round(shown_values / full_scale * 255), 0, 255)
    return PointCloud(
        points=pack_numbers(np.round((shown - low) / size * _FULL), "<u2"),
        values=pack_numbers(levels, "u1"),
        vertices=pack_numbers(np.round((vertices - low) / size * _FULL), "<u2"),
        faces=pack_numbers(faces, "<u2"),
        low_mm=[round(float(v), 3) for v in low],
        size_mm=[round(float(v), 3) for v in size],
        view=[round(float(v), 5) for v in first_view(shown).ravel()],
        palette=palette(),
        scale=scale,
        alt=alt,
        caption=caption,
    )


def palette() -> list[str]:
    """Colours of the scale from low to high, as ``#rrggbb``, the same as in the figure of the reconstruction."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](i / (_PALETTE_STOPS - 1))) for i in range(_PALETTE_STOPS)]


def first_view(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) rotation: the longest extent of points (N, 3) lies across the screen, the shortest along the view."""
    _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    for axis in axes:  # the same view for the same points, whatever sign the decomposition returns
        axis *= np.sign(axis[np.argmax(np.abs(axis))])
    if np.linalg.det(axes) < 0:
        axes[2] *= -1
    return np.asarray(axes)


def crop(triangles: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """The triangles (F, 3, 3) with a corner inside a box."""
    return np.asarray(triangles[np.all((triangles >= low) & (triangles <= high), axis=2).any(axis=1)])


def simplify(
    triangles: NDArray[np.float64], most_faces: int = MOST_FACES
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Triangles (F, 3, 3) as vertices (V, 3) and at most ``most_faces`` faces (F', 3): corners in one cell are merged.

    The cell size grows until the faces are few enough; degenerate faces are removed.
    """
    if not len(triangles):
        return np.empty((0, 3)), np.empty((0, 3), np.int64)
    corners = triangles.reshape(-1, 3)
    area = np.linalg.norm(np.cross(*np.moveaxis(triangles[:, 1:] - triangles[:, :1], 1, 0)), axis=1).sum() / 2
    cell = 0.5 * np.sqrt(2 * area / most_faces)
    while True:
        keys = np.floor((corners - corners.min(axis=0)) / cell).astype(np.int64)
        _, index = np.unique(keys, axis=0, return_inverse=True)
        index = index.ravel()
        count = np.bincount(index)
        vertices = np.stack([np.bincount(index, corners[:, i]) / count for i in range(3)], axis=1)
        faces = index.reshape(-1, 3)
        intact = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
        faces = np.unique(_smallest_first(faces[intact]), axis=0)
        if len(faces) <= most_faces and len(vertices) <= _FULL:
            return vertices, faces
        cell *= 1.25


def _smallest_first(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Faces rotated to begin with their smallest vertex; the orientation is unchanged."""
    if not len(faces):
        return faces
    order = (np.argmin(faces, axis=1)[:, None] + np.arange(3)) % 3
    return np.take_along_axis(faces, order, axis=1)


def read_ply(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (N, 3) and their distances (N,) from a file of ``reconstruction.point_cloud.write_ply``.

    Raises:
        DataError: the file is missing, damaged, or another kind of PLY.
    """
    try:
        content = read_whole(path)
        header, _, body = content.partition(b"end_header\n")
        lines = header.decode("ascii").splitlines()
        count = next(int(line.split()[2]) for line in lines if line.startswith("element vertex"))
        properties = [line.split()[1:] for line in lines if line.startswith("property")]
        types = {"float": "<f4", "uchar": "u1"}
        kind = np.dtype([(name, types[word]) for word, name in properties])
        rows = np.frombuffer(body, kind, count)
        points = np.stack([rows[axis] for axis in "xyz"], axis=1).astype(np.float64)
        return points, rows["distance"].astype(np.float64)
    except (OSError, ValueError, KeyError, StopIteration, IndexError) as error:
        raise DataError(
            f"{path} is not a point cloud of medcli reconstruct: {error!r}", "run medcli reconstruct again"
        ) from error


def pack_numbers(values: NDArray[np.generic] | Sequence[float], kind: str) -> str:
    """Numbers as base64 of the NumPy type ``kind``."""
    return base64.b64encode(np.ascontiguousarray(values).astype(kind).tobytes()).decode("ascii")
