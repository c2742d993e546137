"""What a fit says when the machine, not the settings, is at its end."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from medcli.core.errors import DataError, MedcliError
from medcli.training.devices import Devices
from medcli.training.settings import FitSettings
from medcli.training.trainer import _resuming, check_resumable, epochs_done, make_trainer, run_fit
from tests.support.hostile_checkpoints import as_archive, pickles, state, text, write_file


def test_full_gpu_memory_is_an_error_with_a_way_out() -> None:
    def fit(*args: Any, **settings: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    with pytest.raises(MedcliError, match="CUDA out of memory") as raised:
        run_fit(SimpleNamespace(fit=fit), torch.nn.Identity(), None, None)  # type: ignore[arg-type]
    assert "--batch-size" in (raised.value.hint or "")


NETWORK = torch.nn.Linear(2, 1)


def saved(path: Path, **changed: Any) -> Path:
    """What a run of three epochs leaves, with some of its values changed."""
    content = {"state_dict": NETWORK.state_dict(), "optimizer_states": [], "loops": {}, "epoch": 2}
    torch.save({**content, **changed}, path)
    return path


def test_a_checkpoint_to_resume_from(tmp_path: Path) -> None:
    path = saved(tmp_path / "last.ckpt")
    assert epochs_done(path) == 3
    check_resumable(path, NETWORK)  # type: ignore[arg-type]


@pytest.mark.parametrize("epoch", ["3", 2.0, float("nan"), torch.tensor(3), None, -1, 10**30, True])
def test_an_epoch_that_is_no_number_of_one(epoch: Any, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"last\.ckpt is not a checkpoint that can be resumed: its epoch is not the number"
    ):
        epochs_done(saved(tmp_path / "last.ckpt", epoch=epoch))


@pytest.mark.parametrize("values", [{"weight": 5}, [torch.zeros(2)], None, {"weight": [torch.zeros(2)]}])
def test_a_state_that_is_no_tensors(values: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its state_dict holds more than tensors"):
        check_resumable(saved(tmp_path / "last.ckpt", state_dict=values), NETWORK)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["hash_bomb_key", "deep_key", "collisions_of_tuples", "millions_of_sets", "build_items"]
)
def test_what_would_keep_the_reader_busy_is_refused_before(name: str, tmp_path: Path) -> None:
    """torch's reader of plain values hashes what a file tells it to: it never gets these."""
    program = state(text("state_dict"), b"}", text("optimizer_states"), b"]", text("epoch"), b"K\x02", text("loops"))[
        :-1
    ]
    path = write_file(tmp_path / "last.ckpt", as_archive(program + pickles()[name] + b"u"))
    with pytest.raises(DataError, match="not a checkpoint that can be resumed"):
        epochs_done(path)


@pytest.mark.skipif(os.name == "nt", reason="makes a pipe")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "last.ckpt")
    with pytest.raises(DataError, match="is a pipe or a device"):
        epochs_done(tmp_path / "last.ckpt")


def test_a_flipped_bit_in_the_weights_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "last.ckpt", state_dict={**NETWORK.state_dict(), "weight": torch.ones(1, 2)})
    with zipfile.ZipFile(path) as archive:
        place = next(entry for entry in archive.infolist() if entry.filename.endswith("data/0"))
    content = bytearray(path.read_bytes())
    content[content.index(torch.ones(2).numpy().tobytes(), place.header_offset)] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="checksum"):
        check_resumable(path, NETWORK)  # type: ignore[arg-type]


def test_optimizer_states_out_of_proportion(tmp_path: Path) -> None:
    """One number as a moment of a billion: it would be copied to the device."""
    path = saved(tmp_path / "last.ckpt", optimizer_states=[{"state": {0: {"exp_avg": torch.ones(1).expand(10**9)}}}])
    with pytest.raises(DataError, match="lacks numbers"):
        check_resumable(path, NETWORK)  # type: ignore[arg-type]


@pytest.mark.parametrize("knows", [True, False])
def test_lightning_takes_plain_values_only(knows: bool, tmp_path: Path) -> None:
    def newer(module: Any, ckpt_path: Any = None, weights_only: Any = None) -> None: ...
    def older(module: Any, ckpt_path: Any = None) -> None: ...

    fit: Callable[..., None] = newer if knows else older
    trainer: Any = SimpleNamespace(fit=fit)
    told = _resuming(trainer, Path("last.ckpt"))
    assert told.get("weights_only") is (True if knows else None)
    assert Path(told["ckpt_path"]).is_absolute()
    assert _resuming(trainer, None) == {}


@pytest.mark.parametrize(
    ("devices", "given"),
    [
        (Devices("gpu", 1, 1, "32-true", index=2), ("gpu", [2], "auto")),
        (Devices("gpu", 2, 1, "32-true"), ("gpu", 2, "DDPStrategy")),
        (Devices("mps", 1, 1, "32-true"), ("mps", 1, "auto")),
    ],
)
def test_lightning_gets_the_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: Devices, given: tuple[object, ...]
) -> None:
    monkeypatch.setattr(pl, "Trainer", lambda **words: SimpleNamespace(**words))
    trainer: Any = make_trainer(FitSettings(), devices, tmp_path, [])
    strategy = trainer.strategy if isinstance(trainer.strategy, str) else type(trainer.strategy).__name__
    assert (trainer.accelerator, trainer.devices, strategy) == given
