"""``medcli runs``: every run below a folder, with when it began and on which data, from its provenance record."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from medcli.core.errors import DataError, UsageError, quantity
from medcli.core.json_text import INLINE, read_object
from medcli.core.run_provenance import note_path
from medcli.core.shell import spell
from medcli.training.settings import read_settings
from medcli.workspace.runs import Run, find_run, find_runs


@dataclass(frozen=True)
class ListedRun:
    """A run as ``medcli runs`` lists it.

    Attributes:
        run: what its files say: command, state, progress, most important number.
        started: local time at which it began, ISO; of its last change where no record says.
        data: its data folder, as it was given; empty if unknown.
        synthetic: whether its data were made by :mod:`medcli.synthetic`.
    """

    run: Run = field(metadata=INLINE)
    started: str = ""
    data: str = ""
    synthetic: bool = False


@dataclass(frozen=True)
class RunList:
    """The runs below ``root``, newest last."""

    root: Path
    runs: tuple[ListedRun, ...]
    schema: str = "medcli.runs.v1"


def list_runs(root: Path, must_exist: bool = True) -> RunList:
    """Every run below ``root`` (see :func:`medcli.workspace.runs.find_runs`), in the order in which they began.

    Args:
        must_exist: otherwise a folder that does not exist yet is one without runs.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir() and (must_exist or root.exists()):
        raise DataError(f"there is no folder {root}", "name the folder of the runs with --runs")
    listed = [list_run(run) for run in find_runs(root)]
    return RunList(root, tuple(sorted(listed, key=lambda one: (one.started, str(one.run.path)))))


def list_run(run: Run) -> ListedRun:
    """A run with what its provenance record says."""
    note = read_note(run)
    noted = note.get("data")
    data = noted if isinstance(noted, dict) else {}
    root = data.get("root") or (read_settings(run.path).get("root") if run.path.is_dir() else None)
    return ListedRun(run, _local(note.get("when")) or run.changed[:19], str(root or ""), bool(data.get("synthetic")))


def read_note(run: Run) -> dict[str, Any]:
    """The provenance record of a run; empty if there is none."""
    return read_object(note_path(run.path, run.kind))


def get_run(name: Path, root: Path) -> Run:
    """The run that a user means: the path of a run, or the end of the path of one below ``root``.

    Raises:
        DataError: there is none; names one that is spelled similarly.
        UsageError: there are several.
    """
    if name.exists():
        run = find_run(name)
        if run is not None:
            return run
    runs = find_runs(root)
    found = [run for run in runs if run.path.parts[-len(name.parts) :] == name.parts] if name.parts else []
    if len(found) > 1:
        raise UsageError(
            f"{name} is the end of {quantity(len(found), 'run')}", f"name one: {found[0].path}, {found[1].path} …"
        )
    if not found:
        near = get_close_matches(str(name), [str(run.path) for run in runs] + [run.path.name for run in runs], 1)
        hint = (
            f"did you mean {near[0]}?"
            if near
            else f"list those below {root} with: {spell('medcli', 'runs', '--runs', root)}"
        )
        raise DataError(f"{name} is not a run", hint)
    return found[0]


def _local(when: Any) -> str:
    """``2026-01-31 13:00:00`` from ISO 8601 with a time zone."""
    try:
        return datetime.fromisoformat(str(when)).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return ""
