"""What an evaluation would use and what is missing, from names of files and tables: ``evaluate seg --dry-run``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from medcli.core.errors import DataError
from medcli.training.checkpoint_files.checkpoint_file import check_checkpoint_file
from medcli.training.weights import find_newest
from medcli.ultrabones.dataset.constants import TEST_SPECIMENS
from medcli.ultrabones.dataset.frame_index import index_frames, mask_path
from medcli.ultrabones.dataset.splits import choose_frames
from medcli.ultrabones.evaluation.evaluate import EvaluationSettings


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
    checkpoint: Path | None = None,
    predictions: str | None = None,
    device: str = "auto",
    runs: Path = Path("runs"),
) -> EvaluationPlan:
    """List what would be evaluated; opens no image and loads no network."""
    missing: list[str] = []
    source = predictions or _checkpoint(checkpoint, runs, missing)
    planned = _specimens(root, settings, predictions, missing)
    on = "" if predictions else device
    return EvaluationPlan(root, source, on, settings.labels, settings.protocols, planned, tuple(missing), out)


def _checkpoint(path: Path | None, runs: Path, missing: list[str]) -> str:
    try:
        found = path or find_newest(runs, "seg")
        check_checkpoint_file(found)
    except DataError as error:
        missing.append(_in_a_line(error))
        return ""
    return str(found)


def _specimens(
    root: Path, settings: EvaluationSettings, predictions: str | None, missing: list[str]
) -> tuple[PlannedSpecimen, ...]:
    try:
        frames = index_frames(root)
    except DataError as error:
        missing.append(_in_a_line(error))
        return ()
    planned = []
    for number in settings.specimens or TEST_SPECIMENS:
        try:
            planned.append(_planned(number, choose_frames(frames, [number], settings.labels), predictions))
        except DataError as error:
            missing.append(f"specimen {number}: {_in_a_line(error)}")
    if predictions and planned and not any(one.predictions for one in planned):
        missing.append(f"no mask in folder {predictions} of any record; make them with: medcli predict seg")
    return tuple(planned)


def _planned(number: int, frames: pd.DataFrame, predictions: str | None) -> PlannedSpecimen:
    masks: Sequence[str] | None = mask_path(frames, predictions).tolist() if predictions else None
    there = None if masks is None else sum(map(bool, masks))
    return PlannedSpecimen(number, frames["record_dir"].nunique(), len(frames), there)


def _in_a_line(error: DataError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
