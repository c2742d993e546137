"""Training on a GPU: recorded steps, no waiting, exact resuming, clear errors."""

from __future__ import annotations

import csv
import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from safetensors.torch import load_file

from medcli.core.errors import MedcliError
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.training import training_run
from medcli.training.device_step.recorded_module import RecordedModule
from medcli.ultrabones.segmentation.settings import SegmentationSettings
from medcli.ultrabones.segmentation.train import TrainResult, train_segmentation

SMALL = {"arch": "fpn", "encoder": "resnet18", "encoder_weights": "none"}
TIMING = ("frames_per_second", "seconds", "seconds_left")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> SegmentationSettings:
    root = make_ultrabones(tmp_path_factory.mktemp("data"), (1, 3), settings=SweepSettings(frames=30, scale=0.3))
    common: dict[str, Any] = {"epochs": 3, "batch_size": 8, "lr": 1e-4, "gpus": "1"}
    return SegmentationSettings(root=root, train_specimens=(1,), val_specimens=(3,), **SMALL, **common)


def rows(result: TrainResult) -> list[dict[str, str]]:
    with (result.out / "metrics.csv").open(encoding="utf-8") as file:
        return [{name: cell for name, cell in row.items() if name not in TIMING} for row in csv.DictReader(file)]


@contextmanager
def each_loss() -> Iterator[list[float]]:
    """The loss of every training step inside the block, in order."""
    losses: list[float] = []
    step = RecordedModule.step

    def watched(module: RecordedModule, *inputs: torch.Tensor) -> torch.Tensor:
        loss = step(module, *inputs)
        losses.append(float(loss.detach()))
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecordedModule, "step", watched)
        yield losses


class NoWaiting(pl.Callback):
    """Any operation that waits for the GPU inside a step is an error, from the third step of an epoch."""

    steps = 0

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx >= 2:
            type(self).steps += 1
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("choice", ["auto", "off"])
@pytest.mark.parametrize("share", [0.5, 0.0], ids=["frames on the GPU", "frames in main memory"])
def test_no_step_waits(
    settings: SegmentationSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str, share: float
) -> None:
    make, NoWaiting.steps = training_run.make_trainer, 0
    monkeypatch.setattr(training_run, "make_trainer", lambda s, d, f, calls: make(s, d, f, [*calls, NoWaiting()]))
    monkeypatch.setattr("medcli.training.batches.GPU_SHARE", share)
    result = train_segmentation(dataclasses.replace(settings, epochs=2, compile=choice), tmp_path / "run")
    assert result.epochs == 2
    assert NoWaiting.steps >= 4


def test_recorded_steps_are_those_launched_one_by_one(settings: SegmentationSettings, tmp_path: Path) -> None:
    """Losses of three epochs differ by what bfloat16 leaves open; every batch but the last was replayed."""
    replayed, weights = [], []
    step = RecordedModule.step

    def watched(module: RecordedModule, *inputs: torch.Tensor) -> torch.Tensor:
        weights.append(sum(float(parameter.detach().double().abs().sum()) for parameter in module.parameters()))
        loss = step(module, *inputs)
        replayed.append(module._is_replayed)
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecordedModule, "step", watched)
        recorded = rows(train_segmentation(settings, tmp_path / "recorded"))
    launched = rows(train_segmentation(dataclasses.replace(settings, compile="off"), tmp_path / "launched"))
    assert replayed == 3 * [True, True, True, False]
    assert len(set(weights)) == len(weights)  # each step changed them, also after a validation
    for one, other in zip(recorded, launched, strict=True):
        assert float(one["train_loss"]) == pytest.approx(float(other["train_loss"]), rel=0.05)


@pytest.mark.parametrize("choice", ["auto", "off"])
def test_resumes_exactly(settings: SegmentationSettings, tmp_path: Path, choice: str) -> None:
    settings = dataclasses.replace(settings, compile=choice)
    with each_loss() as expected:
        whole = train_segmentation(settings, tmp_path / "whole")
    with each_loss() as losses:
        train_segmentation(dataclasses.replace(settings, epochs=1), tmp_path / "parts")
        parts = train_segmentation(settings, tmp_path / "parts")
    assert losses == expected  # the first that differs tells whether weights, Adam's state or dropout did
    assert rows(parts) == rows(whole)
    ours, theirs = (load_file(result.last) for result in (parts, whole))  # their metadata hold times
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_pose_training(tmp_path: Path) -> None:
    from medcli.synthetic.fluoroscopy.dataset import make_veriserum
    from medcli.veriserum.pose.settings import PoseSettings
    from medcli.veriserum.pose.train import train_pose

    root = tmp_path / "veriserum"
    make_veriserum(root, 18, seed=4, calibrations=1, frames_per_trial=3, anatomies=(1,), companion=False)
    network: dict[str, Any] = {"backbone": "resnet18", "backbone_weights": "none", "augment": "published"}
    settings = PoseSettings(root=root, anatomy="femur", epochs=2, batch_size=4, gpus="1", **network)
    assert train_pose(settings, tmp_path / "run").epochs == 2


def test_full_memory_is_named(settings: SegmentationSettings, tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.004)
    try:
        with pytest.raises(MedcliError, match="the GPU's memory is full") as error:
            train_segmentation(dataclasses.replace(settings, batch_size=32, encoder="resnet34"), tmp_path / "run")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "--batch-size" in error.value.hint


def test_named_device_and_all_devices(
    settings: SegmentationSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    one = dataclasses.replace(settings, epochs=1)
    last = torch.cuda.device_count() - 1
    named = train_segmentation(dataclasses.replace(one, gpus=f"cuda:{last}"), tmp_path / "named")
    assert torch.cuda.get_device_name(last) in named.device
    if last:
        every = train_segmentation(dataclasses.replace(one, gpus=str(last + 1)), tmp_path / "all")
        assert every.device.startswith(f"{last + 1} x ")
