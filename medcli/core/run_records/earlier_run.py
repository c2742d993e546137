"""An earlier run's results in the folder of a run: kept where they were made with the same options, else refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medcli.core.errors import UsageError
from medcli.core.json_text import read_object, to_plain
from medcli.core.made_with import differences, reject_other_options
from medcli.core.run_records.options import note_path

REMEDY = "replace it with --overwrite, or name another folder with --out"


def refuse_other_run(out: Path, results: str, verb: str, options: Mapping[str, Any], overwrite: bool) -> None:
    """Refuse to replace the results of another run.

    Args:
        out: the folder of the results.
        results: name of the file by which they are recognised; where it is absent, nothing is.
        verb: the command that writes there.
        options: what this run is made with; the note of a run has them as its settings.
        overwrite: the user allows it.

    Raises:
        UsageError: there are results of another command or of other options.
    """
    if overwrite or not (out / results).is_file():
        return
    note = read_object(note_path(out, verb))
    if not note:  # of a run that was ended before its note
        return
    if note.get("verb") != verb:
        raise UsageError(f"{out} has the results of medcli {note.get('verb')}", REMEDY)
    before = note.get("settings")
    reject_other_options(out, differences(before if isinstance(before, dict) else {}, to_plain(options)), REMEDY)
