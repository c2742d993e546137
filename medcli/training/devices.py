"""What ``--gpus``, ``--nodes`` and ``--precision`` mean on this machine."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass

from medcli.core.errors import UsageError
from medcli.training.gpus import count_gpus, torch_build
from medcli.training.settings import FitSettings

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed"}
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Variables in which launchers number the processes; the first that is set counts, as in Lightning."""


@dataclass(frozen=True)
class Devices:
    """What the trainer computes on, in Lightning's words.

    Attributes:
        accelerator: ``gpu`` or ``cpu``.
        count: devices on each node.
        nodes: machines.
        precision: ``32-true`` or ``bf16-mixed``.
    """

    accelerator: str
    count: int
    nodes: int
    precision: str

    @property
    def processes(self) -> int:
        """Processes of the whole run."""
        return self.count * self.nodes


def check_devices(settings: FitSettings) -> None:
    """What :func:`resolve_devices` finds wrong and can be known without torch.

    Raises:
        UsageError: see there.
    """
    _wanted_gpus(settings.gpus, count_gpus())
    if settings.nodes < 1:
        raise UsageError(f"--nodes {settings.nodes} is not a number of machines", "give 1 or more")
    if settings.nodes > 1 and not started_by_cluster():
        raise UsageError(
            f"--nodes {settings.nodes} asked for, but this process was not started by SLURM or torchrun",
            "start the same command on every node with srun or torchrun, or leave --nodes out",
        )
    if settings.precision != "auto" and settings.precision not in PRECISIONS:
        raise UsageError(f"--precision '{settings.precision}' is not auto, 32 or bf16")


def resolve_devices(settings: FitSettings) -> Devices:
    """Find the devices for ``settings``.

    Raises:
        UsageError: a word is none of those allowed, or this machine has fewer GPUs.
    """
    import torch

    check_devices(settings)
    count = _wanted_gpus(settings.gpus, torch.cuda.device_count())
    accelerator = "gpu" if count else "cpu"
    return Devices(accelerator, max(count, 1), settings.nodes, _precision(settings.precision, accelerator))


def check_device(name: str) -> None:
    """What :func:`choose_device` finds wrong and can be known without torch.

    Raises:
        UsageError: see there.
    """
    _named_device(name, count_gpus())


def choose_device(name: str = "auto") -> str:
    """The device that ``--device`` means here: ``auto`` takes a GPU if there is one.

    Raises:
        UsageError: the device does not exist.
    """
    import torch

    return _named_device(name, torch.cuda.device_count())


def _named_device(name: str, gpus: int | None) -> str:
    if name == "auto":
        return "cuda:0" if gpus else "cpu"
    if name == "cpu":
        return name
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise UsageError(f"no device '{name}'", "one of auto, cpu, cuda, cuda:N")
    if gpus is not None and int(number or 0) >= gpus:
        raise UsageError(f"device {name} requested, but this machine has {gpus} GPUs", "use --device cpu")
    return f"cuda:{int(number or 0)}"


def is_first_process() -> bool:
    """Whether this is the process that writes and reports; the only one unless several devices train together."""
    if lightning := sys.modules.get("lightning.fabric.utilities.rank_zero"):
        return getattr(lightning.rank_zero_only, "rank", None) in (0, None)
    rank = next((os.environ[name] for name in _RANKS if name in os.environ), "0")
    return not rank.strip().strip("0")


def started_by_cluster() -> bool:
    """Whether SLURM or torchrun started this process."""
    return "SLURM_NTASKS" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ


def _wanted_gpus(gpus: str, present: int | None) -> int:
    """The number that ``--gpus`` means where ``present`` are here; None: not known yet."""
    if gpus == "auto":
        return min(present or 0, 1)
    if not gpus.isdecimal():
        raise UsageError(f"--gpus '{gpus}' is not auto, 0 or a number of GPUs")
    wanted = int(gpus)
    if present is not None and wanted > present:
        raise UsageError(f"--gpus {wanted} requested, but this machine has {_in_words(present)}", _remedy(present))
    return wanted


def _in_words(present: int) -> str:
    return {0: "no GPU that PyTorch can use", 1: "1 GPU"}.get(present, f"{present} GPUs")


def _remedy(present: int) -> str:
    if present:
        return f"use --gpus {present} or fewer"
    with suppress(LookupError):
        if torch_build() == (None, None):
            return "this PyTorch is built for the CPU only: install one for your GPU, or train on the CPU with --gpus 0"
    return "check that nvidia-smi lists a GPU, or train on the CPU with --gpus 0"


def _precision(wanted: str, accelerator: str) -> str:
    import torch

    if wanted == "auto":
        wanted = "bf16" if accelerator == "gpu" and torch.cuda.is_bf16_supported() else "32"
    return PRECISIONS[wanted]
