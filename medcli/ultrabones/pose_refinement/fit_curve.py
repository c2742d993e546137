"""Fit the correction curve of a sweep: robust Gauss-Newton steps, its stiffness chosen by cross-validation.

Maximised is the smooth data term of all frames (:mod:`sweep_objective`), in units of a frame's mean published term at
its tracked pose, minus ½ s⁴ ∫ |δ''|² dt with the stiffness s in seconds: features of the curve much shorter than s are
smoothed out. A small cost of δ itself keeps directions at rest that the images do not determine (along a shaft).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medcli.ultrabones.pose_refinement.correction_curve import BAND, ORDER, CurveBasis, add_to_band, solve_band
from medcli.ultrabones.pose_refinement.distance_field import DistanceField
from medcli.ultrabones.pose_refinement.sweep_objective import SweepPixels, Terms, published_terms, smooth_terms

STIFFNESS_S = (0.25, 0.5, 1.0, 2.0)
"""Tried by cross-validation."""
USUAL_STIFFNESS_S = 1.0
"""Taken where there are too few frames for it."""
BLOCK = 5
LEAST_BETTER = 0.5
"""Share of the held-out frames that must gain: a curve that few frames carry is not the probe's motion."""
NO_GAIN = "no gain in held-out frames"
FEW_GAIN = "fewer than half of the held-out frames gain"
FOLDS = 3
REST = 0.1
"""Cost of a correction of 1 mm or 1 degree in one component, in units of twice a frame's data term."""
_BROAD, _SHARP = 1, 2
"""Powers of the smooth data term: broad first, so that the start need not be near."""
_FIRST_STEPS, _MORE_STEPS, _FINAL_STEPS = 6, 4, 12
_ENOUGH = 3e-4  # of the objective: a smaller gain ends the steps
_STUCK = 1e4


@dataclass(frozen=True)
class CurveProblem:
    """All that a fit needs.

    Attributes:
        basis: of the curve.
        tracked: (frames, 6), the poses to correct, millimetres and degrees.
        pixels: of the frames.
        field: distances to the bone.
        scale: the unit of the objective: the published data term of a frame at its tracked pose, mean.
        bound: largest correction of a component.
        workers: threads; the result does not depend on them.
    """

    basis: CurveBasis
    tracked: NDArray[np.float64]
    pixels: SweepPixels
    field: DistanceField
    scale: float
    bound: float
    workers: int = 1

    def published(self, frames: NDArray[np.bool_], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """The published data term (frames,) at the poses that the curve corrects."""
        poses = self.tracked + self.basis.curve(coefficients)
        return published_terms(self.pixels, poses, frames, self.field, self.workers)


@dataclass(frozen=True)
class Validation:
    """What cross-validation found.

    Attributes:
        stiffness_s: chosen: the stiffest whose held-out gain is within one standard error of the best.
        gains: held-out gain by stiffness: weight of the bright pixels on the bone over that at the tracked poses.
        better: share of held-out frames whose weight is larger than at the tracked pose, for the one chosen.
    """

    stiffness_s: float
    gains: dict[float, float]
    better: float

    @property
    def gain(self) -> float:
        """The held-out gain of the one chosen."""
        return self.gains[self.stiffness_s]

    @property
    def objection(self) -> str:
        """Why the curve is not accepted; empty if it is."""
        return objection_to(self.gain, self.better)


def objection_to(gain: float, better: float) -> str:
    """Why a curve with this held-out gain, and this share of frames that gained, is not accepted; empty if it is."""
    return NO_GAIN if gain <= 1.0 else FEW_GAIN if better < LEAST_BETTER else ""


def choose_stiffness(
    problem: CurveProblem,
    frames: NDArray[np.bool_],
    folds: int = FOLDS,
    advance: Callable[[float], object] = lambda share: None,
) -> Validation | None:
    """Choose the stiffness: fit without every ``folds``-th block of 5 frames, judge by those; None for few frames.

    The fits use every fourth pixel, the judgement all of them.

    Args:
        frames: (frames,), those that take part.
        advance: is told the share of the work that is done since it was last told.
    """
    block = (np.cumsum(frames) - 1) // BLOCK
    if not frames.any() or block[-1] < 1:
        return None
    folds = int(min(folds, block[-1] + 1))
    coarse = replace(problem, pixels=problem.pixels.thinned())
    tracked = problem.published(frames, np.zeros((problem.basis.coefficients, 6)))
    held_out = np.zeros((len(STIFFNESS_S), len(frames)))
    for fold in range(folds):
        held = frames & (block % folds == fold)
        coefficients = None
        for s in reversed(range(len(STIFFNESS_S))):
            coefficients = fit_curve(coarse, frames & ~held, STIFFNESS_S[s], coefficients, _FIRST_STEPS, _MORE_STEPS)
            held_out[s] += problem.published(held, coefficients)
            advance(1.0 / (folds * len(STIFFNESS_S)))
    by_block = np.stack([np.bincount(block[frames], one[frames]) for one in held_out])
    best = int(np.argmax(by_block.sum(axis=1)))
    chosen = best
    for s in range(best + 1, len(STIFFNESS_S)):
        short = by_block[best] - by_block[s]
        if short.sum() <= short.std() * np.sqrt(len(short)):
            chosen = s
    gains = {s: float(one.sum() / max(tracked.sum(), 1e-300)) for s, one in zip(STIFFNESS_S, held_out, strict=True)}
    return Validation(STIFFNESS_S[chosen], gains, float((held_out[chosen] > tracked)[frames].mean()))


def fit_curve(
    problem: CurveProblem,
    frames: NDArray[np.bool_],
    stiffness_s: float,
    start: NDArray[np.float64] | None = None,
    first_steps: int = _FINAL_STEPS,
    more_steps: int = _FINAL_STEPS,
) -> NDArray[np.float64]:
    """The coefficients (coefficients, 6) of the best curve by the chosen ``frames`` (frames,).

    Args:
        start: coefficients to go on from; None starts at zero, and with the broad data term.
        first_steps, more_steps: with the broad and with the sharp term, at most.
    """
    if start is None:
        start = _climb(problem, frames, stiffness_s, np.zeros((problem.basis.coefficients, 6)), _BROAD, first_steps)
    return _climb(problem, frames, stiffness_s, start, _SHARP, more_steps)


def _climb(
    problem: CurveProblem,
    frames: NDArray[np.bool_],
    stiffness_s: float,
    coefficients: NDArray[np.float64],
    power: int,
    most: int,
) -> NDArray[np.float64]:
    """Damped Gauss-Newton steps, kept within the bounds; each that is taken raises the objective."""
    basis, strength = problem.basis, stiffness_s**4

    def look(at: NDArray[np.float64]) -> tuple[float, Terms, NDArray[np.float64]]:
        delta, rough = basis.curve(at), basis.penalty_of(at)
        terms = smooth_terms(problem.pixels, problem.tracked + delta, frames, problem.field, power, problem.workers)
        costs = strength * float((at * rough).sum()) + REST * float((delta[frames] ** 2).sum())
        return float(terms.value.sum()) / problem.scale - 0.5 * costs, terms, rough

    value, terms, rough = look(coefficients)
    damping = 1e-3
    for _ in range(most):
        step = _step(problem, frames, strength, coefficients, terms, rough, damping)
        trial = np.clip(coefficients + step, -problem.bound, problem.bound)
        found = look(trial)
        if found[0] <= value:
            damping *= 8
            if damping > _STUCK:
                break
            continue
        gain = found[0] - value
        coefficients, (value, terms, rough), damping = trial, found, max(damping / 4, 1e-4)
        if gain < _ENOUGH * abs(value):
            break
    return coefficients


def _step(
    problem: CurveProblem,
    frames: NDArray[np.bool_],
    strength: float,
    coefficients: NDArray[np.float64],
    terms: Terms,
    rough: NDArray[np.float64],
    damping: float,
) -> NDArray[np.float64]:
    """The step of all coefficients together; those at a bound that would leave it stay."""
    basis = problem.basis
    count = basis.coefficients
    band, right = np.zeros((6 * count, BAND)), -strength * rough
    delta = basis.curve(coefficients)
    gradients = terms.gradient / problem.scale - REST * delta * frames[:, None]
    curvatures = terms.curvature / problem.scale + REST * frames[:, None, None] * np.eye(6)
    add_to_band(band, right, basis.first, basis.values, gradients, curvatures)
    band[:, 0] += damping * band[:, 0] + 1e-9  # of the data alone: a stiff curve moves as freely as a soft one
    for k in range(ORDER):
        band[:, 6 * k] += strength * np.repeat(basis.penalty[:, k], 6)
    out = ((coefficients >= problem.bound) & (right > 0)) | ((coefficients <= -problem.bound) & (right < 0))
    return np.asarray(solve_band(band, right.ravel(), ~out.ravel())).reshape(count, 6)
