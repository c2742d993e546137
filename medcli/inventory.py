"""What is on this machine: versions, devices, data, and what to do next (``medcli info``)."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medcli import __version__
from medcli.files import usable_cores

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
    "onnxruntime",
    "pydicom",
)


@dataclass(frozen=True)
class DataFolder:
    """What a data folder holds.

    Attributes:
        name: the dataset.
        root: the folder looked at.
        found: what is there, in words or counts.
        problems: what is missing or wrong, one line each.
        next_commands: the commands that mend it or go on from here.
    """

    name: str
    root: Path
    found: dict[str, int | str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    next_commands: list[str] = field(default_factory=list)

    def as_lines(self) -> Iterator[str]:
        yield f"{self.name} in {self.root}"
        yield from (f"  {name}: {value}" for name, value in self.found.items())
        yield from (f"  problem: {problem}" for problem in self.problems)
        yield from (f"  next: {command}" for command in self.next_commands)


@dataclass(frozen=True)
class Inventory:
    """The answer of ``medcli info``."""

    version: str
    python: str
    system: str
    cores: int
    devices: list[str]
    packages: dict[str, str]
    data: list[DataFolder]
    schema: str = "medcli.info.v1"

    def as_text(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        lines = [
            f"medcli {self.version}, Python {self.python}, {self.system}, {self.cores} cores",
            f"devices: {', '.join(self.devices)}",
            f"packages: {versions}",
        ]
        for folder in self.data:
            lines += ["", *folder.as_lines()]
        return "\n".join(lines)


def take_inventory(ultrabones_root: Path, veriserum_root: Path) -> Inventory:
    """Look at this machine and at the two data folders; a folder that is absent is reported, not an error."""
    from medcli.ultrabones import survey as ultrabones
    from medcli.veriserum import survey as veriserum

    return Inventory(
        version=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=usable_cores(),
        devices=find_devices(),
        packages=dict(_installed(PACKAGES)),
        data=[ultrabones.survey(ultrabones_root), veriserum.survey(veriserum_root)],
    )


def find_devices() -> list[str]:
    """Names of the devices torch can compute on; the CPU is always there."""
    import torch

    gpus = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return [*gpus, "cpu"]


def _installed(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
