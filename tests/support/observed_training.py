"""A training command whose processes note, in a folder, what they decode, take and compute: ``FOLDER WORDS...``.

Started by torchrun or ``srun``. ``MEDCLI_TEST_KILL=EPOCH`` kills the second process in that epoch (from 0);
``MEDCLI_TEST_HOLD=EPOCH`` lets every process wait in it for SIGUSR1.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RANK = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")))


def observe(folder: Path) -> None:
    """Have this process write ``decoded-RANK``, ``frames-RANK.json`` and, the first one, ``gradients.npz``."""
    import numpy as np

    from medcli.training import callbacks, training_run
    from medcli.ultrabones.segmentation import frame_cache, train

    def noted(read: Callable[..., Any]) -> Callable[..., Any]:
        def note(path: str, *size: int) -> Any:
            with (folder / f"decoded-{RANK}").open("a") as file:
                file.write(f"{path}\n")
            return read(path, *size)

        return note

    frame_cache.read_image = noted(frame_cache.read_image)
    train.build_model = without_dropout(train.build_model)
    taken: dict[str, list[str]] = {}
    gradients: dict[str, Any] = {}

    class Observed(callbacks.SeedEachStep):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
            taken.setdefault(f"train {trainer.current_epoch}", []).extend(digests(batch[0]))
            if RANK == 1 and batch_idx == 1 and os.environ.get("MEDCLI_TEST_KILL") == str(trainer.current_epoch):
                os.kill(os.getpid(), signal.SIGKILL)
            if batch_idx == 1 and os.environ.get("MEDCLI_TEST_HOLD") == str(trainer.current_epoch):
                wait_for_limit(trainer, folder)

        def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, *place: Any) -> None:
            taken.setdefault(f"val {trainer.current_epoch}", []).extend(digests(batch[0]))

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            for name, one in pl_module.named_parameters():
                gradients[f"{trainer.global_step} {name}"] = one.grad.numpy().copy()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            (folder / f"frames-{RANK}.json").write_text(json.dumps(taken))
            if RANK == 0:
                np.savez(folder / "gradients.npz", **gradients)

    training_run.SeedEachStep = Observed  # type: ignore[misc]


def digests(images: Any) -> list[str]:
    return [hashlib.sha256(image.cpu().numpy().tobytes()).hexdigest() for image in images]


def without_dropout(build: Callable[..., Any]) -> Callable[..., Any]:
    """Which pixels are left out is drawn in each process, so that two of them do not compute what one does."""

    def built(*arguments: Any) -> Any:
        model = build(*arguments)
        for module in model.modules():
            if "Drop" in type(module).__name__ and hasattr(module, "p"):
                module.p = 0.0
        return model

    return built


def wait_for_limit(trainer: Any, folder: Path) -> None:
    (folder / f"waits-{RANK}").touch()
    limit = next(one for one in trainer.callbacks if type(one).__name__ == "TimeLimit")
    end = time.monotonic() + 120
    while not limit.asked and time.monotonic() < end and not os.environ.get("SLURM_RESTART_COUNT"):
        time.sleep(0.1)


if __name__ == "__main__":
    observe(Path(sys.argv[1]))
    from medcli.cli.app import main

    main(sys.argv[2:])
