"""GPUs are counted through the driver, without torch; torch is asked where only it can tell."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import pytest
import torch

from medcli.training import gpus
from medcli.training.devices import check_device, check_devices
from medcli.training.settings import FitSettings

NO_DEVICE = 100


class Driver:
    """The CUDA driver of a machine with these GPUs."""

    def __init__(self, names: list[str], version: int = 99000, fault: int = 0) -> None:
        self.names, self.version, self.fault = names, version, fault

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self.version
        return 0

    def cuInit(self, flags: int) -> int:
        return self.fault

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = len(self.names)
        return 0

    def cuDeviceGetName(self, text: Any, size: int, number: int) -> int:
        text.value = self.names[number].encode()[: size - 1]
        return 0


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(gpus, "torch_build", lambda: ("13.2", None))


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize(
    ("driver", "count"),
    [
        (Driver(["NVIDIA H100", "NVIDIA H100"]), 2),
        (Driver([]), 0),
        (Driver(["NVIDIA H100"], fault=NO_DEVICE), 0),
        (Driver(["NVIDIA H100"], version=12040), None),  # older than torch's CUDA: torch decides
    ],
)
def test_the_driver_counts(monkeypatch: pytest.MonkeyPatch, driver: Driver, count: int | None) -> None:
    monkeypatch.setattr(gpus, "_load_driver", lambda: driver)
    assert gpus.count_gpus() == count
    if count is not None:
        assert gpus.gpu_names() == driver.names[:count]


@pytest.mark.usefixtures("without_torch")
def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_load_driver", lambda: ctypes.CDLL("libnone.so.1"))
    assert gpus.count_gpus() == 0


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize(("build", "count"), [((None, None), 0), ((None, "6.4"), None)])
def test_torch_for_the_cpu_or_for_rocm(
    monkeypatch: pytest.MonkeyPatch, build: tuple[str | None, str | None], count: int | None
) -> None:
    monkeypatch.setattr(gpus, "_load_driver", lambda: Driver(["NVIDIA H100"]))
    monkeypatch.setattr(gpus, "torch_build", lambda: build)
    assert gpus.count_gpus() == count
    if count is None:  # nothing is refused that torch may allow
        check_devices(FitSettings(gpus="3"))
        check_device("cuda:2")


def test_torch_is_asked_once_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    monkeypatch.setattr(gpus, "_load_driver", lambda: Driver([]))
    assert gpus.count_gpus() == 5


def test_the_driver_and_torch_agree_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    count, build = gpus.count_gpus(), gpus.torch_build()
    assert "torch" not in sys.modules, "it was imported to tell"
    assert count in (None, torch.cuda.device_count())
    assert build == (torch.version.cuda, torch.version.hip)
