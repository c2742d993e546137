"""Versions, devices, data, checkpoints and runs on this machine, and the next commands (``medcli info``)."""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medcli import __version__
from medcli.core.dataset_status import DataFolder
from medcli.core.errors import answers, quantity
from medcli.core.files import usable_cores
from medcli.core.run_provenance import installed_versions
from medcli.core.shell import Proposal
from medcli.training.gpus import gpu_names, has_mps
from medcli.training.weights import find_best
from medcli.ultrabones.dataset.published_networks import UNKNOWN_TRAINING
from medcli.workspace.checkpoint_listing import SEGMENTATION, FoundCheckpoint, find_checkpoints
from medcli.workspace.demo_folder import DEMO, Demo, find_demo
from medcli.workspace.next_commands import Workspace, next_steps
from medcli.workspace.runs import Run, find_runs

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "segmentation-models-pytorch",
    "numba",
    "numpy",
    "scipy",
    "pandas",
    "opencv-python-headless",
    "opencv-python",
    "simplejpeg",
    "onnxruntime",
    "pydicom",
)
_WIDTH = 80
_MOST_RUNS, _MOST_CHECKPOINTS = 10, 10


@dataclass(frozen=True)
class Inventory:
    """The result of ``medcli info``.

    Attributes:
        data: the data folders; that of UltraBonesHip only where it is there.
        checkpoints: published ones, then the best of each run, then those converted into a folder beside them.
        runs: newest first.
        demo: the demonstration's folder; None if there is none.
        next: proposed commands, the most useful first.
    """

    version: str
    python: str
    system: str
    cores: int
    devices: list[str]
    packages: dict[str, str]
    data: list[DataFolder]
    checkpoints: list[FoundCheckpoint]
    runs: list[Run]
    demo: Demo | None
    next: list[Proposal]
    schema: str = "medcli.info.v2"

    def as_text(self) -> str:
        """Lines of at most 80 characters; commands and paths are not broken."""
        versions = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        lines = [
            f"medcli {self.version}, Python {self.python}, {self.system}, {quantity(self.cores, 'core')}",
            f"devices: {', '.join(self.devices)}",
            f"packages: {versions}",
        ]
        for folder in self.data:
            lines += ["", *folder.as_lines()]
        lines += [*_list("checkpoints", map(_checkpoint_lines, self.checkpoints), _MOST_CHECKPOINTS)]
        lines += [*_list("runs", map(_run_lines, self.runs), _MOST_RUNS)]
        if self.demo:
            state = "under way" if self.demo.is_running else "finished" if self.demo.finished else "not finished"
            state = f"see {self.demo.report}" if self.demo.report and not self.demo.is_running else state
            lines += ["", f"demonstration in {self.demo.path}: {state}"]
        wrapped = [part for line in lines for part in _wrap(line)]
        steps = [line for step in self.next for line in ("", f"next: {step.command}", f"      {step.why}")]
        return "\n".join([*wrapped, *steps])


def take_inventory(
    ultrabones_root: Path,
    veriserum_root: Path,
    runs_root: Path = Path("runs"),
    weights_root: Path = Path("data/weights"),
    ultrabones_hip_root: Path | None = None,
) -> Inventory:
    """Inspect this machine, data folders, weights and runs; missing or damaged items are reported, not raised."""
    from medcli.ultrabones.dataset import status as ultrabones
    from medcli.veriserum.dataset import status as veriserum

    runs = find_runs(runs_root)
    best = [run.checkpoint for run in runs if run.checkpoint]
    best += [path for task in ("seg", "pose") for path in find_best(runs_root, task)]
    checkpoints = find_checkpoints(weights_root, dict.fromkeys(best))
    demo = find_demo(DEMO)
    data = [ultrabones.survey_ultrabones(ultrabones_root), veriserum.survey_veriserum(veriserum_root)]
    more = []
    if ultrabones_hip_root is not None and answers(ultrabones_hip_root.is_dir):
        more = [ultrabones.survey_ultrabones(ultrabones_hip_root)]
    return Inventory(
        version=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=usable_cores(),
        devices=find_devices(),
        packages=installed_versions(PACKAGES),
        data=[*data, *more],
        checkpoints=checkpoints,
        runs=runs,
        demo=demo,
        next=next_steps(Workspace(data[0], data[1], runs_root, runs, checkpoints, demo, more)),
    )


def find_devices() -> list[str]:
    """Names of the devices available to torch, always including the CPU."""
    gpus = [f"cuda:{number} {name}" for number, name in enumerate(gpu_names())]
    return [*gpus, *(["mps"] if has_mps() else []), "cpu"]


def _list(title: str, entries: Iterator[list[str]], most: int) -> Iterator[str]:
    known = list(entries)
    if known:
        yield from ("", title)
        yield from (line for entry in known[:most] for line in entry)
        if len(known) > most:
            yield f"  … {len(known) - most} more; --json lists all"


def _checkpoint_lines(found: FoundCheckpoint) -> list[str]:
    unknown = found.kind == SEGMENTATION and found.train_specimens is None
    return [f"  {found.path}", f"    {found.kind}: {found.what}", *([f"    {UNKNOWN_TRAINING}"] if unknown else [])]


def _run_lines(run: Run) -> list[str]:
    lines = [f"  {run.path}", f"    {run.kind}, {run.state} {run.changed[:16]}: {run.detail}".rstrip(": ")]
    return [*lines, f"    {run.headline}"] if run.headline else lines


def _wrap(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [""]
