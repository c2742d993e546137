"""The trial of thread counts, and that a run keeps what it chose."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor

from medcli.training.batches import FrameData, HostFrames
from medcli.training.device_step.recorded_module import RecordedModule
from medcli.training.processes import thread_trial
from medcli.training.processes.thread_trial import ThreadTrial, fastest, measure, threads_restored


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with threads_restored():
        torch.set_num_threads(2)
        yield


class _Small(RecordedModule):
    """Notes the threads of each step, and has what a trial could leave changed: statistics, dropout, gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.model = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(), torch.nn.Linear(4, 1)
        )
        self.used: list[int] = []

    def step_loss(self, *inputs: Tensor) -> Tensor:
        return (self.model(inputs[0].float()) - inputs[1]).square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.used.append(torch.get_num_threads())
        return self.step(*batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(epochs: int, folder: Path, start: Path | None = None, callback: bool = True) -> _Small:
    torch.manual_seed(1)
    module = _Small()
    numbers = np.arange(24, dtype=np.float32).reshape(8, 3) / 24
    frames = HostFrames(numbers, numbers[:, :1])
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[ThreadTrial()] if callback else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    with threads_restored():
        trainer.fit(module, datamodule=FrameData(frames, frames, 4, 1), ckpt_path=str(start) if start else None)
        trainer.save_checkpoint(folder / "last.ckpt")
    assert torch.get_num_threads() == 2
    return module


def favour(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    def measured(step: Any, counts: list[int]) -> dict[int, float]:
        step(counts[0])
        return {count: 0.1 if count == threads else 0.2 for count in counts}

    monkeypatch.setattr(thread_trial, "measure", measured)


def test_run_trains_with_the_fastest_number_and_keeps_it_when_it_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, thread_trial.__name__)
    favour(monkeypatch, 1)
    assert train(1, tmp_path).used == [1, 1]
    assert "training with 1 thread of 2: in a trial a step took 100 ms with 1, 200 ms with 2" in caplog.text
    caplog.clear()
    favour(monkeypatch, 2)
    assert train(2, tmp_path, tmp_path / "last.ckpt").used == [1, 1]
    assert "training with" not in caplog.text
    assert train(1, tmp_path).used == [2, 2]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which the user set before torch was loaded
    torch.set_num_threads(2)
    favour(monkeypatch, 1)
    assert train(1, tmp_path).used == [2, 2], "no trial"


def test_the_users_number_counts_and_a_change_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    favour(monkeypatch, 1)
    train(1, tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert train(2, tmp_path, tmp_path / "last.ckpt").used == [2, 2]
    assert "1 thread trained until here, now 2 (OMP_NUM_THREADS)" in caplog.text


def test_a_run_that_noted_nothing_goes_on_with_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(1, tmp_path, callback=False)
    favour(monkeypatch, 1)
    assert train(2, tmp_path, tmp_path / "last.ckpt").used == [2, 2]


def test_trial_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and running statistics are those of a training without one, and the real measurement takes part."""
    monkeypatch.setattr(thread_trial, "fastest", max)  # of two numbers of threads the sums differ in the last digits
    with_trial, without = train(2, tmp_path).state_dict(), train(2, tmp_path, callback=False).state_dict()
    assert all(torch.equal(with_trial[name], without[name]) for name in without)


def test_measuring_takes_turns_and_ends_after_a_second() -> None:
    now, asked = [0.0], []

    def step(count: int) -> None:
        asked.append(count)
        now[0] += 0.6 if len(asked) == 1 else 0.1 * count  # the first step prepares

    assert measure(step, [1, 2], lambda: now[0]) == pytest.approx({1: 0.1, 2: 0.2})
    assert asked == [1, 1, 2, 1, 2]
    asked.clear()
    assert list(measure(asked.append, [1], lambda: 0.0)) == [1]
    assert len(asked) == 6


def test_more_threads_must_gain() -> None:
    assert fastest({1: 1.04, 2: 1.0}) == 1
    assert fastest({1: 1.2, 2: 1.01, 4: 1.0}) == 2
    assert fastest({1: 0.2, 2: 1.6}) == 1


@pytest.mark.parametrize("threads", [0, -1, True, "2", 10**9])
def test_a_checkpoint_with_an_impossible_number_is_refused(threads: Any) -> None:
    with pytest.raises(ValueError, match="not a number of threads"):
        ThreadTrial().load_state_dict({"threads": threads})
