"""Results of another run in a folder are refused, those of the same one are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcli.core.errors import UsageError
from medcli.core.files import write_json
from medcli.core.run_provenance import NAME
from medcli.core.run_records.earlier_run import refuse_other_run

VERB, RESULT = "evaluate pose", "evaluation.json"
OPTIONS = {"root": Path("data"), "ids": ((1, 3),), "anatomy": None}


def note(folder: Path, verb: str) -> None:
    write_json(folder / NAME, {"verb": verb, "settings": OPTIONS})


def test_only_results_of_other_options_are_refused(tmp_path: Path) -> None:
    refuse_other_run(tmp_path, RESULT, VERB, OPTIONS, False)
    note(tmp_path, VERB)
    refuse_other_run(tmp_path, RESULT, VERB, {"root": Path("other")}, False)  # a note without results
    (tmp_path / RESULT).write_text("{}")
    refuse_other_run(tmp_path, RESULT, VERB, OPTIONS, False)
    refuse_other_run(tmp_path, RESULT, VERB, {"root": Path("other")}, True)
    with pytest.raises(UsageError, match="root was data, is other") as refused:
        refuse_other_run(tmp_path, RESULT, VERB, {**OPTIONS, "root": Path("other")}, False)
    assert "--overwrite" in str(refused.value.hint)
    note(tmp_path, "evaluate seg")
    with pytest.raises(UsageError, match="has the results of medcli evaluate seg"):
        refuse_other_run(tmp_path, RESULT, VERB, OPTIONS, False)
    table = tmp_path / "poses.csv"
    write_json(tmp_path / "poses.medcli-run.json", {"verb": VERB, "settings": OPTIONS})
    refuse_other_run(table, "", VERB, {"root": Path("other")}, False)  # a note without a table
    table.write_text("id\n")
    refuse_other_run(table, "", VERB, OPTIONS, False)
    with pytest.raises(UsageError, match="ids was 1-3, is 1-2 4-4") as refused:
        refuse_other_run(table, "", VERB, {**OPTIONS, "ids": ((1, 2), (4, 4))}, False)
    assert "another file" in str(refused.value.hint)
    (tmp_path / NAME).unlink()  # a run that was ended before its note
    refuse_other_run(tmp_path, RESULT, VERB, OPTIONS, False)
