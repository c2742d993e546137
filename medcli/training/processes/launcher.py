"""Which launcher started this process, torchrun or SLURM's ``srun``, and how many beside it; known without torch."""

from __future__ import annotations

import os
import re
import sys
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medcli.core.errors import UsageError


@dataclass(frozen=True)
class Launch:
    """Processes that one launcher started to train together.

    Attributes:
        launcher: ``torchrun`` or ``srun``.
        processes: of the whole run.
        on_this_node: of them on this machine.
    """

    launcher: str
    processes: int
    on_this_node: int

    def per_node(self, wanted: int | None, nodes: int) -> int:
        """How many processes each node has.

        Args:
            wanted: devices asked for on each node; None: one for each process.
            nodes: machines asked for.

        Raises:
            UsageError: the launcher started another number of processes.
        """
        if (wanted or self.on_this_node) * nodes == self.processes:
            return wanted or self.on_this_node
        asked = f"--nodes {nodes}" + (f" with {wanted} on each" if wanted else "")
        option = "--ntasks-per-node" if self.launcher == "srun" else "--nproc-per-node"
        raise UsageError(
            f"{self.launcher} started {self.processes} processes, {self.on_this_node} of them here; "
            f"{asked} does not fit",
            f"give --nodes as {self.launcher} has it, and {option} as many processes as --gpus",
        )


def find_launch() -> Launch | None:
    """The launch that this process is part of; None where it is alone, also in a batch script that uses no ``srun``."""
    known = os.environ
    if "TORCHELASTIC_RUN_ID" in known:
        return Launch("torchrun", _number("WORLD_SIZE", 1), _number("LOCAL_WORLD_SIZE", 1))
    if "SLURM_NTASKS" not in known or ("SLURM_JOB_ID" in known and "SLURM_STEP_ID" not in known):
        return None
    tasks = _number("SLURM_STEP_NUM_TASKS", _number("SLURM_NTASKS", 1))
    counts = _tasks_per_node(known.get("SLURM_STEP_TASKS_PER_NODE", ""))
    node = _number("SLURM_NODEID", 0)
    here = counts[node] if node < len(counts) else tasks
    return Launch("srun", tasks, here) if tasks > 1 else None


def launch_plugins() -> list[Any]:
    """What Lightning needs to be told of the launcher, where it would conclude otherwise from SLURM's variables."""
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    warnings.filterwarnings("ignore", message="The `srun` command is available")  # on login nodes as well
    launch = find_launch()
    if launch is None:
        return [LightningEnvironment()] if "SLURM_NTASKS" in os.environ else []  # it starts its processes itself
    if launch.launcher != "srun":
        return []
    os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(launch.on_this_node))  # or Lightning refuses srun --ntasks
    return [SLURMEnvironment(auto_requeue=False)]


def process_strategy() -> Any:
    """How the processes of a training exchange their gradients; Windows has no NCCL, but gloo, and no libuv.

    There, Lightning starts the other processes as ``python -m NAME`` with the name of the running module, which
    ``medcli.exe`` does not have: an archive that Python runs.
    """
    from lightning.pytorch.strategies import DDPStrategy

    if sys.platform != "win32":
        return DDPStrategy()
    os.environ.setdefault("USE_LIBUV", "0")
    main = sys.modules["__main__"]
    if getattr(main.__spec__, "name", None) == "__main__" and Path(sys.argv[0]).stem == "medcli":
        main.__spec__ = find_spec("medcli.__main__")
    return DDPStrategy(process_group_backend="gloo")


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default


def _tasks_per_node(text: str) -> list[int]:
    """SLURM's short form: ``2(x3),1`` is two tasks on each of three nodes and one on a fourth."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(tasks) for tasks, times in found for _ in range(int(times or 1))]
