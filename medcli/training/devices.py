"""What ``--device`` (or ``--gpus``), ``--nodes`` and ``--precision`` mean on this machine.

Both spellings take the same words: ``auto``, ``cpu``, ``mps``, ``cuda``, ``cuda:1``, or a number of GPUs.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medcli.core.errors import UsageError
from medcli.training.gpus import count_gpus, has_mps, torch_build
from medcli.training.processes.launcher import find_launch
from medcli.training.settings import FitSettings

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed"}
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Variables in which launchers number the processes; the first that is set counts, as in Lightning."""
_FALLBACK = re.compile(r"operator '(\S+)' is not currently supported on the MPS backend")


@dataclass(frozen=True)
class Devices:
    """What the trainer computes on, in Lightning's words.

    Attributes:
        accelerator: ``gpu``, ``mps`` or ``cpu``.
        count: devices on each node; on the CPU the processes there, of which a launcher starts several.
        nodes: machines.
        precision: ``32-true`` or ``bf16-mixed``.
        index: the GPU that is used, where one is named.
    """

    accelerator: str
    count: int
    nodes: int
    precision: str
    index: int | None = None

    @property
    def processes(self) -> int:
        """Processes of the whole run."""
        return self.count * self.nodes


def plain_device(word: str) -> str:
    """One word for each meaning: ``auto``, ``cpu``, ``mps``, ``cuda``, ``cuda:1`` and above, or two GPUs and more.

    Raises:
        UsageError: it is none of them.
    """
    if word.isdecimal():
        return {0: "cpu", 1: "cuda"}.get(int(word), str(int(word)))
    kind, colon, number = word.partition(":")
    if kind == "cuda" and (number.isdecimal() or not colon):
        return f"cuda:{int(number)}" if int(number or 0) else "cuda"
    if word not in ("auto", "cpu", "mps"):
        raise UsageError(f"no device '{word}'", "one of auto, cpu, mps, cuda, cuda:N, or a number of GPUs")
    return word


def gpus_setting(word: str) -> str:
    """The same as the settings of a run have it, where ``cpu`` and ``cuda`` are numbers: ``0`` and ``1``."""
    plain = plain_device(word)
    return {"cpu": "0", "cuda": "1"}.get(plain, plain)


def check_devices(settings: FitSettings) -> None:
    """What :func:`resolve_devices` finds wrong and can be known without torch.

    Raises:
        UsageError: see there.
    """
    _check_present(plain_device(settings.gpus), count_gpus(), has_mps())
    if settings.nodes < 1:
        raise UsageError(f"--nodes {settings.nodes} is not a number of machines", "give 1 or more")
    if settings.nodes > 1 and find_launch() is None:
        raise UsageError(
            f"--nodes {settings.nodes} asked for, but this process was not started by SLURM or torchrun",
            "start the same command on every node with srun or torchrun, or leave --nodes out",
        )
    _devices_per_node(plain_device(settings.gpus), settings.nodes)
    if settings.precision != "auto" and settings.precision not in PRECISIONS:
        raise UsageError(f"--precision '{settings.precision}' is not auto, 32 or bf16")
    check_precision(settings.gpus, settings.precision)


def check_precision(device: str, precision: str) -> None:
    """Make sure that a device is asked for what it can: Apple's GPU computes in single precision here.

    Raises:
        UsageError: it is not.
    """
    if plain_device(device) == "mps" and precision == "bf16":
        raise UsageError("--precision bf16 is not for --device mps", "leave --precision out")


def resolve_devices(settings: FitSettings) -> Devices:
    """Find the devices for ``settings``.

    Raises:
        UsageError: a word is none of those allowed, or this machine has fewer GPUs.
    """
    import torch

    check_devices(settings)
    word, present = plain_device(settings.gpus), torch.cuda.device_count()
    _check_present(word, present, has_mps())
    count = _devices_per_node(word, settings.nodes)
    if word == "auto":
        word = _best(present)
        _check_present(str(count) if word == "cuda" else word, present, has_mps())
    if word == "mps":
        check_precision(word, settings.precision)
        name_fallbacks()
    accelerator = word if word in ("mps", "cpu") else "gpu"
    index = int(word.partition(":")[2]) if ":" in word else None
    return Devices(accelerator, count, settings.nodes, _precision(settings.precision, accelerator), index)


def check_device(name: str) -> None:
    """What :func:`choose_device` finds wrong and can be known without torch.

    Raises:
        UsageError: see there.
    """
    _check_one(plain_device(name), count_gpus())


def choose_device(name: str = "auto") -> str:
    """The device that ``--device`` means here, in torch's words; ``auto`` takes a GPU if there is one.

    Raises:
        UsageError: the device does not exist, or several are asked for.
    """
    import torch

    word, present = plain_device(name), torch.cuda.device_count()
    _check_one(word, present)
    if word == "auto":
        word = _best(present)
    if word == "mps":
        name_fallbacks()
    return "cuda:0" if word == "cuda" else word


def widest_float(device: torch.device) -> torch.dtype:
    """The type for sums that must not round: double precision, which Apple's GPU does not have."""
    import torch

    return torch.float32 if device.type == "mps" else torch.float64


def name_fallbacks() -> None:
    """From here on, an operation that torch computes on the CPU because Apple's GPU lacks it is one line, once.

    That it does so, instead of failing, ``medcli/__init__.py`` asks for; torch reads it when it is imported.
    """
    if getattr(warnings.showwarning, "names_fallbacks", False):
        return
    show: Any = warnings.showwarning

    def shown(message: Warning | str, *place: Any, **more: Any) -> None:
        found = _FALLBACK.search(str(message))
        if found is None:
            show(message, *place, **more)
        else:
            logger.warning("%s is computed on the CPU: Apple's GPU lacks it in this PyTorch", found[1])

    shown.names_fallbacks = True  # type: ignore[attr-defined]
    warnings.showwarning = shown


def _devices_per_node(word: str, nodes: int) -> int:
    """As many as asked for; on the CPU and with ``auto`` as many as a launcher started processes."""
    wanted = int(word) if word.isdecimal() else None if word in ("auto", "cpu") else 1
    launch = find_launch()
    return launch.per_node(wanted, nodes) if launch else wanted or 1


def _best(gpus: int) -> str:
    return "cuda" if gpus else "mps" if has_mps() else "cpu"


def _check_one(word: str, gpus: int | None) -> None:
    if word.isdecimal() and int(word) > 1:
        raise UsageError(
            f"{word} GPUs requested, but this command uses one", "use --device cuda, or cuda:N for another"
        )
    _check_present(word, gpus, has_mps())


def _check_present(word: str, gpus: int | None, mps: bool) -> None:
    """Refuse what is not there; ``gpus``: their number, None: not known yet."""
    if word == "mps" and not mps:
        raise UsageError(
            "device mps requested, but this is no Mac with a GPU that PyTorch can use", "use --device auto"
        )
    if gpus is None:
        return
    if ":" in word and int(word.partition(":")[2]) >= gpus:
        raise UsageError(f"device {word} requested, but this machine has {_in_words(gpus)}", _remedy(gpus))
    if (word == "cuda" and not gpus) or (word.isdecimal() and int(word) > gpus):
        wanted = "1 GPU" if word == "cuda" else f"{word} GPUs"
        raise UsageError(f"{wanted} requested, but this machine has {_in_words(gpus)}", _remedy(gpus))


def is_first_process() -> bool:
    """Whether this is the process that writes and reports; the only one unless several devices train together."""
    if lightning := sys.modules.get("lightning.fabric.utilities.rank_zero"):
        return getattr(lightning.rank_zero_only, "rank", None) in (0, None)
    rank = next((os.environ[name] for name in _RANKS if name in os.environ), "0")
    return not rank.strip().strip("0")


def _in_words(present: int) -> str:
    return {0: "no GPU that PyTorch can use", 1: "1 GPU"}.get(present, f"{present} GPUs")


def _remedy(present: int) -> str:
    if present:
        return f"use --gpus {present} or fewer" if present > 1 else "use --device cuda"
    with suppress(LookupError):
        if torch_build() == (None, None):
            return "this PyTorch is built for the CPU only: install one for your GPU, or use --device cpu"
    return "check that nvidia-smi lists a GPU, or use --device cpu"


def _precision(wanted: str, accelerator: str) -> str:
    import torch

    if wanted == "auto":
        wanted = "bf16" if accelerator == "gpu" and torch.cuda.is_bf16_supported() else "32"
    return PRECISIONS[wanted]
