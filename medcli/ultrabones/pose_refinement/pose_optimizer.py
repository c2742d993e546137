"""The objective of the pose refinement and the search for its minimum, compiled.

J(x) = - Σ_{i: D(T(x) p_i) < 0.5} w_i + 3000 · ¼ Σ_j | T(x) f_j - T(x0) f_j |, and 0 when no point is that near.
p_i are pixels in the probe's coordinates (mm), w_i = exp(5 I_i), D the distance to the bone (mm), f_j the balls of the
probe's marker (mm). Lower is better: bright pixels lie on the bone, and the marker hardly moves.

J has many valleys and steps (a pixel is near or not), so the search is an evolution strategy that adapts its matrix
(MA-ES; Beyer and Sendhoff, IEEE Trans. Evol. Comput. 21(5), 2017): no derivative, no matrix decomposition, no state
outside its arguments.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from medcli.core.compiled import njit
from medcli.ultrabones.pose_refinement.distance_field import interpolate_distance

NEAR_MM = 0.5
MARKER_WEIGHT = 3000.0
MARKER_BALLS_MM = np.array(
    [
        [-30.3539, -25.101, -0.4395],
        [25.7953, -25.101, -0.5479],
        [37.0174, -25.101, -28.2339],
        [-30.6348, -25.101, -57.3485],
    ]
)
"""(4, 3): the balls of the probe's marker in its own coordinates."""


@njit()
def pose_matrix(pose, matrix):
    """Write T = [R | t] of a pose (6,) into ``matrix`` (3, 4): R = Rz(c) Ry(b) Rx(a), degrees."""
    a, b, c = np.radians(pose[3]), np.radians(pose[4]), np.radians(pose[5])
    sa, ca, sb, cb, sc, cc = np.sin(a), np.cos(a), np.sin(b), np.cos(b), np.sin(c), np.cos(c)
    matrix[0, 0], matrix[0, 1], matrix[0, 2] = cc * cb, cc * sb * sa - sc * ca, cc * sb * ca + sc * sa
    matrix[1, 0], matrix[1, 1], matrix[1, 2] = sc * cb, sc * sb * sa + cc * ca, sc * sb * ca - cc * sa
    matrix[2, 0], matrix[2, 1], matrix[2, 2] = -sb, cb * sa, cb * ca
    matrix[0, 3], matrix[1, 3], matrix[2, 3] = pose[0], pose[1], pose[2]


@njit()
def marker_cost(pose, start):
    """The second term of J: 3000 times the mean way of the marker's balls between two poses, millimetres."""
    moved, still = np.empty((3, 4)), np.empty((3, 4))
    pose_matrix(pose, moved)
    pose_matrix(start, still)
    total = 0.0
    for j in range(len(MARKER_BALLS_MM)):
        squared = 0.0
        for axis in range(3):
            way = moved[axis, 3] - still[axis, 3]
            for k in range(3):
                way += (moved[axis, k] - still[axis, k]) * MARKER_BALLS_MM[j, k]
            squared += way * way
        total += np.sqrt(squared)
    return MARKER_WEIGHT * total / len(MARKER_BALLS_MM)


@njit()
def objective(pose, start, points, weights, origin, step, index, values):
    """J of a pose by the distance field; points (N, 3) in probe millimetres, weights (N,)."""
    m = np.empty((3, 4))
    pose_matrix(pose, m)
    for axis in range(3):  # straight to cells of the field
        m[axis, 3] -= origin[axis]
        for k in range(4):
            m[axis, k] /= step
    reward, hits = 0.0, 0
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        distance = interpolate_distance(
            m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3],
            m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3],
            m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3],
            index, values,
        )  # fmt: skip
        if distance < NEAR_MM:
            reward += weights[i]
            hits += 1
    if hits == 0:
        return 0.0
    return marker_cost(pose, start) - reward


def search(
    start: NDArray[np.float64],
    bound: float,
    sigma: float,
    draws: NDArray[np.float64],
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    origin: NDArray[np.float64],
    step: float,
    index: NDArray[np.int32],
    values: NDArray[np.float32],
) -> tuple[NDArray[np.float64], float]:
    """Look for the lowest J within ``|x - start| <= bound`` in each component.

    Args:
        start: (6,), the pose to start from, millimetres and degrees.
        sigma: first step length, in both units.
        draws: (generations, offspring, 6), standard normal numbers; all randomness there is. The better half of the
            offspring makes the next mean.
        points, weights: as of :func:`objective`; the rest is the distance field.

    Returns:
        (6,) the best pose met and its J.
    """
    size, parents = draws.shape[2], draws.shape[1] // 2
    share = np.log(parents + 0.5) - np.log(np.arange(1, parents + 1))
    share /= share.sum()
    best, lowest = start.copy(), np.empty(1)
    field = (origin, step, index, values)
    _search(start, bound, sigma, draws, share, _rates(size, share), points, weights, *field, best, lowest)
    return best, float(lowest[0])


def _rates(size: int, share: NDArray[np.float64]) -> tuple[float, float, float, float, float, float]:
    """Rates of the strategy by its authors' formulas: c_s, c_1, c_w, damping, mass and the mean length of a draw."""
    mass = 1.0 / float((share * share).sum())
    c_sigma = (mass + 2.0) / (size + mass + 5.0)
    c_one = 2.0 / ((size + 1.3) ** 2 + mass)
    c_mu = min(1.0 - c_one, 2.0 * (mass - 2.0 + 1.0 / mass) / ((size + 2.0) ** 2 + mass))
    damping = 1.0 + c_sigma + 2.0 * max(0.0, math.sqrt((mass - 1.0) / (size + 1.0)) - 1.0)
    length = math.sqrt(size) * (1.0 - 1.0 / (4.0 * size) + 1.0 / (21.0 * size * size))
    return c_sigma, c_one, c_mu, damping, mass, length


@njit()
def _search(start, bound, sigma, draws, share, rates, points, weights, origin, step, index, values, best, lowest):
    """The loop of :func:`search`; writes ``best`` (6,) and ``lowest`` (1,). Plain loops compile in a second."""
    generations, offspring, size = draws.shape
    mean, path, shape, cost = np.zeros(size), np.zeros(size), np.zeros((size, size)), np.empty(offspring)
    steps, candidate, drawn = np.empty((offspring, size)), np.empty(size), np.empty(size)
    for k in range(size):
        shape[k, k] = 1.0
    lowest[0] = np.inf
    for generation in range(generations):
        for o in range(offspring):
            outside = 0.0
            for k in range(size):
                steps[o, k] = 0.0
                for j in range(size):
                    steps[o, k] += shape[k, j] * draws[generation, o, j]
                offset = mean[k] + sigma * steps[o, k]
                inside = min(max(offset, -bound), bound)
                outside += abs(offset - inside)
                candidate[k] = start[k] + inside
            value = objective(candidate, start, points, weights, origin, step, index, values)
            if value < lowest[0]:
                lowest[0] = value
                for k in range(size):
                    best[k] = candidate[k]
            cost[o] = value + MARKER_WEIGHT * outside  # pulls the search back inside the bounds
        order = _lowest(cost, len(share))
        for k in range(size):
            drawn[k] = 0.0
            for p in range(len(share)):
                drawn[k] += share[p] * draws[generation, order[p], k]
                mean[k] += sigma * share[p] * steps[order[p], k]
        sigma *= _adapt(shape, path, drawn, draws[generation], order, share, rates)


@njit()
def _lowest(cost, count):
    """Positions of the ``count`` lowest costs, ascending; of equal ones the first comes first."""
    order, taken = np.empty(count, np.int64), np.zeros(len(cost), np.bool_)
    for place in range(count):
        found = -1
        for o in range(len(cost)):
            if not taken[o] and (found < 0 or cost[o] < cost[found]):
                found = o
        order[place] = found
        taken[found] = True
    return order


@njit()
def _adapt(shape, path, drawn, draws, order, share, rates):
    """Turn and stretch ``shape`` (6, 6) and ``path`` (6,) towards what worked; return the factor of the step length."""
    c_sigma, c_one, c_mu, damping, mass, length = rates
    size = len(path)
    change, before, squared = np.zeros((size, size)), shape.copy(), 0.0
    for k in range(size):
        path[k] = (1.0 - c_sigma) * path[k] + math.sqrt(mass * c_sigma * (2.0 - c_sigma)) * drawn[k]
        squared += path[k] * path[k]
    for k in range(size):
        for j in range(size):
            same = 1.0 if k == j else 0.0
            spread = 0.0
            for p in range(len(share)):
                spread += share[p] * draws[order[p], k] * draws[order[p], j]
            change[k, j] = same + 0.5 * c_one * (path[k] * path[j] - same) + 0.5 * c_mu * (spread - same)
    for k in range(size):
        for j in range(size):
            shape[k, j] = 0.0
            for i in range(size):
                shape[k, j] += before[k, i] * change[i, j]
    return math.exp((c_sigma / damping) * (math.sqrt(squared) / length - 1.0))
