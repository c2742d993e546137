"""How many threads PyTorch trains with on a CPU: found by a short trial, kept for the whole run.

Where other programs use the same cores, threads mostly wait for each other, and two can be slower than one: several
times where they do not sleep meanwhile (``OMP_WAIT_POLICY``, which the command line sets). Sums are rounded in an order
that depends on the number of threads, so the number is part of ``last.ckpt``: a run that resumes goes on with it,
whatever is fastest by then.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from medcli.core.errors import quantity
from medcli.training.batches import FrameData
from medcli.training.device_step.recorded_module import RecordedModule

_SECONDS = 1.0
_MOST_ROUNDS = 5
"""Of the trial; each takes every number of threads once. A large network takes one round, however long."""
_FRAMES = 2
_GAIN = 0.05
"""More threads must be faster by this share of the time."""
_CHOSEN_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_MOST = 4096

logger = logging.getLogger(__name__)


class ThreadTrial(pl.Callback):
    """Sets PyTorch's threads at the start of a training on one CPU; put :func:`threads_restored` around the fit.

    Attributes:
        threads: of this run; 0: not decided here (a GPU, or several processes).
    """

    def __init__(self) -> None:
        self.threads = 0

    def state_dict(self) -> dict[str, Any]:
        return {"threads": self.threads} if self.threads else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        threads = state_dict["threads"]
        if type(threads) is not int or not 0 < threads <= _MOST:
            raise ValueError(f"not a number of threads: {threads!r}")
        self.threads = threads

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if pl_module.device.type != "cpu" or trainer.world_size > 1:
            self.threads = 0
            return
        before, present = self.threads, torch.get_num_threads()
        by_user = next((name for name in _CHOSEN_BY_USER if os.environ.get(name)), None)
        if by_user:
            self.threads = present
            if before not in (0, present):
                logger.warning(
                    "%s trained until here, now %d (%s): sums are rounded in another order, and the numbers are not "
                    "those of a run without interruption",
                    quantity(before, "thread"),
                    present,
                    by_user,
                )
        elif not before and present > 1 and trainer.global_step == 0:
            assert isinstance(pl_module, RecordedModule), "both trainings are"
            self.threads = _choose(trainer, pl_module, present)
        else:  # a run of an earlier version noted nothing and used what is there
            self.threads = before or present
        torch.set_num_threads(self.threads)


@contextmanager
def threads_restored() -> Iterator[None]:
    """Whatever the block sets, PyTorch has as many threads afterwards as before."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _choose(trainer: pl.Trainer, module: RecordedModule, present: int) -> int:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, FrameData), "both trainings use it"
    frames = data.train.take(np.arange(min(_FRAMES, data.batch_size, len(data.train))))
    inputs = module.plain_inputs(*frames[:2])

    def step(threads: int) -> None:
        torch.set_num_threads(threads)
        with trainer.precision_plugin.train_step_context():
            loss = module.step_loss(*inputs)
        loss.backward()  # type: ignore[no-untyped-call]

    buffers = [buffer.clone() for buffer in module.buffers()]
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            seconds = measure(step, sorted({1, max(present // 2, 1), present}))
    finally:
        module.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, values in zip(module.buffers(), buffers, strict=True):
                buffer.copy_(values)
    threads = fastest(seconds)
    times = ", ".join(f"{1000 * value:.0f} ms with {count}" for count, value in seconds.items())
    logger.info(
        "training with %s of %d: in a trial a step took %s (OMP_NUM_THREADS=N chooses)",
        quantity(threads, "thread"),
        present,
        times,
    )
    return threads


def measure(
    step: Callable[[int], None], counts: list[int], clock: Callable[[], float] = time.perf_counter
) -> dict[int, float]:
    """Median seconds of ``step`` with each of ``counts`` threads, in turns, so that all meet the same other load."""
    found: dict[int, list[float]] = {count: [] for count in counts}
    started = clock()
    step(counts[0])  # what a first step prepares is not counted
    for number in range(_MOST_ROUNDS):
        if number and clock() - started > _SECONDS:
            break
        for count in counts:
            before = clock()
            step(count)
            found[count].append(clock() - before)
    return {count: statistics.median(times) for count, times in found.items()}


def fastest(seconds: Mapping[int, float]) -> int:
    """The number of threads to use: the smallest whose time is within :data:`_GAIN` of the shortest."""
    limit = min(seconds.values()) * (1 + _GAIN)
    return min(count for count, value in seconds.items() if value <= limit)
