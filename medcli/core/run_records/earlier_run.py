"""An earlier run's results at the place of a run: kept where they were made with the same options, else refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medcli.core.errors import UsageError
from medcli.core.json_text import read_object, to_plain
from medcli.core.made_with import differences, reject_other_options
from medcli.core.run_records.options import note_path

REMEDY = "replace it with --overwrite, or name another folder with --out"
REMEDY_OF_FILE = "replace it with --overwrite, or name another file with --out"


def refuse_other_run(out: Path, results: str, verb: str, options: Mapping[str, Any], overwrite: bool) -> None:
    """Refuse to replace, or to add to, the results of another run.

    Args:
        out: the folder of the results, or the one file of them.
        results: name of the file in the folder by which they are recognised, empty for one file; where it is absent,
            nothing is.
        verb: the command that writes there.
        options: what this run is made with; the note of a run has them as its settings.
        overwrite: the user allows it.

    Raises:
        UsageError: there are results of another command or of other options.
    """
    if overwrite or not (out / results).is_file():  # Path / "" is the path itself
        return
    remedy = REMEDY if results else REMEDY_OF_FILE
    note = read_object(note_path(out, verb))
    if not note:  # of a run that was ended before its note
        return
    if note.get("verb") != verb:
        raise UsageError(f"{out} has the results of medcli {note.get('verb')}", remedy)
    before = note.get("settings")
    reject_other_options(out, differences(before if isinstance(before, dict) else {}, to_plain(options)), remedy)
