"""Settings of a run: a frozen dataclass, saved with its results and compared before a run is resumed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcli.core.errors import UsageError
from medcli.core.files import write_text
from medcli.core.json_text import read_object, to_plain
from medcli.core.made_with import differences, fingerprint, reject_other_options

SETTINGS_FILE = "settings.json"
DATA, RESUMED_FROM = "data", "resumed_from"


@dataclass(frozen=True)
class FitSettings:
    """Settings of every training; the datasets' packages add their own fields.

    Attributes:
        epochs: passes over the training frames.
        batch_size: frames in one step, on each device.
        lr: learning rate of the first epochs.
        gpus: ``auto`` (a GPU if there is one; under a launcher one for each process), ``0`` (CPU), a number of GPUs on
            each node, ``cuda:N`` or ``mps``.
        nodes: machines, started by SLURM or torchrun.
        precision: ``auto`` (bf16 on a GPU that has it, otherwise 32), ``32`` or ``bf16``.
        compile: ``auto``: the steps on a GPU are recorded as a CUDA graph; ``on``: the network is compiled before, with
            ``torch.compile``; ``off``: neither.
        monitor: the figure of the validation that chooses the best epoch, by its name for ``--monitor``.
        early_stop: epochs without a better one after which a run ends; None: all epochs are trained.
        seed: every random draw follows from it, the epoch and the step.
        transform: name of your own Python function that changes training frames; empty: none.
        loggers: of :data:`medcli.training.loggers.LOGGERS`; ``csv`` is always written.
    """

    epochs: int = 100
    batch_size: int = 32
    lr: float = 1e-5
    gpus: str = "auto"
    nodes: int = 1
    precision: str = "auto"
    compile: str = "auto"
    monitor: str = "loss"
    early_stop: int | None = None
    seed: int = 42
    transform: str = ""
    loggers: tuple[str, ...] = ("csv",)

    @property
    def free_to_change(self) -> frozenset[str]:
        """Fields that may change when a run is resumed, see :data:`FREE_TO_CHANGE`."""
        return FREE_TO_CHANGE


FREE_TO_CHANGE = frozenset({"epochs", "loggers", "compile", "root", "use_cache"})
"""Fields that may change when a run is resumed: they do not alter the numbers of the finished epochs.

The data folder may be moved; :func:`data_fingerprint` checks that it contains the same frames."""


def as_dict(settings: FitSettings) -> dict[str, Any]:
    """The settings as JSON has them: lists for tuples, text for paths."""
    return dict(to_plain(settings))


def check_learning_rate(settings: FitSettings) -> None:
    """Make sure that the learning rate is one.

    Raises:
        UsageError: it is not a positive number.
    """
    if not (math.isfinite(settings.lr) and settings.lr > 0):
        raise UsageError(f"--lr {settings.lr} is not a positive number")


def data_fingerprint(frames: Sequence[str], counts: Mapping[str, int]) -> str:
    """What a run is trained on, as one line: how much, and a digest of what each frame is.

    Args:
        frames: a line for each frame of each side, in order, without the place of the data folder, which may move.
        counts: frames by side.
    """
    sides = ", ".join(f"{count} {side}" for side, count in counts.items())
    return f"{sides}, digest " + fingerprint("\n".join(frames))


def save_settings(folder: Path, settings: FitSettings, data: str = "", resumed_from: Sequence[str] = ()) -> None:
    """Write ``settings.json`` into ``folder``.

    Args:
        data: :func:`data_fingerprint` of what is trained on.
        resumed_from: checkpoints of other runs that this one went on from, and what differed.
    """
    content = {**as_dict(settings), DATA: data, RESUMED_FROM: list(resumed_from)}
    write_text(folder / SETTINGS_FILE, json.dumps(content, indent=2) + "\n")


def read_settings(folder: Path) -> dict[str, Any]:
    """What ``settings.json`` in ``folder`` holds; nothing where there is none."""
    return read_object(folder / SETTINGS_FILE)


def check_same_settings(folder: Path, settings: FitSettings, data: str = "") -> None:
    """Check that the run in ``folder`` may be resumed with ``settings`` and ``data``.

    Raises:
        UsageError: it was started with other settings or on other data; names the first that differ.
    """
    before, remedy = read_settings(folder), "choose another --out, or start again with --overwrite"
    if not before:
        raise UsageError(f"{folder / SETTINGS_FILE} cannot be read", remedy)
    reject_other_options(folder, differing(before, settings, data), remedy)


def differing(before: Mapping[str, Any], settings: FitSettings, data: str) -> list[str]:
    """What differs from ``before`` (see :func:`read_settings`) and alters the numbers, one text each.

    A run of an earlier version, which lacks a field, was trained with the field's default.
    """
    before = {**as_dict(type(settings)()), **before}
    now = {name: value for name, value in as_dict(settings).items() if name not in settings.free_to_change}
    if data and before.get(DATA):
        now[DATA] = data
    return differences(before, now)
