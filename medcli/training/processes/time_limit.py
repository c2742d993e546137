"""A cluster's time limit: SIGUSR1 comes some time before it; a training stops after its epoch and is resubmitted.

``sbatch --signal=USR1@SECONDS`` sends it to every task of a job. The epoch that runs is finished and saved, the job is
put back into SLURM's queue, and its next run resumes there. Where the epoch takes longer than the time that is left,
SIGTERM ends the training and costs that epoch; the job is put back all the same. A signal that came before the first
epoch, also while libraries were imported, ends the training there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl

from medcli.training.devices import is_first_process
from medcli.training.processes.early_signal import EarlySignal

logger = logging.getLogger(__name__)

_SECONDS_FOR_SLURM = 20.0


class TimeLimit(pl.Callback):
    """Ends a training after the epoch in which SIGUSR1 came to any of its processes.

    Attributes:
        asked: SIGUSR1 came to this process.
        stopped: the training ended because of it, with epochs left.
    """

    def __init__(self) -> None:
        self.asked = self.stopped = False
        self._resubmitted = False
        self._on_sigterm: Any = None

    @contextlib.contextmanager
    def receiving(self) -> Iterator[TimeLimit]:
        """Receive the signal in the block, and resubmit the job of one that is interrupted after it came."""
        number = getattr(signal, "SIGUSR1", None)  # Windows has none
        before: Any = None
        if number is not None:
            with contextlib.suppress(ValueError):  # not in the main thread
                before = signal.signal(number, self._take)
            self.asked |= isinstance(before, EarlySignal) and before.came
            self._on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            yield self
        except KeyboardInterrupt:
            if self.asked:
                self._resubmit()
            raise
        finally:
            if before is not None:
                signal.signal(number, before)  # type: ignore[arg-type]
            if self.asked and isinstance(before, EarlySignal):  # the next training of this process has to know
                before.came = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Several processes: Lightning's handler of SIGTERM waits for all of them, and one may be gone."""
        self._stop_if_asked(trainer, "before")
        if trainer.world_size > 1 and self._on_sigterm is not None:
            handler = self._on_sigterm if callable(self._on_sigterm) else signal.default_int_handler
            with contextlib.suppress(ValueError):
                signal.signal(signal.SIGTERM, handler)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called when the epoch is on disk."""
        self._stop_if_asked(trainer, "after")

    def _stop_if_asked(self, trainer: pl.Trainer, when: str) -> None:
        """Decide together, so that no process waits for one that stopped."""
        if not trainer.strategy.reduce_boolean_decision(self.asked, all=False):
            return
        epochs_left = (trainer.max_epochs or 0) - trainer.current_epoch - (when == "after")
        if trainer.should_stop or epochs_left <= 0:
            return  # it is over anyway
        self.stopped = trainer.should_stop = True
        logger.info("SIGUSR1 came: stopping %s epoch %d", when, trainer.current_epoch + 1)
        self._resubmit()
        trainer.strategy.barrier()  # the end of one process may make SLURM end the others

    def _take(self, number: int, frame: Any) -> None:
        self.asked = True

    def _resubmit(self) -> None:
        if self._resubmitted or not is_first_process():
            return
        self._resubmitted = True
        requeue_job()


def requeue_job() -> None:
    """Put the SLURM job of this process back into the queue; nothing outside of one. A failure is a warning."""
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    command = shutil.which("scontrol")
    if command is None:
        logger.warning("job %s cannot be resubmitted: no scontrol here; submit it again to resume", job)
        return
    logger.info("putting job %s back into the queue, where it resumes", job)
    try:
        done = subprocess.run([command, "requeue", job], capture_output=True, text=True, timeout=_SECONDS_FOR_SLURM)
        reason = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason:
        logger.warning("job %s cannot be resubmitted: %s; sbatch --requeue allows it", job, reason)
