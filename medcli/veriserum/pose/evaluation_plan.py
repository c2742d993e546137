"""What an evaluation of poses would use, and what is missing: ``medcli evaluate pose --dry-run``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medcli.core.refusals import Refusals

if TYPE_CHECKING:
    from medcli.veriserum.pose.evaluated_pairs import EvaluatedPairs, PoseEvaluationSettings


@dataclass(frozen=True)
class PosePlan:
    """The answer of ``medcli evaluate pose --dry-run``.

    Attributes:
        source: checkpoint or table of poses; empty where it is missing.
        device: as asked for; empty for a table, which needs none.
        reference, split: as in :class:`medcli.veriserum.pose.evaluate.PoseEvaluation`; empty where pairs are missing.
        pairs: number of pairs that would be evaluated.
        anatomies: the same per ``anatomy_id``.
        missing: what must be there first, one line each.
    """

    root: Path
    source: str
    device: str
    reference: str
    split: str
    pairs: int
    anatomies: dict[int, int]
    missing: tuple[str, ...]
    out: Path
    dry_run: bool = True
    schema: str = "medcli.evaluate.pose.dry-run.v1"


def plan_pose_evaluation(
    root: Path,
    settings: PoseEvaluationSettings | None,
    out: Path,
    network: Path | None,
    predictions: Path | None,
    device: str,
    check: Refusals,
) -> PosePlan:
    """List what would be evaluated; opens no image and loads no network.

    Args:
        settings: None where the data are missing, and nothing can be chosen.
        network, predictions: checkpoint or table of poses to evaluate; neither where it is missing.
        check: the checks that an evaluation makes before its work; what is found here is added to its problems.
    """
    chosen = _chosen(root, settings, network, predictions, check) if settings else None
    counts = chosen.pairs.poses.loc[chosen.ids.tolist(), "anatomy_id"].astype(int).value_counts() if chosen else {}
    return PosePlan(
        root=root,
        source=str(predictions or network or ""),
        device="" if predictions else device,
        reference=chosen.reference if chosen else "",
        split=chosen.split if chosen else "",
        pairs=len(chosen.ids) if chosen else 0,
        anatomies={int(number): int(count) for number, count in sorted(counts.items())},
        missing=check.lines,
        out=out,
    )


def _chosen(
    root: Path, settings: PoseEvaluationSettings, network: Path | None, predictions: Path | None, check: Refusals
) -> EvaluatedPairs | None:
    from medcli.veriserum.dataset.study import VeriserumStudy
    from medcli.veriserum.pose.checkpoint_metadata import read_pose_metadata
    from medcli.veriserum.pose.evaluated_pairs import choose_evaluated

    trained = check(read_pose_metadata, network) if network else None
    return check(choose_evaluated, VeriserumStudy(root, settings.calibrated), settings, trained, predictions)
