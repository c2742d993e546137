"""The folder of ``medcli demo``: the files that it is known by, how far it came, and how to go on with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medcli.core.json_text import parse_json, read_object
from medcli.core.shell import spell

RESULT, SETTINGS, REPORT = "demo.json", "demo-settings.json", "report.html"
SCHEMA = "medcli.demo.v2"
"""Of ``demo.json``."""


@dataclass(frozen=True)
class Demo:
    """The folder of ``medcli demo``.

    Attributes:
        path: the folder.
        finished: whether all of it is there.
        report: its page, None where there is none.
        resume: the command that goes on with it; None where it is done.
    """

    path: Path
    finished: bool
    report: Path | None
    resume: str | None = None


def look_at_demo(folder: Path) -> Demo | None:
    """The demonstration in ``folder``, if it holds any file of one."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    try:
        finished = (folder / RESULT).is_file() and isinstance(parse_json((folder / RESULT).read_bytes()), dict)
    except (OSError, ValueError):
        finished = False
    report = folder / REPORT
    return Demo(folder, finished, report if report.is_file() else None, None if finished else _again(folder))


def _again(folder: Path) -> str | None:
    """``medcli demo`` as it was begun in ``folder``; None where that cannot be told."""
    begun = read_object(folder / SETTINGS)
    if not {"quick", "seed"} <= begun.keys():
        return None
    seed = ["--seed", begun["seed"]] if begun["seed"] else []
    return spell("medcli", "demo", *(["--quick"] if begun["quick"] else []), *seed)
