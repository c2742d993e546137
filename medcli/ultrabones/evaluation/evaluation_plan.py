"""What an evaluation would use and what is missing, from names of files and tables: ``evaluate seg --dry-run``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medcli.core.errors import DataError
from medcli.ultrabones.dataset.constants import TEST_SPECIMENS
from medcli.ultrabones.dataset.presence import check_frames_present
from medcli.ultrabones.evaluation.settings import EvaluationSettings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PlannedSpecimen:
    """The frames of a specimen that would be evaluated: those with a label and a tracked pose.

    Attributes:
        records: number of its records with such frames.
        predictions: frames with a mask to evaluate; None where a network makes them.
    """

    specimen: int
    records: int
    frames: int
    predictions: int | None = None


@dataclass(frozen=True)
class EvaluationPlan:
    """The answer of ``medcli evaluate seg --dry-run``.

    Attributes:
        source: checkpoint or folder of masks; empty where it is missing.
        device: as asked for; empty for masks, which need none.
        missing: what must be there first, one line each.
    """

    root: Path
    source: str
    device: str
    labels: str
    protocols: tuple[str, ...]
    specimens: tuple[PlannedSpecimen, ...]
    missing: tuple[str, ...]
    out: Path
    dry_run: bool = True
    schema: str = "medcli.evaluate.dry-run.v1"


def plan_evaluation(
    root: Path,
    settings: EvaluationSettings,
    out: Path,
    checkpoint: Path | None,
    predictions: str | None,
    device: str,
    missing: tuple[str, ...] = (),
) -> EvaluationPlan:
    """List what would be evaluated; opens no image and loads no network.

    Args:
        checkpoint, predictions: what to evaluate; neither where the checkpoint is missing.
        missing: found by the checks that an evaluation makes before its work, one line each.
    """
    source, on = (predictions, "") if predictions else (str(checkpoint or ""), device)
    planned = _specimens(root, settings, predictions)
    return EvaluationPlan(root, source, on, settings.labels, settings.protocols, planned, missing, out)


def _specimens(root: Path, settings: EvaluationSettings, predictions: str | None) -> tuple[PlannedSpecimen, ...]:
    """Those of the specimens that are there."""
    try:
        check_frames_present(root)
    except DataError:
        return ()
    from medcli.ultrabones.dataset.frame_index import index_frames
    from medcli.ultrabones.dataset.splits import is_usable

    frames = index_frames(root)
    usable = frames[is_usable(frames, settings.labels)]
    there = set(frames["specimen"])
    numbers = [number for number in settings.specimens or TEST_SPECIMENS if number in there]
    return tuple(_planned(number, usable[usable["specimen"] == number], predictions) for number in numbers)


def _planned(number: int, frames: pd.DataFrame, predictions: str | None) -> PlannedSpecimen:
    from medcli.ultrabones.dataset.frame_index import mask_path

    masks = sum(map(bool, mask_path(frames, predictions).tolist())) if predictions else None
    return PlannedSpecimen(number, frames["record_dir"].nunique(), len(frames), masks)
