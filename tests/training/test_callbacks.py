"""The best epoch of a run that goes on, and the end of one that diverged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medcli.core.errors import MedcliError
from medcli.training.callbacks import RunFiles, StopAtNonFiniteLoss
from medcli.training.epoch_table import EpochTable
from medcli.training.monitors import Monitor


def nothing(name: str, row: dict[str, float]) -> None:
    pass


def run_files(folder: Path, goes_on: bool = True) -> RunFiles:
    return RunFiles(folder, nothing, Monitor("val_loss", ""), EpochTable((), 9), goes_on=goes_on)


def row(epoch: int, loss: float) -> dict[str, float]:
    return {"epoch": float(epoch), "val_loss": loss}


def test_best_is_sought_where_its_weights_can_be(tmp_path: Path) -> None:
    """A run in a new folder has no weights of the epochs before it, however good they were."""
    first = run_files(tmp_path)
    first.history = [row(1, 0.1), row(2, 0.5)]
    for resumed, best in ((True, 1), (False, 3)):
        second = run_files(tmp_path, resumed)
        second.load_state_dict(first.state_dict())
        second.history += [row(3, 0.3), row(4, 0.4)]
        assert second.best is not None
        assert second.best["epoch"] == best
        third = run_files(tmp_path)  # killed, and going on in its own folder
        third.load_state_dict(second.state_dict())
        assert third.best is not None
        assert third.best["epoch"] == best


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_no_number_ends_the_run(bad: float) -> None:
    callback, trainer, module = StopAtNonFiniteLoss(), SimpleNamespace(current_epoch=1), SimpleNamespace()
    arguments: Any = (trainer, module)
    callback.on_train_batch_end(*arguments, {"loss": torch.tensor(0.5)}, None, 0)
    callback.on_train_batch_end(*arguments, {"loss": torch.tensor(bad)}, None, 1)
    with pytest.raises(MedcliError, match=f"the training loss is {bad} in step 2 of epoch 2") as error:
        callback.on_validation_start(*arguments)
    assert error.value.exit_code == 1
