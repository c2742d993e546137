"""The training procedure of both datasets: start or resume, fit, report. Network and data are given by the caller."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import lightning.pytorch as pl

from medcli.core.errors import DataError, quantity
from medcli.core.files import write_json
from medcli.core.locks import folder_in_use
from medcli.core.progress import Progress
from medcli.core.run_provenance import DatasetCitation, note_run
from medcli.training.batches import FrameData
from medcli.training.callbacks import Row, RunFiles, SeedEachStep, ShowProgress, StopAtNonFiniteLoss, WriteWeights
from medcli.training.curves import Panel, plot_curves
from medcli.training.devices import Devices, is_first_process
from medcli.training.epoch_table import Column, EpochTable
from medcli.training.loggers import close_loggers
from medcli.training.monitors import Monitor
from medcli.training.processes.lost_process import lost_process_named
from medcli.training.processes.thread_trial import ThreadTrial, threads_restored
from medcli.training.processes.time_limit import TimeLimit
from medcli.training.results import RunResult, finite, from_json
from medcli.training.run_folder import (
    BEST,
    CURVES,
    RESULT,
    Start,
    is_early,
    is_own_checkpoint,
    look_at_run,
    open_run,
    too_many_epochs,
)
from medcli.training.settings import FitSettings
from medcli.training.trainer import epochs_done, make_trainer, run_fit

logger = logging.getLogger(__name__)
Result = TypeVar("Result", bound=RunResult)


@dataclass(frozen=True)
class TrainingTask:
    """What is trained.

    Attributes:
        module: the network under training.
        data: its batches.
        write_weights: writes the weights of the moment, see :data:`medcli.training.callbacks.WriteWeights`.
        monitor: the figure that chooses the best epoch.
        panels: the panels of the training curve.
        columns: the columns of the table on screen.
        failures: frames that cannot be read and take no part, a line each.
    """

    module: pl.LightningModule
    data: FrameData
    write_weights: WriteWeights
    monitor: Monitor
    panels: Sequence[Panel]
    columns: Sequence[Column]
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trained:
    """What a fit leaves.

    Attributes:
        history: one row an epoch.
        best: the row of the best epoch.
        monitor: the metric that chose it.
        ended: why the run ended.
        device: what it was trained on, and in which precision.
        seconds: time of this process.
        failures: those of the task.
    """

    history: list[Row]
    best: Row
    monitor: str
    ended: str
    device: str
    seconds: float
    failures: tuple[str, ...] = ()

    def fields(self, out: Path) -> dict[str, Any]:
        """The fields of :class:`RunResult` that every training reports."""
        return {
            "out": out,
            "best": out / "best.safetensors",
            "last": out / "last.safetensors",
            "epochs": len(self.history),
            "best_epoch": int(self.best["epoch"]),
            "best_metrics": finite(self.best),
            "last_metrics": finite(self.history[-1]),
            "monitor": self.monitor,
            "ended": self.ended,
            "device": self.device,
            "seconds": self.seconds,
            "failures": self.failures,
        }


class Training(ABC, Generic[Result]):
    """One kind of training: subclasses define the data, the network and the reported results.

    Attributes:
        settings: of the run.
        result_type: what :meth:`report` returns.
        verb: the command's words, ``train seg``.
        about: licence and citation of the data.
    """

    settings: FitSettings
    result_type: type[Result]
    verb: str
    about: DatasetCitation

    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the training data, see :func:`medcli.training.settings.data_fingerprint`."""

    @abstractmethod
    def prepare(self, out: Path, is_new: bool, progress: Progress) -> TrainingTask:
        """Open the data and build the network, in this order.

        Args:
            out: folder of the checkpoints.
            is_new: a new run; otherwise the network's weights come from its checkpoint.
            progress: reports decoded frames.
        """

    @abstractmethod
    def report(self, out: Path, trained: Trained) -> Result:
        """The result of the run in ``out``."""

    def run(self, devices: Devices, out: Path, resume: str, overwrite: bool, progress: Progress) -> Result:
        """Start or resume, fit, report; for a finished run the result is reported again and nothing is computed.

        Raises:
            MedcliError: another process trains in ``out``.
            UsageError, DataError, KeyboardInterrupt: see :func:`begin`, :meth:`prepare` and :func:`train`.
        """
        held = folder_in_use(out, "training") if is_first_process() else nullcontext()
        with held, TimeLimit().receiving() as limit:
            return self._run(devices, out, resume, overwrite, progress, limit)

    def _run(
        self, devices: Devices, out: Path, resume: str, overwrite: bool, progress: Progress, limit: TimeLimit
    ) -> Result:
        start = begin(out, self.settings, resume, overwrite, self.fingerprint())
        if start.result is not None:
            finished: Result = _read_back(out, self.result_type, start.result)
            ended = quantity(finished.epochs, "epoch") + (f", {finished.ended}" if is_early(start.result) else "")
            logger.info("%s is already finished: %s; --overwrite trains again", out, ended)
            return finished
        goes_on = start.checkpoint is not None and is_own_checkpoint(out, start.checkpoint)
        note(self.verb, out, self.about, self.settings, goes_on=goes_on)
        task = self.prepare(out, start.checkpoint is None, progress)
        trained = train(task, self.settings, devices, out, start, progress, limit)
        result = self.report(out, trained)
        finish(out, result)
        note(self.verb, out, self.about, self.settings, trained.device, goes_on)
        return result


def _read_back(out: Path, kind: type[Any], values: Mapping[str, Any]) -> Any:
    try:
        return from_json(kind, values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{out / RESULT} is not the result of a training", "train again with --overwrite") from error


def begin(out: Path, settings: FitSettings, resume: str, overwrite: bool, data: str) -> Start:
    """Prepare the run's folder (see :func:`medcli.training.run_folder.open_run`); one process does it for all.

    Raises:
        UsageError: see there; also where the checkpoint leaves no epoch to train. Nothing is changed.
        DataError: it is not a checkpoint that can be resumed.
    """
    start = look_at_run(out, settings, resume, overwrite, data)
    if start.checkpoint:
        done = epochs_done(start.checkpoint)
        # A run that was killed between its last epoch and its result has nothing left to train, but to finish.
        if done > settings.epochs or (done == settings.epochs and not is_own_checkpoint(out, start.checkpoint)):
            raise too_many_epochs(start.checkpoint, done, settings.epochs)
    return open_run(out, settings, resume, overwrite, data) if is_first_process() else start


def train(
    task: TrainingTask,
    settings: FitSettings,
    devices: Devices,
    out: Path,
    start: Start,
    progress: Progress,
    limit: TimeLimit | None = None,
) -> Trained:
    """Fit from ``start``, and draw the curves of the run into its folder.

    Args:
        limit: ends the training before a cluster does, with a KeyboardInterrupt.

    Raises:
        MedcliError: another process of the training ended.
        UsageError: a logger is unknown or not installed.
        DataError: the checkpoint does not fit.
        KeyboardInterrupt: interrupted; the epochs done are on disk.
    """
    started = time.monotonic()
    goes_on = start.checkpoint is None or (is_own_checkpoint(out, start.checkpoint) and (out / BEST).is_file())
    table = EpochTable(task.columns, settings.epochs, _rows_on_screen())
    files = RunFiles(out, task.write_weights, task.monitor, table, settings.early_stop, goes_on)
    shown = ShowProgress(progress, len(task.data.train), settings.epochs)
    limit = limit or TimeLimit()
    callbacks = [StopAtNonFiniteLoss(), files, limit, SeedEachStep(settings.seed), shown, ThreadTrial()]
    trainer = make_trainer(settings, devices, out, callbacks)
    try:
        with lost_process_named(devices.processes, out), threads_restored():
            run_fit(trainer, task.module, task.data, start.checkpoint)
    finally:
        close_loggers(trainer.loggers)
    if limit.stopped:
        raise KeyboardInterrupt
    best = files.best
    if best is None:  # the run was over, but the weights of its best epoch are gone
        raise DataError(f"{out / BEST} is missing, and no epoch is left to train", "train again with --overwrite")
    if trainer.is_global_zero:
        plot_curves(out / CURVES, files.history, task.panels)
    return Trained(
        history=files.history,
        best=best,
        monitor=task.monitor.metric,
        ended=files.reason_to_stop or f"{quantity(settings.epochs, 'epoch was', 'epochs were')} trained",
        device=f"{_device_name(trainer)}, {devices.precision}",
        seconds=round(time.monotonic() - started, 3),
        failures=task.failures,
    )


def _rows_on_screen() -> int:
    """Rows of a table after which its header is about to leave the screen; 0 where there is none."""
    return max(shutil.get_terminal_size().lines - 8, 10) if sys.stderr.isatty() else 0


def finish(out: Path, result: Any) -> None:
    """Write ``result.json`` from a result's dataclass, which marks the run as done; one process does it for all."""
    if is_first_process():
        write_json(out / RESULT, result)


def note(verb: str, out: Path, about: DatasetCitation, settings: Any, device: str = "", goes_on: bool = False) -> None:
    """Note command line, versions and data of a run (``core.run_provenance``); one process does it for all."""
    if is_first_process():
        note_run(out, verb, about, Path(settings.root), settings, device=device, goes_on=goes_on)


def _device_name(trainer: pl.Trainer) -> str:
    import torch

    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    return f"{trainer.world_size} x {name}" if trainer.world_size > 1 else name
