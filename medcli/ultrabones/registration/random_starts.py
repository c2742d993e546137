"""The published protocol of random starts: how often and how well a registration finds back (``medcli evaluate
registration``).

Wu et al., NeuralBoneReg (Medical Image Analysis 2026, doi 10.1016/j.media.2026.104133), by its authors' code: the
records of one specimen and bone are merged into one cloud, which lies right in CT by its tracking; a random motion
(Euler angles x, y, z each within 180 degrees, shift within 500 mm along each axis) takes it away, and the method
brings it back to the mesh of that bone, ten times. RTE is the distance between where the found and the true transform
put the cloud's centre, RRE the angle between their rotations. The paper's limit for its recall is not in the code and
was not found: here a start counts as recovered within 5 mm and 5 degrees, which is our choice and can be changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.rigid_transforms import ULTRABONES_EULER, rigid_transform, rotation_angle_deg, transform_points
from medcli.core.threads import map_in_threads
from medcli.ultrabones.registration.register_cloud import BoneRegistration, register_cloud
from medcli.ultrabones.registration.surface_samples import BoneTarget

TURN_DEG, SHIFT_MM = 180.0, 500.0
"""Limits of the random motion, for each angle and along each axis."""
STARTS = 10
SUCCESS_MM, SUCCESS_DEG = 5.0, 5.0


@dataclass(frozen=True)
class StartOutcome:
    """What became of one start: RTE, RRE and the status that the registration gave itself."""

    start: int
    rte_mm: float
    rre_deg: float
    status: str


@dataclass(frozen=True)
class Recovery:
    """Starts taken together.

    Attributes:
        starts: how many.
        recall: share within the limits.
        rte_mm, rre_deg: mean and standard deviation over all starts.
        recovered_rte_mm, recovered_rre_deg: the same over the starts within the limits; None where there is none.
        median_rte_mm, median_rre_deg: over all starts.
        good: starts that were called good; ``wrong_good``: of these, outside of the limits.
    """

    starts: int
    recall: float
    rte_mm: tuple[float, float]
    rre_deg: tuple[float, float]
    recovered_rte_mm: tuple[float, float] | None
    recovered_rre_deg: tuple[float, float] | None
    median_rte_mm: float
    median_rre_deg: float
    good: int
    wrong_good: int


def random_motion(generator: np.random.Generator, middle: NDArray[np.float64]) -> NDArray[np.float64]:
    """A random motion (4, 4) about the middle (3,) of a cloud."""
    motion = rigid_transform(
        generator.uniform(-SHIFT_MM, SHIFT_MM, 3), generator.uniform(-TURN_DEG, TURN_DEG, 3), ULTRABONES_EULER
    )
    motion[:3, 3] += middle - motion[:3, :3] @ middle
    return motion


def outcome_of(
    found: BoneRegistration, motion: NDArray[np.float64], middle: NDArray[np.float64], start: int
) -> StartOutcome:
    """RTE and RRE of a registration of a moved cloud whose middle in CT is ``middle``."""
    error = found.matrix @ motion
    apart = transform_points(error, middle[None])[0] - middle
    angle = float(rotation_angle_deg(error[:3, :3]))
    return StartOutcome(start, round(float(np.linalg.norm(apart)), 4), round(angle, 4), found.status)


def run_starts(
    points: NDArray[np.float64], target: BoneTarget, starts: int, seed: Sequence[int], workers: int
) -> tuple[list[StartOutcome], BoneRegistration]:
    """Register a cloud (N, 3) that lies right in CT from random starts; the outcomes and the first registration.

    The result does not depend on ``workers``. The mirror image of the bones is looked at from the first start, and what
    that shows counts for all: it has nothing to do with the start.
    """
    middle = points.mean(axis=0)

    def one(start: int, mirror_lead: float | None = None) -> tuple[StartOutcome, BoneRegistration]:
        motion = random_motion(np.random.default_rng([*seed, start]), middle)
        moved = transform_points(motion, points)
        found = register_cloud(moved, target, other_side=mirror_lead is None, mirror_lead=mirror_lead)
        return outcome_of(found, motion, middle, start), found

    outcome, first = one(0)
    others = map_in_threads(lambda start: one(start, first.mirror_lead)[0], range(1, starts), workers)
    return [outcome, *others], first


def recovery_of(outcomes: Sequence[StartOutcome], success_mm: float, success_deg: float) -> Recovery:
    """Recall and errors of one or more starts."""
    rte, rre = (np.array([getattr(one, name) for one in outcomes]) for name in ("rte_mm", "rre_deg"))
    right = (rte <= success_mm) & (rre <= success_deg)
    good = np.array([one.status == "good" for one in outcomes])
    recovered = right.any()
    return Recovery(
        starts=len(outcomes),
        recall=round(float(right.mean()), 4),
        rte_mm=_mean_sd(rte),
        rre_deg=_mean_sd(rre),
        recovered_rte_mm=_mean_sd(rte[right]) if recovered else None,
        recovered_rre_deg=_mean_sd(rre[right]) if recovered else None,
        median_rte_mm=round(float(np.median(rte)), 4),
        median_rre_deg=round(float(np.median(rre)), 4),
        good=int(np.count_nonzero(good)),
        wrong_good=int(np.count_nonzero(good & ~right)),
    )


def _mean_sd(values: NDArray[np.float64]) -> tuple[float, float]:
    return round(float(values.mean()), 4), round(float(values.std()), 4)
