"""Starts without a guess: pairs of oriented points of the cloud laid on every pair of the surface that fits them.

Two points with normals, far apart, fix a pose: their distance and the angles of their normals to each other and to the
line between them (point pair features, Drost et al. 2010) leave few pairs of the surface's samples that fit. Each of
these is tried; a pose counts by how near a few dozen points of the cloud come to the surface. Pairs are drawn with a
fixed seed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcli.core.compiled import njit
from medcli.ultrabones.registration.grid_refinement import nearest_sample
from medcli.ultrabones.registration.surface_samples import BoneTarget

PAIRS = 28
"""Pairs of the cloud that are tried: with a fifth of outliers, two thirds of the pairs are bone at both ends."""
_PROBES = 72
_KEPT = 30
"""Poses kept of each pair."""
_CAP_MM = 12.0
_LENGTH_MM, _ANGLE_COSINE = 4.0, 0.30
_ALIKE_MM, _ALIKE_COSINE = 12.0, 0.9


def start_poses(
    points: NDArray[np.float64], normals: NDArray[np.float64], target: BoneTarget, seed: int
) -> NDArray[np.float64]:
    """Poses (K, 4, 4) of a cloud (N, 3) with normals that bring many points near the surface; unrefined, unsorted."""
    generator = np.random.default_rng([seed, 3])
    first, second = _draw_pairs(points, normals, generator)
    probes = points[generator.choice(len(points), min(_PROBES, len(points)), replace=False)]
    coarse, coarse_normals = target.points[target.coarse], target.normals[target.coarse]
    found = []
    for i, j in zip(first, second, strict=True):
        pair = np.stack([points[i], points[j], normals[i], normals[j]])
        poses, scores = _poses_of_pair(
            pair, np.ascontiguousarray(coarse), np.ascontiguousarray(coarse_normals), probes,
            target.points, target.grid, target.origin, target.cell_mm,
            _LENGTH_MM, _ANGLE_COSINE, _CAP_MM, _KEPT,
        )  # fmt: skip
        found.append(poses[scores < _CAP_MM])
    return np.concatenate(found)


def _draw_pairs(
    points: NDArray[np.float64], normals: NDArray[np.float64], generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs that are far apart and whose normals tell about the turn around the line between them."""
    one, other = generator.integers(0, len(points), (2, 40 * PAIRS))
    apart = points[other] - points[one]
    length = np.linalg.norm(apart, axis=1)
    line = apart / np.maximum(length, 1e-9)[:, None]
    across = [np.sqrt(np.clip(1 - np.einsum("ij,ij->i", normals[k], line) ** 2, 0, 1)) for k in (one, other)]
    wanted = float(np.percentile(length, 70))
    value = np.minimum(length / wanted, 1.2) * np.minimum(*across)
    chosen = np.argsort(-value, kind="stable")[: 6 * PAIRS]
    chosen = generator.permutation(chosen)[:PAIRS]
    return one[chosen], other[chosen]


@njit()
def _poses_of_pair(
    pair, coarse, coarse_normals, probes, samples, grid, origin, cell,
    length_mm, cosine, cap, kept,
):  # fmt: skip
    """The ``kept`` best poses (kept, 4, 4) that lay a pair of points (4, 3: two points, two normals) on the surface."""
    poses, scores = np.zeros((kept, 4, 4)), np.full(kept, cap)
    worst = 0
    middle = 0.5 * (pair[0] + pair[1])
    line = pair[1] - pair[0]
    length = np.sqrt((line * line).sum())
    frame = _frame_of(line / length)
    along_first, along_second = (pair[2] * frame[0]).sum(), (pair[3] * frame[0]).sum()
    between = (pair[2] * pair[3]).sum()
    low, high = max(length - length_mm, 1.0) ** 2, (length + length_mm) ** 2
    pose = np.eye(4)
    for i in range(len(coarse)):
        for j in range(len(coarse)):
            dx, dy, dz = coarse[j, 0] - coarse[i, 0], coarse[j, 1] - coarse[i, 1], coarse[j, 2] - coarse[i, 2]
            squared = dx * dx + dy * dy + dz * dz
            if squared < low or squared > high:
                continue
            apart = np.sqrt(squared)
            n, m = coarse_normals[i], coarse_normals[j]
            if abs(n[0] * m[0] + n[1] * m[1] + n[2] * m[2] - between) > 1.5 * cosine:
                continue
            on_first = (n[0] * dx + n[1] * dy + n[2] * dz) / apart
            on_second = (m[0] * dx + m[1] * dy + m[2] * dz) / apart
            for turn in range(2):
                sign = 1.0 - 2.0 * turn
                if abs(on_first - sign * along_first) > cosine or abs(on_second - sign * along_second) > cosine:
                    continue
                _lay(pose, frame, pair, sign, middle, coarse[i], coarse[j], n, m)
                score = 0.0
                for k in range(len(probes)):
                    score += _probe(pose, probes[k], samples, grid, origin, cell, cap)
                    if score >= scores[worst] * len(probes):
                        break
                score /= len(probes)
                if score < scores[worst]:
                    place = _place_for(pose, score, poses, scores, pair, worst)
                    if place >= 0:
                        scores[place] = score
                        poses[place] = pose
                        worst = int(np.argmax(scores))
    return poses, scores


@njit()
def _place_for(pose, score, poses, scores, pair, worst):
    """Where to keep a pose: in place of a worse one alike, -1 where a better one is alike, else of the worst."""
    ends = np.empty((2, 3))
    for k in range(2):
        for row in range(3):
            ends[k, row] = (pose[row, :3] * pair[k]).sum() + pose[row, 3]
    for number in range(len(poses)):
        other = poses[number]
        if other[3, 3] == 0.0:
            continue
        apart = 0.0
        for k in range(2):
            for row in range(3):
                apart += ((other[row, :3] * pair[k]).sum() + other[row, 3] - ends[k, row]) ** 2
        if apart < _ALIKE_MM**2 and (other[:3, :3] * pose[:3, :3]).sum() > 1.0 + 2.0 * _ALIKE_COSINE:
            return number if score < scores[number] else -1
    return worst


@njit(inline="always")
def _probe(pose, point, samples, grid, origin, cell, cap):
    """Distance of a moved point to the sample that the grid names, millimetres, at most ``cap``."""
    x, y, z, s = nearest_sample(pose, point, grid, origin, cell)
    if s < 0:
        return cap
    dx, dy, dz = x - samples[s, 0], y - samples[s, 1], z - samples[s, 2]
    return min(np.sqrt(dx * dx + dy * dy + dz * dz), cap)


@njit()
def _frame_of(line):
    """(3, 3): rows are a unit vector and two that stand on it."""
    frame = np.empty((3, 3))
    frame[0] = line
    helper = np.zeros(3)
    helper[np.argmin(np.abs(line))] = 1.0
    frame[1] = np.cross(line, helper)
    frame[1] /= np.sqrt((frame[1] ** 2).sum())
    frame[2] = np.cross(line, frame[1])
    return frame


@njit()
def _lay(pose, frame, pair, sign, middle, start, end, n, m):
    """Write the pose that lays the pair on ``start`` and ``end``, turned so that the normals agree best."""
    line = end - start
    line /= np.sqrt((line * line).sum())
    other = _frame_of(line)
    real, imaginary = 0.0, 0.0
    for k in range(2):
        ours, theirs = pair[2 + k] * sign, n if k == 0 else m
        a, b = (ours * frame[1]).sum(), (ours * frame[2]).sum()
        c, d = (theirs * other[1]).sum(), (theirs * other[2]).sum()
        real += a * c + b * d
        imaginary += a * d - b * c
    size = np.sqrt(real * real + imaginary * imaginary)
    cosine, sine = (real / size, imaginary / size) if size > 1e-12 else (1.0, 0.0)
    for row in range(3):
        for column in range(3):
            pose[row, column] = (
                line[row] * frame[0, column]
                + (cosine * other[1, row] + sine * other[2, row]) * frame[1, column]
                + (cosine * other[2, row] - sine * other[1, row]) * frame[2, column]
            )
    for row in range(3):
        moved = pose[row, 0] * middle[0] + pose[row, 1] * middle[1] + pose[row, 2] * middle[2]
        pose[row, 3] = 0.5 * (start[row] + end[row]) - moved
