"""What happens at the end of each epoch: the checkpoints, ``metrics.csv``, a line of progress."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from medcli.core.errors import MedcliError
from medcli.core.files import csv_text, replacing, write_text
from medcli.core.progress import Progress
from medcli.training.run_folder import METRICS, RESUMABLE
from medcli.training.seeds import seed_torch

Row = dict[str, float]
WriteWeights = Callable[[str, Row], None]
"""Writes the weights of the moment as ``best`` or ``last``, with the metrics of their epoch."""

logger = logging.getLogger(__name__)


class RunFiles(pl.Callback):
    """Writes what a run leaves after every epoch, so that a kill costs the current epoch and nothing else.

    Args:
        folder: the run's folder.
        write_weights: see :data:`WriteWeights`; called on the first process only.
        monitor: the metric whose lowest value is the best.
        goes_on: the folder holds the weights of the best epoch so far. Otherwise (a checkpoint of another run, of
            which the folder has no weights) the best is sought among the epochs to come.
    """

    def __init__(self, folder: Path, write_weights: WriteWeights, monitor: str, goes_on: bool = True) -> None:
        self.folder = folder
        self.write_weights = write_weights
        self.monitor = monitor
        self.goes_on = goes_on
        self.history: list[Row] = []
        self._best_from = 0
        self._frames = 0
        self._started = 0.0
        self._trained = 0.0

    @property
    def best(self) -> Row | None:
        """The row of the best epoch so far, of those whose weights this folder could have."""
        return min(self.history[self._best_from :], key=self._badness, default=None)

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "best_from": self._best_from}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = [dict(row) for row in state_dict["history"]]
        self._best_from = int(state_dict.get("best_from", 0)) if self.goes_on else len(self.history)

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
        if trainer.is_global_zero:
            if self.best is row:
                self.write_weights("best", row)
            self.write_weights("last", row)
            write_text(self.folder / METRICS, as_csv(self.history))
            logger.info("%s", as_line(row, trainer.max_epochs or 0))
        save_resumable(trainer, self.folder / RESUMABLE)

    def _row(self, trainer: pl.Trainer) -> Row:
        now = time.perf_counter()
        measured = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        timing = {
            "frames_per_second": self._frames / max(self._trained - self._started, 1e-9),
            "seconds": now - self._started,
        }
        lr = float(trainer.optimizers[0].param_groups[0]["lr"])
        return {"epoch": float(trainer.current_epoch + 1), "lr": lr, **measured, **timing}

    def _badness(self, row: Row) -> tuple[bool, float]:
        value = row.get(self.monitor, math.nan)
        return (not math.isfinite(value), value if math.isfinite(value) else row["epoch"])


class StopAtNonFiniteLoss(pl.Callback):
    """Stops a run whose training loss is no longer finite, before a checkpoint of its weights is written.

    The loss of a step is checked after the next step was started, so that a GPU does not wait for it.
    """

    def __init__(self) -> None:
        self._pending: tuple[Tensor, int, int] | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._check()
        self._pending = (outputs["loss"].detach(), trainer.current_epoch + 1, batch_idx + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check()

    def _check(self) -> None:
        if self._pending is None:
            return
        loss, epoch, step = self._pending
        self._pending = None
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
        self._open = contextlib.ExitStack()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            left = (self.epochs - trainer.current_epoch) * self.frames_per_epoch
            self._advance = self._open.enter_context(self.progress.task("training", left, "frames"))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero:
            self._advance(len(batch[0]) * trainer.world_size)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._open.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._open.close()


def save_resumable(trainer: pl.Trainer, target: Path) -> None:
    """Write Lightning's checkpoint to ``target``, whole or not at all; every process must call this."""
    if not trainer.is_global_zero:
        trainer.save_checkpoint(target)  # takes part in gathering the state and writes nothing
        return
    with replacing(target) as part:
        trainer.save_checkpoint(part)


def as_csv(history: list[Row]) -> str:
    """Rows of numbers as CSV; every number can be read back exactly."""
    names = list(dict.fromkeys(name for row in history for name in row))
    return csv_text([{name: _number(value) for name, value in row.items()} for row in history], names)


def as_line(row: Mapping[str, float], epochs: int) -> str:
    """One epoch in one line for a log."""
    shown = {name: value for name, value in row.items() if name not in ("epoch", "frames_per_second", "seconds")}
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
    return f"epoch {row['epoch']:.0f}/{epochs}: {numbers}, {row['frames_per_second']:,.0f} frames/s"


def _number(value: float) -> str:
    whole = math.isfinite(value) and value == int(value) and abs(value) < 1e9
    return str(int(value)) if whole else repr(value)
