"""The folder of ``medcli demo``: its files, its state, and the command that resumes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medcli.core.json_text import parse_json, read_object
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
        resume: the command that resumes it; None if it is finished.
    """

    path: Path
    finished: bool
    report: Path | None
    resume: str | None = None


def find_demo(folder: Path) -> Demo | None:
    """The demonstration in ``folder``; None if the folder is empty or missing."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    try:
        finished = (folder / RESULT).is_file() and isinstance(parse_json((folder / RESULT).read_bytes()), dict)
    except (OSError, ValueError):
        finished = False
    report = folder / REPORT
    return Demo(folder, finished, report if report.is_file() else None, None if finished else demo_command(folder))


def demo_command(folder: Path) -> str | None:
    """The ``medcli demo`` command that was started in ``folder``; None if it is unknown."""
    started = read_object(folder / SETTINGS)
    if not {"quick", "seed"} <= started.keys():
        return None
    seed = ["--seed", started["seed"]] if started["seed"] else []
    out = [] if folder == DEMO else ["--out", folder]
    return spell("medcli", "demo", *out, *(["--quick"] if started["quick"] else []), *seed)
