"""What --gpus, --nodes and --precision mean, on machines with and without GPUs."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest
import torch

from medcli.core.errors import UsageError
from medcli.training import devices
from medcli.training.devices import (
    Devices,
    check_device,
    check_devices,
    choose_device,
    gpus_setting,
    resolve_devices,
    widest_float,
)
from medcli.training.settings import FitSettings
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.inference import Segmenter
from tests.conftest import REPOSITORY

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
        (4, "1", Devices("gpu", 1, 1, "bf16-mixed")),
        (4, "cuda", Devices("gpu", 1, 1, "bf16-mixed")),
        (4, "cuda:0", Devices("gpu", 1, 1, "bf16-mixed")),
        (4, "cuda:2", Devices("gpu", 1, 1, "bf16-mixed", index=2)),
        (4, "cpu", Devices("cpu", 1, 1, "32-true")),
    ],
)
def test_gpus(gpus: Gpus, present: int, asked: str, expected: Devices) -> None:
    gpus(present)
    assert resolve_devices(FitSettings(gpus=asked)) == expected


@pytest.mark.parametrize(
    ("present", "asked", "expected"),
    [
        (0, "auto", "cpu"),
        (2, "auto", "cuda:0"),
        (2, "0", "cpu"),
        (2, "cpu", "cpu"),
        (2, "1", "cuda:0"),
        (2, "cuda", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
    ],
)
def test_one_device(gpus: Gpus, present: int, asked: str, expected: str) -> None:
    gpus(present)
    check_device(asked)
    assert choose_device(asked) == expected


def test_settings_of_runs_have_numbers_as_before() -> None:
    words = ("auto", "cpu", "0", "cuda", "cuda:0", "1", "cuda:1", "04", "mps")
    assert [gpus_setting(word) for word in words] == ["auto", "0", "0", "1", "1", "1", "cuda:1", "4", "mps"]


@pytest.mark.parametrize(("present", "chosen"), [(0, "mps"), (1, "cuda:0")])
def test_the_gpu_of_a_mac(gpus: Gpus, monkeypatch: pytest.MonkeyPatch, present: int, chosen: str) -> None:
    gpus(present)
    with pytest.raises(UsageError, match="device mps requested, but this is no Mac"):
        check_devices(FitSettings(gpus="mps"))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("mps") == "mps"
    assert choose_device("auto") == chosen
    assert resolve_devices(FitSettings(gpus="mps")) == Devices("mps", 1, 1, "32-true")
    assert resolve_devices(FitSettings()).accelerator == ("gpu" if present else "mps")


def test_gpus_that_are_not_there_say_what_to_do(gpus: Gpus) -> None:
    gpus(0)
    with pytest.raises(UsageError, match=r"^1 GPU requested, but this machine has no GPU") as error:
        resolve_devices(FitSettings(gpus="1"))
    assert "--device cpu" in str(error.value.hint)
    gpus(2)
    with pytest.raises(UsageError, match=r"^3 GPUs requested, .* has 2 GPUs") as error:
        resolve_devices(FitSettings(gpus="3"))
    assert error.value.hint == "use --gpus 2 or fewer"
    with pytest.raises(UsageError, match=r"^device cuda:2 requested, .* has 2 GPUs"):
        choose_device("cuda:2")
    with pytest.raises(UsageError, match=r"^2 GPUs requested, but this command uses one"):
        check_device("2")


def test_apples_gpu_computes_in_single_precision(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert (widest_float(torch.device("mps")), widest_float(torch.device("cpu"))) == (torch.float32, torch.float64)
    for asked in ("mps", "auto"):
        assert resolve_devices(FitSettings(gpus=asked, precision="32")).precision == "32-true"
        with pytest.raises(UsageError, match="bf16 is not for --device mps"):
            resolve_devices(FitSettings(gpus=asked, precision="bf16"))
    with pytest.raises(UsageError, match="bf16 is not for --device mps"):
        Segmenter(torch.nn.Identity(), Metadata(), "auto", "bf16")


def test_what_apples_gpu_lacks_is_one_line(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    said: list[str] = []
    seen: list[str] = []
    monkeypatch.setattr(devices.logger, "warning", lambda text, *values: said.append(text % values))
    monkeypatch.setattr(warnings, "showwarning", lambda message, *place, **more: seen.append(str(message)))
    for _ in range(2):
        assert choose_device("auto") == "mps"
    words = "The operator 'aten::cummax.out' is not currently supported on the MPS backend and will fall back to run on"
    warnings.showwarning(UserWarning(f"{words} the CPU. (Triggered internally)"), UserWarning, "MPSFallback.mm", 15)
    warnings.showwarning(UserWarning("another"), UserWarning, "file.py", 1)
    assert said == ["aten::cummax.out is computed on the CPU: Apple's GPU lacks it in this PyTorch"]
    assert seen == ["another"]


def test_a_mac_allows_the_cpu_for_what_its_gpu_lacks() -> None:
    """Before torch is imported, which reads the variable then."""
    name = "PYTORCH_ENABLE_MPS_FALLBACK"
    code = f"import os; os.environ.pop('{name}', None); import medcli; print(os.environ['{name}'])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert ran.stdout == "1\n"


@pytest.mark.parametrize("word", ["many", "-1", "1.5", "", "cuda:", "cuda:x", "cpu:1", "gpu"])
def test_other_words_are_no_device(gpus: Gpus, word: str) -> None:
    gpus(1)
    with pytest.raises(UsageError, match=f"no device '{word}'"):
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
