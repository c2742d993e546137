"""Whether a folder, or a table or result in it, is one that ``medcli report`` can show."""

from __future__ import annotations

from pathlib import Path

from medcli.core.errors import DataError
from medcli.core.run_provenance import NAME as PROVENANCE
from medcli.core.shell import spell
from medcli.workspace.bone_figures import is_registration
from medcli.workspace.demo_folder import RESULT
from medcli.workspace.runs import KINDS, commands_of, find_run_folders

LOOKED_FOR = f"{', '.join(f'{kind.files} ({kind.verb})' for kind in KINDS)}, *medcli-run.json, or demo.json (demo)"
_CALIBRATED = "calibrated"
_MOST_NAMED = 8


def check_run_folder(folder: Path) -> None:
    """Make sure that a folder contains files of a run or of a demonstration, or that a table, or the result
    of ``medcli register bone``, is that of a run.

    Raises:
        DataError: it does not exist or contains none; names the runs below it.
    """
    if folder.is_file() and (folder.suffix.lower() == ".csv" or is_registration(folder)):
        note = folder.with_name(f"{folder.stem}.{PROVENANCE}")
        if not note.is_file():
            kind = "table" if folder.suffix.lower() == ".csv" else "result"
            raise DataError(
                f"{folder} is no run's {kind}: there is no {note.name} beside it",
                f"copy that file to it, or run the command that wrote the {kind} again",
            )
        return
    if not folder.is_dir():
        reason = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"no folder {folder}: it {reason}", "name the folder of a run, such as runs/seg/fpn-resnet34")
    is_run = any(any(commands_of(place)) for place in (folder, folder / _CALIBRATED))
    if not (is_run or (folder / RESULT).is_file() or any(folder.glob(f"*{PROVENANCE}"))):
        raise no_run(folder)


def no_run(folder: Path) -> DataError:
    """The error for a folder without a run."""
    below = find_run_folders(folder)[:_MOST_NAMED]
    if below:
        commands = "; ".join(spell("medcli", "report", place) for place in below)
        return DataError(f"{folder} is not a run, but these folders below it are: use one of", commands)
    tables = [path.name for path in sorted(folder.glob("*.csv")) if any(commands_of(path))][:_MOST_NAMED]
    if tables:
        notes = f"{Path(tables[0]).stem}.{PROVENANCE}"
        return DataError(
            f"{folder} has tables of poses ({', '.join(tables)}), but none has its note beside it, such as {notes}",
            "copy the notes to them, or run the commands that wrote the tables again",
        )
    return DataError(
        f"{folder} contains no run of medcli: looked for {LOOKED_FOR}", "name the folder that a command wrote to"
    )
