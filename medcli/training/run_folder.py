"""The folder of a run: its contents decide whether the run starts, resumes, or is finished.

``settings.json``; ``last`` and ``best`` checkpoints; ``last.ckpt``, the Lightning checkpoint to resume from;
``metrics.csv``; ``curves.png`` and ``result.json`` at the end. Each is complete or absent at any moment, and
``last.ckpt`` is written last in its epoch: a run that was killed in between repeats that epoch with the same result.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcli.core.errors import UsageError, quantity
from medcli.core.files import check_output_folder, make_output_folder
from medcli.core.json_text import read_object
from medcli.core.system.open_files import remove_file
from medcli.training.monitors import EARLY_STOP
from medcli.training.settings import (
    RESUMED_FROM,
    SETTINGS_FILE,
    FitSettings,
    check_same_settings,
    differing,
    read_settings,
    save_settings,
)

RESUMABLE = "last.ckpt"
BEST = "best.safetensors"
METRICS = "metrics.csv"
CURVES = "curves.png"
RESULT = "result.json"
LOGGED = "loggers.json"
"""Names of the run with wandb and mlflow."""
_WRITTEN = (RESULT, RESUMABLE, SETTINGS_FILE, METRICS, CURVES, LOGGED)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """How a run starts.

    Attributes:
        checkpoint: Lightning checkpoint to resume from; None for the first epoch.
        result: the result of a run that is done already; then there is nothing to do.
    """

    checkpoint: Path | None = None
    result: dict[str, Any] | None = None


def open_run(
    folder: Path, settings: FitSettings, resume: str = "auto", overwrite: bool = False, data: str = ""
) -> Start:
    """Determine how a run in ``folder`` starts, and prepare the folder for it.

    Args:
        folder: created if absent.
        settings: saved for a new run, compared with those of a run that is there.
        resume: ``auto`` resumes the run in ``folder``; otherwise a Lightning checkpoint to resume from.
        overwrite: forget the run that is there.
        data: :func:`medcli.training.settings.data_fingerprint` of what is trained on.

    Raises:
        UsageError: the folder holds a run with other settings or on other data, or of more epochs, or there is no
            such checkpoint.
    """
    start = look_at_run(folder, settings, resume, overwrite, data)
    make_output_folder(folder)
    earlier = _resumed_from(folder, settings, start, data)
    if overwrite:
        for name in _WRITTEN:
            remove_file(folder / name)
    if start.result is None:
        remove_file(folder / RESULT)
        save_settings(folder, settings, data, earlier)
    if start.checkpoint:
        logger.info("resuming from %s", start.checkpoint)
    return start


def look_at_run(
    folder: Path, settings: FitSettings, resume: str = "auto", overwrite: bool = False, data: str = ""
) -> Start:
    """What :func:`open_run` answers, without a change to the folder: for the processes that do not write."""
    if not overwrite and ((folder / RESULT).exists() or (folder / RESUMABLE).exists()):
        check_same_settings(folder, settings, data)
        result = read_object(folder / RESULT)
        done = result.get("epochs")
        if done == settings.epochs or (is_early(result) and isinstance(done, int) and done < settings.epochs):
            return Start(result=result)
        if isinstance(done, int) and done > settings.epochs:
            raise too_many_epochs(folder, done, settings.epochs)
    if resume != "auto":
        if not Path(resume).is_file():
            raise UsageError(f"there is no checkpoint {resume} to resume from", f"give a {RESUMABLE}, or --resume auto")
        return Start(checkpoint=Path(resume))
    return Start(checkpoint=folder / RESUMABLE if (folder / RESUMABLE).exists() and not overwrite else None)


def is_early(result: Mapping[str, Any]) -> bool:
    """Whether a run ended before its last epoch, by its ``result.json``: with more epochs it would end there, too."""
    return str(result.get("ended", "")).startswith(EARLY_STOP)


def check_run(folder: Path, settings: FitSettings, resume: str = "auto", overwrite: bool = False) -> bool:
    """What :func:`open_run` finds wrong and can be known without the data; whether a new run would start.

    Raises:
        UsageError, MedcliError: see there.
    """
    check_output_folder(folder)
    start = look_at_run(folder, settings, resume, overwrite)
    return start.result is None and start.checkpoint is None


def too_many_epochs(where: Path, done: int, asked: int) -> UsageError:
    """The error for a run or checkpoint that has trained for as many epochs as asked, or for more."""
    return UsageError(
        f"{where} has {quantity(done, 'epoch')} behind it, --epochs {asked} leaves none to train",
        f"ask for more than {quantity(done, 'epoch')}, or train again in another --out or with --overwrite",
    )


def is_own_checkpoint(folder: Path, checkpoint: Path) -> bool:
    """Whether ``checkpoint`` is where the run in ``folder`` itself stopped."""
    return checkpoint.absolute() == (folder / RESUMABLE).absolute()


def _resumed_from(folder: Path, settings: FitSettings, start: Start, data: str) -> list[str]:
    """Checkpoints of other runs behind this one; warns of what differs from the run of a new one."""
    if start.checkpoint is None:
        return []
    if is_own_checkpoint(folder, start.checkpoint):
        earlier = read_settings(folder).get(RESUMED_FROM)
        return [str(path) for path in earlier] if isinstance(earlier, list) else []
    before = read_settings(start.checkpoint.parent)
    changes = differing(before, settings, data) if before else []
    if changes:
        logger.warning("%s is of a run with other settings: %s", start.checkpoint, ", ".join(changes))
    return [f"{start.checkpoint}" + (f": {', '.join(changes)}" if changes else "")]


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The complete rows of ``metrics.csv``; none if it is absent or damaged."""
    try:
        return read_history(folder)
    except (OSError, ValueError, TypeError, csv.Error):
        return []


def read_history(folder: Path) -> list[dict[str, float]]:
    """The rows of ``metrics.csv``; none if it does not exist, and whatever its reader raises if it is damaged."""
    if not (folder / METRICS).is_file():
        return []
    with (folder / METRICS).open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
