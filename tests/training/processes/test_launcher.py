"""What launchers say of their processes, and the numbers of them that fit a command line."""

from __future__ import annotations

import importlib.machinery
import os
import sys
import types

import pytest

from medcli.core.errors import UsageError
from medcli.training.devices import Devices, check_devices, resolve_devices
from medcli.training.processes.launcher import Launch, find_launch, launch_plugins, process_strategy
from medcli.training.settings import FitSettings

STEP = {"SLURM_NTASKS": "6", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "6"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC", "WORLD_SIZE"))]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        (TORCHRUN, Launch("torchrun", 4, 2)),
        ({**STEP, "SLURM_STEP_TASKS_PER_NODE": "2(x2),1(x2)", "SLURM_NODEID": "1"}, Launch("srun", 6, 2)),
        ({**STEP, "SLURM_STEP_TASKS_PER_NODE": "2(x2),1(x2)", "SLURM_NODEID": "3"}, Launch("srun", 6, 1)),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"SLURM_NTASKS": "6", "SLURM_JOB_ID": "7"}, None),  # a batch script that does not use srun
    ],
)
def test_launches(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: Launch | None) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_launch() == expected
    kinds = [type(one).__name__ for one in launch_plugins()]
    os.environ.pop("SLURM_NTASKS_PER_NODE", None)
    of_slurm = "SLURMEnvironment" if expected else "LightningEnvironment"
    assert kinds == ([of_slurm] if "SLURM_NTASKS" in variables else [])


def test_devices_are_as_many_as_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert resolve_devices(FitSettings(gpus="0", nodes=2)) == Devices("cpu", 2, 2, "32-true")
    assert resolve_devices(FitSettings(gpus="auto", nodes=2)).processes == 4
    for settings in (FitSettings(gpus="0"), FitSettings(gpus="4", nodes=2)):
        monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
        with pytest.raises(UsageError, match="torchrun started 4 processes, 2 of them here; --nodes") as raised:
            check_devices(settings)
        assert "--nproc-per-node" in str(raised.value.hint)


def test_windows_exchanges_by_gloo_and_starts_processes_by_the_name_of_a_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lightning.fabric.strategies.launchers import subprocess_script

    assert process_strategy().process_group_backend == (None if sys.platform != "win32" else "gloo")
    monkeypatch.setattr("medcli.training.processes.launcher.sys.platform", "win32")
    monkeypatch.delenv("USE_LIBUV", raising=False)
    monkeypatch.setattr(sys, "argv", ["C:\\env\\Scripts\\medcli".replace("\\", os.sep), "train", "seg"])
    program = types.ModuleType("__main__")
    program.__spec__ = importlib.machinery.ModuleSpec("__main__", None)  # as runpy makes it of an archive
    monkeypatch.setitem(sys.modules, "__main__", program)
    assert process_strategy().process_group_backend == "gloo"
    words = list(subprocess_script._basic_subprocess_cmd())
    assert words == [sys.executable, "-m", "medcli.__main__", "train", "seg"]
    assert os.environ["USE_LIBUV"] == "0"
