"""A second X-ray simulator for tests, written from the geometry's definition; it imports nothing of ``medcli``.

Each detector pixel's ray is intersected with every triangle near it (Möller and Trumbore 1997), entries and exits are
sorted, and the length inside the union of the closed parts is kept; bones and flesh are ellipsoids and elliptic
cylinders intersected in closed form. The beam has four energies, so metal hardens it (cobalt chrome is nearly opaque,
titanium is not). The detector adds scatter, veiling glare, blur, vignetting, a round field, quantum noise and 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit
from scipy import ndimage

SPAN_MM, FIELD_MM = 360.0, 172.0
SIZE = 512
_FINE = 1024
ENERGY_SHARE = np.array([0.22, 0.36, 0.28, 0.14])  # of detected energy at about 38, 48, 58 and 67 keV of a 70 kV beam
PER_MM = {  # linear attenuation at these energies, from NIST mass coefficients and densities
    "cobalt chrome": np.array([3.6, 1.95, 1.16, 0.80]),
    "titanium": np.array([1.12, 0.60, 0.37, 0.27]),
    # bone beyond the flesh in its place: trabecular near the joint, cortical in the shafts
    "bone": np.array([0.026, 0.016, 0.012, 0.010]),
    "cortex": np.array([0.085, 0.052, 0.036, 0.031]),
    "flesh": np.array([0.027, 0.0225, 0.0205, 0.0195]),
}
_MOST_HITS = 40


@dataclass(frozen=True)
class Detector:
    """Source and image plane: centre, right, up and the source, millimetres in the world."""

    centre: np.ndarray
    right: np.ndarray
    up: np.ndarray
    source: np.ndarray


def detectors(source_row: dict[str, float], fs_angle_deg: float = -70.0) -> dict[str, Detector]:
    """Both planes of a row of the source-intensifier table, with the published inter-plane geometry."""
    a = np.deg2rad(fs_angle_deg)
    places = {
        "bs": (np.zeros(3), np.array([0.0, 0, 1])),
        "fs": (np.array([360.0, 0, 250]), np.array([np.sin(a), 0, np.cos(a)])),
    }
    found = {}
    for plane, (centre, normal) in places.items():
        up = np.array([0.0, 1, 0])
        right = np.cross(up, normal)
        h, v, far = (source_row[f"{name}_{plane}"] for name in ("principalp_h", "principalp_v", "sid"))
        found[plane] = Detector(centre, right, up, centre + h * right + v * up + far * normal)
    return found


@dataclass(frozen=True)
class Metal:
    """A component: (V, 3) vertices, (F, 3) faces, (4, 4) pose to the world, and its alloy."""

    vertices: np.ndarray
    faces: np.ndarray
    pose: np.ndarray
    alloy: str


@dataclass(frozen=True)
class Quadric:
    """An ellipsoid, or a cylinder cut at ``ends`` along its second axis: pose (4, 4), half axes (3,)."""

    pose: np.ndarray
    half: np.ndarray
    tissue: str
    sign: float = 1.0
    ends: tuple[float, float] | None = None


@dataclass(frozen=True)
class Beam:
    """What differs from one image to the next."""

    quanta: float = 400.0  # per pixel of 0.225 mm in the middle of the leg
    scatter: float = 0.35
    scatter_mm: float = 26.0
    glare: float = 0.10
    blur_mm: float = 0.4
    vignetting: float = 0.25
    gain: float = 1.0
    texture: float = 0.06
    centre_mm: np.ndarray = field(default_factory=lambda: np.zeros(2))


def xray(
    metals: list[Metal], tissues: list[Quadric], detector: Detector, beam: Beam, random: np.random.Generator
) -> np.ndarray:
    """(512, 512) uint8: the image on the grid of calibrated images (0.225 mm pixels, 1600 of them, from -800.5)."""
    pixel = SPAN_MM / _FINE
    along = -800.5 * 0.225 + (np.arange(_FINE) + 0.5) * pixel
    attenuation = {alloy: np.zeros((_FINE, _FINE)) for alloy in {metal.alloy for metal in metals}}
    for metal in metals:
        world = metal.vertices @ metal.pose[:3, :3].T + metal.pose[:3, 3]
        attenuation[metal.alloy] += _lengths(world, np.asarray(metal.faces, np.int64), detector, along)
    thickness = {tissue: _tissue(tissues, tissue, detector) for tissue in {one.tissue for one in tissues}}
    rough = ndimage.gaussian_filter(random.standard_normal((128, 128)), 1.5)
    rough = ndimage.zoom(1 + beam.texture * rough / rough.std(), _FINE / 128, order=1)
    image = np.zeros((_FINE, _FINE))
    for k, share in enumerate(ENERGY_SHARE):
        total = sum(PER_MM[alloy][k] * length for alloy, length in attenuation.items())
        total = total + rough * sum(PER_MM[name][k] * np.clip(t, 0, None) for name, t in thickness.items())
        image += share * np.exp(-total)
    return _detected(image, along, beam, random)


def _detected(primary: np.ndarray, along: np.ndarray, beam: Beam, random: np.random.Generator) -> np.ndarray:
    pixel = SPAN_MM / _FINE
    x, y = np.meshgrid(along - beam.centre_mm[0], -along - beam.centre_mm[1])
    radius = np.hypot(x, y)
    primary = primary * (1 - beam.vignetting * (radius / FIELD_MM) ** 2) * (radius < FIELD_MM)
    wide = ndimage.zoom(ndimage.gaussian_filter(primary[4::8, 4::8], beam.scatter_mm / pixel / 8), 8, order=1)
    narrow = ndimage.zoom(ndimage.gaussian_filter(primary[2::4, 2::4], 6.0 / pixel / 4), 4, order=1)
    image = (1 - beam.glare) * primary + beam.glare * narrow + beam.scatter * wide
    image = ndimage.gaussian_filter(image, beam.blur_mm / pixel) * (radius < FIELD_MM + 1)
    image = image.reshape(SIZE, _FINE // SIZE, SIZE, _FINE // SIZE).mean(axis=(1, 3)) + 0.01
    quanta = beam.quanta * 9.8 / np.median(image[SIZE // 3 : -SIZE // 3, SIZE // 3 : -SIZE // 3])  # of a pixel of 512
    image = random.poisson(image * quanta) / quanta if beam.quanta > 0 else image
    # Automatic exposure: the middle of the field becomes a medium grey, and what lies beside the leg saturates.
    middle = image[radius[:: _FINE // SIZE, :: _FINE // SIZE] < 70]
    grey = beam.gain * 85 / np.median(middle) * image
    return np.clip(grey + random.normal(0, 0.6, image.shape), 0, 255).round().astype(np.uint8)


def _tissue(tissues: list[Quadric], name: str, detector: Detector) -> np.ndarray:
    """Length through all bodies of one tissue, cast at a quarter of the resolution."""
    size = _FINE // 4
    along = -800.5 * 0.225 + (np.arange(size) + 0.5) * SPAN_MM / size
    x, y = np.meshgrid(along, -along)
    points = detector.centre + x[..., None] * detector.right + y[..., None] * detector.up
    total, nearest, farthest = np.zeros((size, size)), np.full((size, size), np.inf), np.full((size, size), -np.inf)
    for body in (one for one in tissues if one.tissue == name):
        rotation, place = body.pose[:3, :3], body.pose[:3, 3]
        origin = (detector.source - place) @ rotation / body.half
        way = (points - detector.source) @ rotation
        length, way = np.linalg.norm(way, axis=-1), way / body.half
        keep = np.array([1.0, 0 if body.ends else 1.0, 1.0])
        a, b = (way * way) @ keep, (way * origin) @ keep
        inside = np.clip(b * b - a * ((origin * origin) @ keep - 1), 0, None)
        near, far = (-b - np.sqrt(inside)) / a, (-b + np.sqrt(inside)) / a
        if body.ends:
            with np.errstate(divide="ignore"):
                first, last = ((end / body.half[1] - origin[1]) / way[..., 1] for end in body.ends)
            near, far = np.maximum(near, np.minimum(first, last)), np.minimum(far, np.maximum(first, last))
        is_hit = (inside > 0) & (far > near)
        total += body.sign * np.where(is_hit, far - near, 0) * length
        nearest = np.where(is_hit, np.minimum(nearest, near * length), nearest)
        farthest = np.where(is_hit, np.maximum(farthest, far * length), farthest)
    if name == "flesh":  # one body around all shapes
        total = np.clip(farthest - nearest, 0, None)
    return ndimage.zoom(total, 4, order=1)


def _lengths(world: np.ndarray, faces: np.ndarray, detector: Detector, along: np.ndarray) -> np.ndarray:
    """Length inside the union of closed parts, (_FINE, _FINE)."""
    count = np.zeros((_FINE, _FINE), np.int32)
    hits = np.zeros((_FINE, _FINE, _MOST_HITS), np.float32)
    normal = np.cross(detector.right, detector.up)
    away = world - detector.source
    share = ((detector.centre - detector.source) @ normal) / (away @ normal)
    plane = away * share[:, None] + detector.source - detector.centre
    pixel = SPAN_MM / _FINE
    columns, rows = (plane @ detector.right - along[0]) / pixel, (-(plane @ detector.up) - along[0]) / pixel
    frame = np.stack([detector.centre, detector.right, detector.up, detector.source])
    _intersect(world, faces, columns, rows, frame, along, count, hits)
    result = np.zeros((_FINE, _FINE))
    _union(count, hits, result)
    return result


@njit(cache=True)
def _intersect(world: Any, faces: Any, columns: Any, rows: Any, frame: Any, along: Any, count: Any, hits: Any) -> None:
    size = count.shape[0]
    source = frame[3]
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        first, second, start = world[b] - world[a], world[c] - world[a], source - world[a]
        c0 = max(int(np.floor(min(columns[a], columns[b], columns[c]))), 0)
        c1 = min(int(np.ceil(max(columns[a], columns[b], columns[c]))), size - 1)
        r0 = max(int(np.floor(min(rows[a], rows[b], rows[c]))), 0)
        r1 = min(int(np.ceil(max(rows[a], rows[b], rows[c]))), size - 1)
        across = np.cross(start, first)
        for r in range(r0, r1 + 1):
            for column in range(c0, c1 + 1):
                # a shift of a nanometre keeps rays off the edges that two triangles share
                x, y = along[column] + 1.3e-6, -along[r] + 0.7e-6
                way = frame[0] + x * frame[1] + y * frame[2] - source
                long = np.sqrt((way * way).sum())
                way /= long
                p = np.cross(way, second)
                det = (first * p).sum()
                if abs(det) < 1e-12:
                    continue
                u = (start * p).sum() / det
                v = (way * across).sum() / det
                if u < 0 or v < 0 or u + v > 1:
                    continue
                n = count[r, column]
                if n < hits.shape[2]:
                    # the sign of the number says whether the ray enters
                    distance = (second * across).sum() / det
                    hits[r, column, n] = distance if det > 0 else -distance
                    count[r, column] = n + 1


@njit(cache=True)
def _union(count: Any, hits: Any, result: Any) -> None:
    for r in range(count.shape[0]):
        for c in range(count.shape[1]):
            n = count[r, c]
            if n < 2:
                continue
            values = hits[r, c, :n]
            order = np.argsort(np.abs(values))
            depth, begin = 0, 0.0
            for k in order:
                if values[k] > 0:  # det > 0: the ray meets the outside of the face
                    if depth == 0:
                        begin = values[k]
                    depth += 1
                elif depth > 0:
                    depth -= 1
                    if depth == 0:
                        result[r, c] += -values[k] - begin
