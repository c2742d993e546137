"""One training as both rooms do it: begin or go on, fit, report. A room gives the network, the data and the words."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from medcli.errors import DataError
from medcli.progress import Progress
from medcli.run_note import About, note_run
from medcli.training.batches import FrameData
from medcli.training.callbacks import Row, RunFiles, SeedEachStep, ShowProgress, StopAtNonFiniteLoss, WriteWeights
from medcli.training.curves import Panel, plot_curves
from medcli.training.devices import Devices, is_first_process
from medcli.training.fit import epochs_done, make_trainer, run_fit
from medcli.training.run_folder import (
    BEST,
    CURVES,
    Start,
    is_own_checkpoint,
    look_at_run,
    open_run,
    save_result,
    too_many_epochs,
)
from medcli.training.settings import FitSettings


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        module: the network under training.
        data: its batches.
        write_weights: writes the weights of the moment, see :data:`medcli.training.callbacks.WriteWeights`.
        monitor: the metric whose lowest value is the best.
        panels: what the picture of the run shows.
    """

    module: pl.LightningModule
    data: FrameData
    write_weights: WriteWeights
    monitor: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Trained:
    """What a fit leaves.

    Attributes:
        history: one row an epoch.
        best: the row of the best epoch.
        device: what it was trained on, and in which precision.
        seconds: time of this process.
    """

    history: list[Row]
    best: Row
    device: str
    seconds: float


def begin(out: Path, settings: FitSettings, resume: str, overwrite: bool, data: str) -> Start:
    """Prepare the run's folder (see :func:`medcli.training.run_folder.open_run`); one process does it for all.

    Raises:
        UsageError: see there; also where the checkpoint to go on from leaves no epoch to train. Nothing is changed.
        DataError: it is no checkpoint to go on from.
    """
    start = look_at_run(out, settings, resume, overwrite, data)
    if start.checkpoint:
        done = epochs_done(start.checkpoint)
        # A run that was killed between its last epoch and its result has nothing left to train, but to finish.
        if done > settings.epochs or (done == settings.epochs and not is_own_checkpoint(out, start.checkpoint)):
            raise too_many_epochs(start.checkpoint, done, settings.epochs)
    return open_run(out, settings, resume, overwrite, data) if is_first_process() else start


def train(task: Task, settings: FitSettings, devices: Devices, out: Path, start: Start, progress: Progress) -> Trained:
    """Fit from ``start``, and draw the curves of the run into its folder.

    Raises:
        UsageError: a logger is unknown or not installed.
        DataError: the checkpoint to go on from does not fit.
        KeyboardInterrupt: interrupted; the epochs done are on disk.
    """
    started = time.monotonic()
    goes_on = start.checkpoint is None or (is_own_checkpoint(out, start.checkpoint) and (out / BEST).is_file())
    files = RunFiles(out, task.write_weights, task.monitor, goes_on)
    shown = ShowProgress(progress, len(task.data.train), settings.epochs)
    trainer = make_trainer(settings, devices, out, [StopAtNonFiniteLoss(), files, SeedEachStep(settings.seed), shown])
    run_fit(trainer, task.module, task.data, start.checkpoint)
    best = files.best
    if best is None:  # the run was over, but the weights of its best epoch are gone
        raise DataError(f"{out / BEST} is missing, and no epoch is left to train", "train anew with --overwrite")
    if trainer.is_global_zero:
        plot_curves(out / CURVES, files.history, task.panels)
    seconds = round(time.monotonic() - started, 3)
    return Trained(files.history, best, f"{_device_name(trainer)}, {devices.precision}", seconds)


def finish(out: Path, result: Any) -> None:
    """Write ``result.json`` from a result's dataclass, which marks the run as done; one process does it for all."""
    if is_first_process():
        save_result(out, to_json(result))


def note(verb: str, out: Path, about: About, settings: Any, device: str = "") -> None:
    """Note command line, versions and data of a run (:mod:`medcli.run_note`); one process does it for all."""
    if is_first_process():
        note_run(out, verb, about, Path(settings.root), settings, device=device)


def finite(row: Mapping[str, float]) -> dict[str, float | None]:
    """A row of metrics without its epoch; None for a metric that no frame has."""
    return {name: value if math.isfinite(value) else None for name, value in row.items() if name != "epoch"}


def to_json(value: Any) -> Any:
    """A result as JSON has it: text for paths."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: to_json(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_json(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """The result's dataclass again: tuples for lists, and paths where the field's annotation says so."""
    annotations = {entry.name: str(entry.type) for entry in dataclasses.fields(kind)}
    known = {name: value for name, value in values.items() if name in annotations}
    return kind(**{name: _as(annotations[name], value) for name, value in known.items()})


def _as(annotation: str, value: Any) -> Any:
    if annotation == "Path":
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def _device_name(trainer: pl.Trainer) -> str:
    import torch

    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return f"{trainer.world_size} x {name}" if trainer.world_size > 1 else name
