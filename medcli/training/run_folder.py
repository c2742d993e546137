"""The folder of a run: what is in it decides whether the run starts, goes on, or is done.

``settings.json``; ``last`` and ``best`` checkpoints; ``last.ckpt``, Lightning's own, to go on from; ``metrics.csv``;
``curves.png`` and ``result.json`` at the end. Each is whole or absent at any moment, and ``last.ckpt`` is written after
everything else of its epoch: a run that was killed in between repeats that epoch and writes the same again.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcli.errors import UsageError
from medcli.files import make_output_folder, remove_left_overs, write_text
from medcli.training.settings import SETTINGS_FILE, FitSettings, check_same_settings, save_settings

RESUMABLE = "last.ckpt"
METRICS = "metrics.csv"
CURVES = "curves.png"
RESULT = "result.json"
_WRITTEN = (RESULT, RESUMABLE, SETTINGS_FILE, METRICS, CURVES)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """How a run begins.

    Attributes:
        checkpoint: Lightning checkpoint to go on from; None for the first epoch.
        result: the result of a run that is done already; then there is nothing to do.
    """

    checkpoint: Path | None = None
    result: dict[str, Any] | None = None


def open_run(folder: Path, settings: FitSettings, resume: str = "auto", overwrite: bool = False) -> Start:
    """Prepare ``folder`` for a run and find out how it begins.

    Args:
        folder: created if absent.
        settings: saved for a new run, compared with those of a run that is there.
        resume: ``auto`` goes on where the run in ``folder`` stopped; otherwise a Lightning checkpoint to go on from.
        overwrite: forget the run that is there.

    Raises:
        UsageError: the folder holds a run with other settings, or there is no such checkpoint.
    """
    make_output_folder(folder)
    remove_left_overs(folder)
    if overwrite:
        for name in _WRITTEN:
            (folder / name).unlink(missing_ok=True)
    start = _start(folder, settings, resume)
    if start.result is None:
        (folder / RESULT).unlink(missing_ok=True)
        save_settings(folder, settings)
    if start.checkpoint:
        logger.info("going on from %s", start.checkpoint)
    return start


def save_result(folder: Path, result: dict[str, Any]) -> None:
    """Write ``result.json``, which marks the run as done."""
    write_text(folder / RESULT, json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _start(folder: Path, settings: FitSettings, resume: str) -> Start:
    if (folder / RESULT).exists() or (folder / RESUMABLE).exists():
        check_same_settings(folder, settings)
        result = _read_result(folder / RESULT)
        if result is not None and result.get("epochs") == settings.epochs:
            return Start(result=result)
    if resume != "auto":
        if not Path(resume).is_file():
            raise UsageError(f"no checkpoint {resume} to go on from", f"give a {RESUMABLE}, or --resume auto")
        return Start(checkpoint=Path(resume))
    return Start(checkpoint=folder / RESUMABLE if (folder / RESUMABLE).exists() else None)


def _read_result(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
