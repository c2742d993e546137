"""Settings of a run: a frozen dataclass, saved beside what it produced, compared before a run goes on."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcli.errors import UsageError
from medcli.files import write_text

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class FitSettings:
    """What every training needs; the rooms add their own fields.

    Attributes:
        epochs: passes over the training frames.
        batch_size: frames in one step, on each device.
        lr: learning rate of the first epochs.
        gpus: ``auto`` (one GPU if there is one), ``0`` (CPU) or a number of GPUs on each node.
        nodes: machines, started by SLURM or torchrun.
        precision: ``auto`` (bf16 on a GPU that has it, otherwise 32), ``32`` or ``bf16``.
        compile: compile the network with ``torch.compile``.
        seed: every random draw follows from it, the epoch and the step.
        loggers: ``csv`` (always written) and ``tensorboard``.
    """

    epochs: int = 100
    batch_size: int = 32
    lr: float = 1e-5
    gpus: str = "auto"
    nodes: int = 1
    precision: str = "auto"
    compile: bool = False
    seed: int = 42
    loggers: tuple[str, ...] = ("csv",)


FREE_TO_CHANGE = frozenset({"epochs", "loggers", "compile", "root", "use_cache"})
"""Fields that a run may go on with after a change: they do not alter the numbers of the epochs already done."""


def as_dict(settings: FitSettings) -> dict[str, Any]:
    """The settings as JSON has them: lists for tuples, text for paths."""
    return json.loads(json.dumps(dataclasses.asdict(settings), default=str))


def save_settings(folder: Path, settings: FitSettings) -> None:
    """Write ``settings.json`` into ``folder``."""
    write_text(folder / SETTINGS_FILE, json.dumps(as_dict(settings), indent=2) + "\n")


def check_same_settings(folder: Path, settings: FitSettings) -> None:
    """Make sure that the run in ``folder`` may go on with ``settings``.

    Raises:
        UsageError: it was started with other settings; names the first that differ.
    """
    try:
        before = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder / SETTINGS_FILE} cannot be read: {error}", "choose another --out, or start anew with --overwrite"
        ) from error
    now = as_dict(settings)
    other = [name for name in now if name not in FREE_TO_CHANGE and before.get(name) != now[name]]
    if other:
        differences = ", ".join(f"{name} was {before.get(name)}, is {now[name]}" for name in other[:3])
        raise UsageError(
            f"{folder} holds a run with other settings: {differences}",
            "choose another --out, or start anew with --overwrite",
        )
