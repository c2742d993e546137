"""Register a cloud of bone points to CT meshes, with no start: the pose, what it rests on and what it does not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.rigid_transforms import rotation_angle_deg, transform_points
from medcli.ultrabones.reconstruction.point_cloud import DistanceSummary
from medcli.ultrabones.registration.clean_cloud import CleanCloud, clean_cloud
from medcli.ultrabones.registration.closest_points import closest_points
from medcli.ultrabones.registration.cloud_input import ask_for_centimetres, cloud_problem
from medcli.ultrabones.registration.determined_directions import Determination, determine
from medcli.ultrabones.registration.hypotheses import (
    Hypothesis,
    displacement_between,
    find_hypotheses,
    lead_of,
    mirrored,
    refine_exactly,
)
from medcli.ultrabones.registration.surface_samples import BoneTarget
from medcli.ultrabones.registration.verdict import CLOSE_MM, GOOD, LEAD, WITHIN_MM, Evidence, judge

MOST_MEASURED = 200_000
"""Points of the cloud as it came whose distances are reported; of a larger one every n-th."""


@dataclass(frozen=True)
class RunnerUp:
    """The next best pose; it moves the points by more than 5 mm from the first.

    Attributes:
        cost: as of the first.
        lead: of the first pose over it, in standard errors of the paired differences over 10 mm cubes; between -3 and
            3 they are not told apart.
        displacement_mm: root mean square by which the two poses move the points apart.
        rotation_deg: angle between them.
        transform: (4, 4).
    """

    cost: float
    lead: float
    displacement_mm: float
    rotation_deg: float
    transform: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class BoneRegistration:
    """Where a cloud lies in CT.

    Attributes:
        status: ``good``, ``doubtful`` or ``failed``.
        reasons: against ``good``, one sentence each.
        transform: (4, 4), cloud to CT: p_ct = M p_cloud, millimetres.
        points, points_used: points that came, and points after thinning and without statistical outliers.
        explained: share of the points used that are within 2 mm of a bone.
        close: share of these that are within 1 mm.
        distance_mm: exact distances of the explained points as they came (at most 200,000 of them) to the nearest
            triangle.
        by_bone: the same for the points nearest to each bone, by bone.
        cost: mean distance of the points used, each at most 2 mm, as a share of it: 0 to 1.
        determination: standard errors of the six directions.
        undetermined: the directions that the points do not determine, in words.
        runner_up: the next hypothesis; None where there is none, or a start was given.
        mirror_lead: lead over the best pose on the mirror image of the meshes, in standard errors; None: not looked at.
    """

    status: str
    reasons: tuple[str, ...]
    transform: tuple[tuple[float, ...], ...]
    points: int
    points_used: int
    explained: float
    close: float
    distance_mm: DistanceSummary | None
    by_bone: dict[str, DistanceSummary]
    cost: float
    determination: Determination
    undetermined: tuple[str, ...]
    runner_up: RunnerUp | None
    mirror_lead: float | None

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The transform as an array (4, 4)."""
        return np.array(self.transform)


def register_cloud(
    points: NDArray[np.float64],
    target: BoneTarget,
    init: NDArray[np.float64] | None = None,
    seed: int = 0,
    other_side: bool = True,
    mirror_lead: float | None = None,
) -> BoneRegistration:
    """Register points (N, 3) in millimetres to bones.

    Args:
        init: a pose (4, 4) within about 10 mm and 10 degrees; then only this one is refined.
        seed: of every draw; the result depends on it and on the input only.
        other_side: also register to the mirror image of the bones, to find out a mesh of the other leg.
        mirror_lead: what that gave, where it is known and ``other_side`` is off.

    Raises:
        DataError: too few points, or they cannot be bone in millimetres.
    """
    problem, hint = cloud_problem(points)
    if problem:
        raise DataError(f"the point cloud {problem}", hint)
    cloud = clean_cloud(points)
    hypotheses = _hypotheses(cloud, target, init, seed)
    best, other = best_and_next(hypotheses, cloud.points)
    mirror = find_hypotheses(mirrored(cloud), target, seed, most=1)[0] if other_side and init is None else None
    lead = lead_of(best.fit, mirror.fit, cloud.points) if mirror else mirror_lead
    runner_up = _runner_up(best, other, cloud) if other else None
    return _conclude(points, cloud, target, best, runner_up, lead)


def best_and_next(
    hypotheses: Sequence[Hypothesis], points: NDArray[np.float64]
) -> tuple[Hypothesis, Hypothesis | None]:
    """The result and its runner-up of hypotheses on points (N, 3), least cost first.

    The least cost decides, unless the comparison in cubes proves it wrong: another pose leads it by 3 standard errors.
    Below that the sign of a lead is chance, and says less than the cost (measured: docs/registration.md).
    """
    first, *others = hypotheses
    if not others:
        return first, None
    leads = [lead_of(other.fit, first.fit, points) for other in others]
    if max(leads) < LEAD:
        return first, others[0]
    best = others[int(np.argmax(leads))]
    rest = [one for one in hypotheses if one is not best]
    return best, min(rest, key=lambda one: lead_of(best.fit, one.fit, points))


def _hypotheses(cloud: CleanCloud, target: BoneTarget, init: NDArray[np.float64] | None, seed: int) -> list[Hypothesis]:
    if init is None:
        return find_hypotheses(cloud, target, seed)
    from medcli.ultrabones.registration.grid_refinement import refine_on_grid

    poses, _ = refine_on_grid(init[None], cloud.points, target, (15.0, 3.0), 25, 4.0)
    return refine_exactly(poses, cloud, target)


def _conclude(
    points: NDArray[np.float64],
    cloud: CleanCloud,
    target: BoneTarget,
    best: Hypothesis,
    runner_up: RunnerUp | None,
    mirror_lead: float | None,
) -> BoneRegistration:
    explained = best.fit.distances < WITHIN_MM
    determination = determine(best.fit, cloud.points, target)
    there = best.fit.distances[explained] if explained.any() else np.array([WITHIN_MM])
    share, close = float(explained.mean()), float((there < CLOSE_MM).mean())
    lead = runner_up.lead if runner_up else None
    status, reasons = judge(Evidence(share, float(np.median(there)), lead, mirror_lead, determination, close))
    if status != GOOD and (question := ask_for_centimetres(points)):
        reasons = (*reasons, question)
    distance, by_bone = _measured(points, target, best.fit.pose)
    return BoneRegistration(
        status=status,
        reasons=reasons,
        transform=rows_of(best.fit.pose),
        points=len(points),
        points_used=len(cloud.points),
        explained=round(share, 4),
        close=round(close, 4),
        distance_mm=distance,
        by_bone=by_bone,
        cost=round(best.cost, 5),
        determination=determination,
        undetermined=determination.undetermined,
        runner_up=runner_up,
        mirror_lead=None if mirror_lead is None else round(mirror_lead, 2),
    )


def _measured(
    points: NDArray[np.float64], target: BoneTarget, pose: NDArray[np.float64]
) -> tuple[DistanceSummary | None, dict[str, DistanceSummary]]:
    """Distances of the explained points of the cloud as it came: of all, and by bone."""
    moved = transform_points(pose, measured_part(points))
    nearest, _, owner = closest_points(moved, target.surfaces, WITHIN_MM)
    distances = np.linalg.norm(moved - nearest, axis=1)
    by_bone = {
        surface.name: DistanceSummary.of(distances[owner == number])
        for number, surface in enumerate(target.surfaces)
        if np.any(owner == number)
    }
    there = owner >= 0
    return (DistanceSummary.of(distances[there]) if there.any() else None), by_bone


def measured_part(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """All points (N, 3), or every n-th of a cloud that has more than 200,000."""
    return points[:: -(-len(points) // MOST_MEASURED)]


def _runner_up(best: Hypothesis, other: Hypothesis, cloud: CleanCloud) -> RunnerUp:
    turn = other.fit.pose[:3, :3] @ best.fit.pose[:3, :3].T
    return RunnerUp(
        cost=round(other.cost, 5),
        lead=round(lead_of(best.fit, other.fit, cloud.points), 2),
        displacement_mm=round(displacement_between(best.fit.pose, other.fit.pose, cloud.points), 2),
        rotation_deg=round(float(rotation_angle_deg(turn)), 2),
        transform=rows_of(other.fit.pose),
    )


def rows_of(pose: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    """A matrix as rows of numbers, ten decimals."""
    return tuple(tuple(round(float(value), 10) for value in row) for row in pose)
