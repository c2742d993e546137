"""A library of renderings of one implant in many orientations, to find it in both planes without a start pose.

6,000 orientations, about 10 degrees apart (super-Fibonacci spirals, Alexa 2022, CVPR), are rendered in both planes at
the place where the two beams cross. A rendering is represented by its gradients at 3 mm pixels, strong ones compressed,
in 150 principal components, so that comparing all of them with every window of an image takes two matrix products. The
library depends on the surface and on the cameras' directions only, and is kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medcli.core.files import cache_folder, replacing
from medcli.core.mesh import Mesh
from medcli.core.threads import end_if_stopped
from medcli.veriserum.dataset.detector import GRID_SPAN_MM, PLANES
from medcli.veriserum.geometry.biplane import DualPlane, ImageGrid

_LOG = logging.getLogger(__name__)
Image = NDArray[Any]

SIZE, WINDOW = 120, 52
"""Pixels along each side of the image (3 mm at the detector) and of the window that holds an implant."""
_ORIENTATIONS, _COMPONENTS, _SAMPLE = 6000, 150, 1500
_BLUR_MM = 1.9
_PER_MM = 0.3
_CELL_MM = 2.5
_VERSION = 2
_DARK_LEVEL = 10.0
_STRONG = 98.0  # percentile of the squared gradients beyond which they are compressed
_LEAST_SHADOW = 50  # pixels
_FIELD_SHARE = 0.88  # of the half width: the rim of the intensifier's round field lies outside


@dataclass(frozen=True, eq=False)
class OrientationLibrary:
    """Renderings of an implant.

    Attributes:
        rotations: (N, 3, 3) implant to world.
        basis: plane -> (K, 2 W W) orthonormal components.
        entries: plane -> (N, K) components of each rendering, whose gradients have norm 1.
        energies: plane -> (N, W W / 4) squared gradients of each rendering, in squares of 2 x 2 pixels.
    """

    rotations: NDArray[np.float64]
    basis: dict[str, NDArray[np.float32]]
    entries: dict[str, NDArray[np.float32]]
    energies: dict[str, NDArray[np.float16]]


def simplified(mesh: Mesh, cell_mm: float = _CELL_MM) -> Mesh:
    """A mesh with the vertices in each cell of a grid merged into one.

    Faces that collapse vanish in pairs, so that entries and exits of rays still balance.
    """
    cells = np.floor((mesh.vertices - mesh.vertices.min(axis=0)) / cell_mm).astype(np.int64)
    index = np.unique(cells, axis=0, return_inverse=True)[1].ravel()
    count = np.bincount(index)
    vertices = np.stack([np.bincount(index, mesh.vertices[:, axis]) for axis in range(3)], axis=1) / count[:, None]
    faces = index[mesh.faces]
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
    return Mesh(vertices, faces[distinct].astype(np.int64))


def beams_cross_at(cameras: DualPlane) -> NDArray[np.float64]:
    """The point nearest to both beams' axes, from each source to the centre of its plane, (3,) millimetres."""
    normal, right = np.zeros((3, 3)), np.zeros(3)
    for camera in (cameras.bs, cameras.fs):
        along = camera.plane.centre_mm - camera.source_mm
        across = np.eye(3) - np.outer(along, along) / (along @ along)
        normal, right = normal + across, right + across @ camera.source_mm
    return np.asarray(np.linalg.solve(normal, right))


def compressed_gradients(image: Image, strong: float) -> tuple[Image, Image]:
    """Gradients along columns and rows divided by sqrt(g² + strong²), so that single strong edges do not dominate."""
    border = cv2.BORDER_REPLICATE
    x = cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=3, borderType=border)
    y = cv2.Sobel(image, cv2.CV_32F, 0, 1, ksize=3, borderType=border)
    squares = x * x + y * y
    limit = np.percentile(squares, strong) if strong < 100 else squares.max()
    factor = 1 / np.sqrt(squares + np.float32(limit) + np.float32(1e-12))
    return x * factor, y * factor


def image_features(image: Image, lengths: Image | None = None) -> tuple[Image, Image]:
    """Compressed gradients (120, 120) of the logarithm of a calibrated image (S, S), 0 outside the field.

    Args:
        lengths: (240, 240) path lengths in a known component, millimetres, whose shadow is subtracted.
    """
    small = cv2.resize(image.astype(np.float32), (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_AREA)
    # Full scale is 255; on the logarithm, metal stands out from bone, and the rim of the leg does not.
    small = np.log(small + np.float32(_DARK_LEVEL))
    if lengths is not None:
        small = small - _shadow(small, lengths)
    small = cv2.GaussianBlur(small, (0, 0), _BLUR_MM * 2 * SIZE / GRID_SPAN_MM)
    small = cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    along = np.arange(SIZE) - (SIZE - 1) / 2
    field = (np.hypot(*np.meshgrid(along, along)) < _FIELD_SHARE * SIZE / 2).astype(np.float32)
    x, y = compressed_gradients(np.where(field > 0, small, small[field > 0].mean()).astype(np.float32), _STRONG)
    inner = cv2.erode(field, np.ones((5, 5), np.uint8))
    return x * inner, y * inner


def _shadow(logarithm: Image, lengths: Image) -> Image:
    """What a known component takes from the logarithm: the median at each path length, below that around it."""
    is_seen = lengths > 0
    shown = is_seen.astype(np.uint8)
    ring = (cv2.dilate(shown, np.ones((15, 15), np.uint8)) > 0) & (cv2.dilate(shown, np.ones((5, 5), np.uint8)) == 0)
    if not ring.any() or np.count_nonzero(is_seen) < _LEAST_SHADOW:
        return np.zeros_like(logarithm)
    around, known, taken = float(np.median(logarithm[ring])), [0.0], [0.0]
    limits = [0.0, *np.quantile(lengths[is_seen], np.linspace(0.05, 1, 16))]
    for low, high in pairwise(limits):
        within = (lengths > low) & (lengths <= high)
        if np.count_nonzero(within) > 8:
            known.append(float(lengths[within].mean()))
            taken.append(float(np.median(logarithm[within])) - around)
    return np.interp(lengths, known, np.minimum.accumulate(taken)).astype(np.float32)


def load_or_build_library(mesh: Mesh, cameras: DualPlane) -> OrientationLibrary:
    """The library of an implant from the cache folder, or built now (about 5 seconds) and kept there."""
    path = cache_folder("orientations") / f"{_key(mesh, cameras)}.npz"
    with _BUILDING:
        try:
            with np.load(path, allow_pickle=False) as file:
                parts = ({p: file[f"{name}_{p}"] for p in PLANES} for name in _PARTS)
                return OrientationLibrary(orientations(), *parts)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError) as error:
            _LOG.warning("%s cannot be read and is made again: %s", path, error)
        made = build_library(mesh, cameras)
        arrays = {f"{name}_{plane}": getattr(made, name)[plane] for name in _PARTS for plane in PLANES}
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, **arrays)
        return made


_BUILDING, _PARTS = threading.Lock(), ("basis", "entries", "energies")


def build_library(mesh: Mesh, cameras: DualPlane) -> OrientationLibrary:
    """Render every orientation in both planes and reduce the renderings to their principal components."""
    rotations, coarse, middle = orientations(), simplified(mesh), mesh.bounds.mean(axis=0)
    place = beams_cross_at(cameras)
    basis, entries, energies = {}, {}, {}
    for plane in PLANES:
        camera, whole = cameras.camera(plane), ImageGrid.calibrated(SIZE)
        left, top = camera.project(place[None])[0] + np.array([-1, 1]) * (WINDOW - 1) / 2 * whole.pixel_mm
        grid = ImageGrid(WINDOW, WINDOW, whole.pixel_mm, float(left), float(top))
        views = np.empty((len(rotations), 2 * WINDOW * WINDOW), np.float32)
        for i, rotation in enumerate(rotations):
            end_if_stopped()
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = rotation, place - rotation @ middle
            image = np.exp(np.float32(-_PER_MM) * camera.path_length(coarse, pose, grid))
            smooth = cv2.GaussianBlur(image, (0, 0), _BLUR_MM / grid.pixel_mm, borderType=cv2.BORDER_REPLICATE)
            view = np.concatenate([part.ravel() for part in compressed_gradients(smooth, 100)])
            views[i] = view / max(float(np.linalg.norm(view)), 1e-9)
        basis[plane] = _principal(views)
        entries[plane] = views @ basis[plane].T
        squares = np.square(views).reshape(len(views), 2, WINDOW // 2, 2, WINDOW // 2, 2).sum(axis=(1, 3, 5))
        energies[plane] = squares.reshape(len(views), -1).astype(np.float16)
    return OrientationLibrary(rotations, basis, entries, energies)


def orientations(count: int = _ORIENTATIONS) -> NDArray[np.float64]:
    """(N, 3, 3) rotations that cover all orientations evenly (Alexa 2022, super-Fibonacci spirals)."""
    share = (np.arange(count) + 0.5) / count
    near, far = np.sqrt(share), np.sqrt(1 - share)
    first = 2 * np.pi * (np.arange(count) + 0.5) / np.sqrt(2)
    second = 2 * np.pi * (np.arange(count) + 0.5) / 1.533751168755204288118041
    parts = [near * np.sin(first), near * np.cos(first), far * np.sin(second), far * np.cos(second)]
    return np.asarray(Rotation.from_quat(np.stack(parts, axis=1)).as_matrix())


def _principal(views: NDArray[np.float32]) -> NDArray[np.float32]:
    """The strongest components of a sample of the renderings, (K, 2 W W), orthonormal."""
    sample = views[np.random.default_rng(0).choice(len(views), min(_SAMPLE, len(views)), replace=False)]
    values, vectors = np.linalg.eigh((sample @ sample.T).astype(np.float64))
    values, vectors = values[-_COMPONENTS:], vectors[:, -_COMPONENTS:]
    return np.asarray((vectors / np.sqrt(np.maximum(values, 1e-12))).T.astype(np.float32) @ sample)


def _key(mesh: Mesh, cameras: DualPlane) -> str:
    """Names a library: the surface and, to two decimals, the directions of the planes."""
    digest = hashlib.sha256(f"{_VERSION} {_ORIENTATIONS} {_COMPONENTS}".encode())
    digest.update(np.ascontiguousarray(mesh.vertices, np.float32).tobytes())
    digest.update(np.ascontiguousarray(mesh.faces, np.int64).tobytes())
    for camera in (cameras.bs, cameras.fs):
        directions = np.concatenate([camera.plane.normal, camera.plane.vertical]) + 0.0
        digest.update(np.round(directions * 50).astype(np.int64).tobytes())
        digest.update(str(round(camera.distance_mm / 100)).encode())
    return digest.hexdigest()[:24]
