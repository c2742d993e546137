"""What --gpus, --nodes and --precision mean, on machines with and without GPUs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from medcli.core.errors import UsageError
from medcli.training.devices import Devices, resolve_devices
from medcli.training.settings import FitSettings

Gpus = Callable[..., None]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """``gpus(4)`` makes torch see four GPUs."""

    def pretend(count: int, bf16: bool = True) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)

    return pretend


@pytest.mark.parametrize(
    ("present", "asked", "expected"),
    [
        (0, "auto", Devices("cpu", 1, 1, "32-true")),
        (0, "0", Devices("cpu", 1, 1, "32-true")),
        (4, "auto", Devices("gpu", 1, 1, "bf16-mixed")),
        (4, "0", Devices("cpu", 1, 1, "32-true")),
        (4, "3", Devices("gpu", 3, 1, "bf16-mixed")),
    ],
)
def test_gpus(gpus: Gpus, present: int, asked: str, expected: Devices) -> None:
    gpus(present)
    assert resolve_devices(FitSettings(gpus=asked)) == expected


def test_one_gpu_asked_for_where_there_is_none_says_what_to_do(gpus: Gpus) -> None:
    gpus(0)
    with pytest.raises(UsageError, match="--gpus 1 requested, but this machine has no GPU") as error:
        resolve_devices(FitSettings(gpus="1"))
    assert "--gpus 0" in str(error.value.hint)
    gpus(2)
    with pytest.raises(UsageError, match="has 2 GPUs") as error:
        resolve_devices(FitSettings(gpus="3"))
    assert error.value.hint == "use --gpus 2 or fewer"


@pytest.mark.parametrize("word", ["many", "-1", "1.5", ""])
def test_gpus_takes_numbers(gpus: Gpus, word: str) -> None:
    gpus(1)
    with pytest.raises(UsageError, match="not auto, 0 or a number"):
        resolve_devices(FitSettings(gpus=word))


def test_precision(gpus: Gpus) -> None:
    gpus(1, bf16=False)
    assert resolve_devices(FitSettings()).precision == "32-true"
    assert resolve_devices(FitSettings(precision="bf16")).precision == "bf16-mixed"
    gpus(1)
    assert resolve_devices(FitSettings(precision="32")).precision == "32-true"
    with pytest.raises(UsageError, match="--precision '16'"):
        resolve_devices(FitSettings(precision="16"))


def test_several_nodes_need_a_cluster_to_start_them(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(4)
    for name in ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="SLURM or torchrun"):
        resolve_devices(FitSettings(gpus="4", nodes=2))
    monkeypatch.setenv("SLURM_NTASKS", "8")
    devices = resolve_devices(FitSettings(gpus="4", nodes=2))
    assert (devices.count, devices.nodes, devices.processes) == (4, 2, 8)
