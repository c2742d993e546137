"""The fit itself: a Lightning trainer in the house's style."""

from __future__ import annotations

import inspect
import logging
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from medcli.core.errors import DataError, MedcliError, UsageError, printable
from medcli.training.checkpoint_files.safe_unpickler import read_pickled_model
from medcli.training.devices import Devices
from medcli.training.loggers import open_loggers
from medcli.training.processes.launcher import launch_plugins, process_strategy
from medcli.training.settings import FitSettings

_MOST_EPOCHS = 1_000_000_000
_NO_VARIANCE = "Expected more than 1 value per channel"


def make_trainer(settings: FitSettings, devices: Devices, folder: Path, callbacks: Sequence[pl.Callback]) -> pl.Trainer:
    """A trainer that writes nothing by itself: checkpoints, metrics and progress are the callbacks' business.

    Raises:
        UsageError: a logger is unknown or not installed.
        MedcliError: it cannot be opened.
    """
    _quieten_lightning()
    if settings.precision == "auto":
        torch.set_float32_matmul_precision("high")
    return pl.Trainer(
        accelerator=devices.accelerator,
        devices=devices.count if devices.index is None else [devices.index],
        num_nodes=devices.nodes,
        strategy=process_strategy() if devices.processes > 1 else "auto",
        plugins=launch_plugins(),
        precision=devices.precision,  # type: ignore[arg-type]
        max_epochs=settings.epochs,
        logger=open_loggers(settings, folder) or False,
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=50,
        use_distributed_sampler=False,  # the batches know their process themselves
        benchmark=True,
    )


def run_fit(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, start: Path | None) -> None:
    """Train from ``start`` (a Lightning checkpoint) or from the first epoch.

    Raises:
        DataError: the checkpoint cannot be read or does not fit the network.
        UsageError: batches are too small for the network.
        MedcliError: the loss is no longer a finite number, or the GPU's memory is full.
        KeyboardInterrupt: the run was interrupted; everything of the epochs done is on disk.
    """
    if start is not None:
        check_resumable(start, module)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        try:
            trainer.fit(module, datamodule=data, **_resuming(trainer, start))
        except SystemExit as leaving:  # Lightning turns Ctrl-C into an exit of its own
            if trainer.interrupted:
                raise KeyboardInterrupt from leaving
            raise
        except torch.cuda.OutOfMemoryError as error:
            raise MedcliError(
                "the GPU's memory is full: CUDA out of memory",
                "use a smaller --batch-size, and see with nvidia-smi whether other programs use this GPU",
            ) from error
        except Exception as error:
            if type(error).__name__ == "SIGTERMException":
                raise KeyboardInterrupt from error
            if isinstance(error, ValueError) and _NO_VARIANCE in str(error):
                raise UsageError(
                    "a batch of one frame is too small for the batch normalisation of this network",
                    "use --batch-size 2 or more and at least two training frames, or another network",
                ) from error
            if start is not None and _is_restoring(error):
                reason = f"{type(error).__name__}: {printable(str(error))}"
                raise DataError(
                    f"{start} is not a checkpoint that can be resumed: {reason}",
                    "give another run's last.ckpt, or train again with --overwrite",
                ) from error
            raise


def _resuming(trainer: pl.Trainer, start: Path | None) -> dict[str, Any]:
    """Arguments of ``trainer.fit`` for the checkpoint: plain values only, where its version supports that."""
    if start is None:
        return {}
    plain = {"weights_only": True} if "weights_only" in inspect.signature(trainer.fit).parameters else {}
    return {"ckpt_path": str(start.absolute()), **plain}  # a relative path may look like an address


def _is_restoring(error: BaseException) -> bool:
    """Whether ``error`` was raised while Lightning put a checkpoint's values back into their places."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(
        frame.f_code.co_filename.endswith("checkpoint_connector.py") and "rest" in frame.f_code.co_name
        for frame in frames
    )


def check_resumable(path: Path, module: pl.LightningModule) -> None:
    """Check that ``path`` is a Lightning checkpoint for ``module``; executes nothing in the file.

    Raises:
        DataError: it is not, with the reason.
    """
    shapes = {name: tensor.shape for name, tensor in _read_resumable(path, whole=True)["state_dict"].items()}
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    if shapes != expected:
        wrong = next(iter(sorted(name for name in {*shapes, *expected} if shapes.get(name) != expected.get(name))))
        raise DataError(
            f"{path} is of another network: {wrong} does not fit", "check the options that name the network"
        )


def epochs_done(path: Path) -> int:
    """Finished epochs of a Lightning checkpoint; executes nothing in the file.

    Raises:
        DataError: it cannot be resumed.
    """
    return int(_read_resumable(path)["epoch"]) + 1  # written at the end of an epoch, before it is counted


def _read_resumable(path: Path, whole: bool = False) -> dict[str, Any]:
    """What a Lightning checkpoint holds; ``whole`` also compares the checksums of its numbers.

    torch's own reader of plain values can be kept busy without end, so it gets only what the bounded one went through.
    """

    def refused(reason: str) -> DataError:
        return DataError(f"{path} is not a checkpoint that can be resumed: {reason}", "give a run's last.ckpt")

    try:
        pickled = read_pickled_model(path)
        if whole:
            pickled.check_numbers()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except DataError as error:
        raise refused(f"it {error.message.replace(f'{path} ', '')}") from error
    except OSError as error:
        raise refused(error.strerror or str(error)) from error
    except Exception as error:  # torch.load raises what its formats raise, at length
        raise refused("PyTorch cannot read it, or it holds more than numbers") from error
    needed = ("state_dict", "optimizer_states", "loops", "epoch")
    missing = [name for name in needed if not isinstance(content, dict) or name not in content]
    if missing:
        raise refused(f"it has no {', no '.join(missing)}")
    state, epoch = content["state_dict"], content["epoch"]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise refused("its state_dict holds more than tensors")
    if type(epoch) is not int or not 0 <= epoch < _MOST_EPOCHS:
        raise refused("its epoch is not the number of one")
    return dict(content)


def _quieten_lightning() -> None:
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
