"""What happens at the end of each epoch: the checkpoints, ``metrics.csv``, a row of the table on screen."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from medcli.core.errors import DataError, MedcliError
from medcli.core.files import replacing, write_text
from medcli.core.progress import Progress, activity
from medcli.core.tables import csv_text
from medcli.training.device_step.recorded_module import RecordedModule
from medcli.training.epoch_table import EpochTable
from medcli.training.monitors import Monitor
from medcli.training.run_folder import METRICS, RESUMABLE
from medcli.training.seeds import seed_torch
from medcli.training.weights import SUFFIX, complete_copy

Row = dict[str, float]
WriteWeights = Callable[[str, Row], None]
"""Writes the weights of the moment as ``best`` or ``last``, with the metrics of their epoch."""

_EPOCHS_TIMED = 5

logger = logging.getLogger(__name__)


class RunFiles(pl.Callback):
    """Writes what a run leaves after every epoch, so that a kill costs the current epoch and nothing else.

    Args:
        folder: the run's folder.
        write_weights: see :data:`WriteWeights`; called on the first process only.
        monitor: the figure whose best value makes the best epoch.
        table: prints each epoch.
        early_stop: epochs without a better one after which the run ends; None: it does not.
        goes_on: the folder holds the weights of the best epoch so far. Otherwise (a checkpoint of another run, of
            which the folder has no weights) the best is sought among the epochs to come.
    """

    def __init__(
        self,
        folder: Path,
        write_weights: WriteWeights,
        monitor: Monitor,
        table: EpochTable,
        early_stop: int | None = None,
        goes_on: bool = True,
    ) -> None:
        self.folder = folder
        self.write_weights = write_weights
        self.monitor, self.early_stop = monitor, early_stop
        self.table = table
        self.goes_on = goes_on
        self.history: list[Row] = []
        self._best_from = 0
        self._frames = 0
        self._started = 0.0
        self._trained = 0.0
        self._ends: list[float] = []

    @property
    def best(self) -> Row | None:
        """The row of the best epoch so far, of those whose weights this folder could have."""
        candidates = self.history[self._best_from :]
        place = self.monitor.best_of(candidates)
        return None if place is None else candidates[place]

    @property
    def reason_to_stop(self) -> str:
        """Why the run ends before its last epoch; empty where it does not."""
        return self.monitor.reason_to_stop(self.history[self._best_from :], self.early_stop)

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "best_from": self._best_from}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = [dict(row) for row in state_dict["history"]]
        self._best_from = int(state_dict.get("best_from", 0)) if self.goes_on else len(self.history)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._ends = [time.perf_counter()]
        if trainer.is_global_zero and self.goes_on:
            for name in ("best", "last"):
                with contextlib.suppress(DataError):  # which who reads them will say
                    complete_copy(self.folder / f"{name}{SUFFIX}")
        if self.reason_to_stop:  # killed between its last epoch and its result
            trainer.should_stop = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._frames, self._started = 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._frames += len(batch[0]) * trainer.world_size

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._trained = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._frames:  # Lightning visits this hook again when it resumes at the end of an epoch
            return
        row = self._row(trainer)
        self._frames = 0
        self.history.append(row)
        is_best = self.best is row
        row["best"] = float(is_best)  # so far
        if trainer.is_global_zero:
            if is_best:
                self.write_weights("best", row)
            self.write_weights("last", row)
            write_text(self.folder / METRICS, as_csv(self.history))
            for line in self.table.lines(row, is_best and self.monitor.is_reached(row)):
                logger.info("%s", line)
        save_resumable(trainer, self.folder / RESUMABLE)
        if self.reason_to_stop:
            trainer.should_stop = True

    def _row(self, trainer: pl.Trainer) -> Row:
        now = time.perf_counter()
        measured = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        timing = {
            "frames_per_second": self._frames / max(self._trained - self._started, 1e-9),
            "seconds": now - self._started,
            "seconds_left": self._seconds_an_epoch(now) * ((trainer.max_epochs or 0) - trainer.current_epoch - 1),
        }
        lr = float(trainer.optimizers[0].param_groups[0]["lr"])
        return {"epoch": float(trainer.current_epoch + 1), "lr": lr, **measured, **timing}

    def _seconds_an_epoch(self, now: float) -> float:
        """Mean of the last epochs, with what is written between them."""
        self._ends = [*self._ends, now][-_EPOCHS_TIMED - 1 :]
        return (self._ends[-1] - self._ends[0]) / max(len(self._ends) - 1, 1)


class StopAtNonFiniteLoss(pl.Callback):
    """Stops a run whose training loss is no longer finite, before a checkpoint of its weights is written.

    The losses cross from a GPU beside its work: each is checked once it has come, at the latest at the epoch's end.
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[Tensor, torch.cuda.Event | None, int, int]] = deque()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss, arrived = outputs["loss"].detach(), None
        if loss.is_cuda:
            loss = torch.empty((), dtype=loss.dtype, pin_memory=True).copy_(loss, non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record()
        self._check(wait=False)
        self._pending.append((loss, arrived, trainer.current_epoch + 1, batch_idx + 1))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check()

    def _check(self, wait: bool = True) -> None:
        while self._pending:
            loss, arrived, epoch, step = self._pending[0]
            if arrived is not None and not arrived.query():  # type: ignore[no-untyped-call]
                if not wait:
                    return
                arrived.synchronize()
            self._pending.popleft()
            value = float(loss)
            if not math.isfinite(value):
                raise MedcliError(
                    f"the training loss is {value} in step {step} of epoch {epoch}: the training has diverged",
                    "lower --lr, or use --precision 32; the epochs before are in the run's folder",
                )


class SeedEachStep(pl.Callback):
    """Sets torch's generators before every step from the seed and the step's place in the run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        seed_torch(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)


class ShowProgress(pl.Callback):
    """Reports the training frames of the complete run to a :class:`medcli.core.progress.Progress`."""

    def __init__(self, progress: Progress, frames_per_epoch: int, epochs: int) -> None:
        self.progress = progress
        self.frames_per_epoch = frames_per_epoch
        self.epochs = epochs
        self._open, self._waits = contextlib.ExitStack(), contextlib.ExitStack()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            left = (self.epochs - trainer.current_epoch) * self.frames_per_epoch
            self._advance = self._open.enter_context(self.progress.task("training", left, "frames"))
            compiles = isinstance(pl_module, RecordedModule) and pl_module.compiles()
            self._waits.enter_context(activity("compiling the network" if compiles else "starting"))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero:
            self._waits.close()
            self._advance(len(batch[0]) * trainer.world_size)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._waits.enter_context(activity("validating"))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._waits.close()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._waits.close()
        self._open.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._waits.close()
        self._open.close()


def save_resumable(trainer: pl.Trainer, target: Path) -> None:
    """Write Lightning's checkpoint to ``target``, whole or not at all; every process must call this."""
    if not trainer.is_global_zero:
        trainer.save_checkpoint(target)  # takes part in gathering the state and writes nothing
        return
    with replacing(target) as part:
        trainer.save_checkpoint(part)


def as_csv(history: Sequence[Row]) -> str:
    """Rows of numbers as CSV; every number can be read back exactly."""
    names = list(dict.fromkeys(name for row in history for name in row))
    return csv_text([{name: _number(value) for name, value in row.items()} for row in history], names)


def _number(value: float) -> str:
    whole = math.isfinite(value) and value == int(value) and abs(value) < 1e9
    return str(int(value)) if whole else repr(value)
