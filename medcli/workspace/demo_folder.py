"""The folder of ``medcli demo``: its files, its state, and the command that resumes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medcli.core.json_text import parse_json, read_object
from medcli.core.locks import is_in_use
from medcli.core.shell import spell

DEMO = Path("demo")
"""Where the demonstration is made by default."""
RESULT, SETTINGS, REPORT = "demo.json", "demo-settings.json", "report.html"
SCHEMA = "medcli.demo.v3"
"""Schema of ``demo.json``."""


@dataclass(frozen=True)
class Demo:
    """The folder of ``medcli demo``.

    Attributes:
        path: the folder.
        finished: whether it is complete.
        report: its report, None if there is none.
        resume: the command that resumes it; None if it is finished or a process on this machine is making it.
        is_running: whether one is.
    """

    path: Path
    finished: bool
    report: Path | None
    resume: str | None = None
    is_running: bool = False


def find_demo(folder: Path) -> Demo | None:
    """The demonstration in ``folder``; None if the folder is empty or missing."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    try:
        finished = (folder / RESULT).is_file() and isinstance(parse_json((folder / RESULT).read_bytes()), dict)
    except (OSError, ValueError):
        finished = False
    report = folder / REPORT
    running = not finished and is_in_use(folder)
    resume = None if finished or running else demo_command(folder)
    return Demo(folder, finished, report if report.is_file() else None, resume, running)


def demo_command(folder: Path) -> str | None:
    """The ``medcli demo`` command that was started in ``folder``; None if it is unknown."""
    started = read_object(folder / SETTINGS)
    if not {"quick", "seed"} <= started.keys():
        return None
    seed = ["--seed", started["seed"]] if started["seed"] else []
    out = [] if folder == DEMO else ["--out", folder]
    return spell("medcli", "demo", *out, *(["--quick"] if started["quick"] else []), *seed)
