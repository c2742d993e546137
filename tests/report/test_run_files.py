"""The files of a run: missing ones are tolerated, damaged ones are reported."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from medcli.core.errors import DataError
from medcli.report.run_files import (
    NO_PROVENANCE,
    column,
    duration,
    failures_note,
    find,
    read_json,
    read_provenance,
    read_rows,
    sentence,
)
from tests.support import report_folders


def test_provenance_records_are_read(tmp_path: Path) -> None:
    path = report_folders.provenance(tmp_path, "register pose", {"seconds": 2.0}).rename(
        tmp_path / "poses.medcli-run.json"
    )
    report_folders.write(tmp_path / "other.medcli-run.json", {"schema": "another", "verb": "x"})
    (record,) = read_provenance(tmp_path)
    assert (record.path, record.verb, record.root, record.settings) == (path, "register pose", "data", {"seed": 4321})
    assert (record.result, record.table) == ({"seconds": 2.0}, tmp_path / "poses.csv")
    assert (NO_PROVENANCE.result, NO_PROVENANCE.settings, NO_PROVENANCE.root) == ({}, {}, None)


def test_damaged_files_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for content in ("{", "[]"):
        path.write_text(content, "utf-8")
        with pytest.raises(DataError, match=r"x\.json"):
            read_json(path)
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"x\.csv is damaged"):
        read_rows(tmp_path / "x.csv")


def test_missing_cells_and_files_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,\n2,x\n", "utf-8")
    rows = read_rows(tmp_path / "x.csv")
    assert column(rows, "a") == [1.0, 2.0]
    assert all(map(math.isnan, column(rows, "b") + column(rows, "c")))
    assert read_rows(tmp_path / "none.csv") == []


def test_referenced_files_are_found_after_the_run_was_moved(tmp_path: Path) -> None:
    folder = tmp_path / "study" / "runs"
    (folder / "overlays").mkdir(parents=True)
    (tmp_path / "study" / "data").mkdir()
    assert find(folder, "/was/elsewhere/overlays") == folder / "overlays"
    assert find(folder, "data") == tmp_path / "study" / "data"
    assert find(folder, r"D:\was\elsewhere\overlays") == folder / "overlays"  # a run of Windows
    assert find(folder, "runs\\overlays") == folder / "overlays"
    assert find(folder, "absent") is find(folder, None) is None


def test_words() -> None:
    assert [duration(seconds) for seconds in (12.34, 250, 7500, None)] == ["12.3 s", "4 min 10 s", "2 h 5 min", "–"]
    assert (sentence("quote last"), sentence("Why?")) == ("Quote last.", "Why?")
    assert failures_note({}, "frames") == failures_note({"failures": []}, "frames") == []
    (note,) = failures_note({"failures": [{"id": 3, "reason": "x"}] * 60}, "pairs")
    assert (note.tone, len(note.items), note.items[0]) == ("failure", 50, "id 3, reason x")
    assert note.text == "60 pairs could not be used. The first 50 are:"
