"""There is a report for every kind of run in the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcli.core.errors import DataError
from medcli.report.runs import READERS, runs_in
from medcli.workspace import runs
from medcli.workspace.report_folder import LOOKED_FOR
from tests.support import report_folders

VERBS = ("train", "evaluate", "predict", "reconstruct", "register", "calibrate", "label", "kinematics")


def test_there_is_a_reader_for_every_kind_of_run() -> None:
    commands = {
        value for name, value in vars(runs).items() if isinstance(value, str) and value.partition(" ")[0] in VERBS
    }
    assert commands == set(READERS)
    assert {verb for kind in runs.KINDS for verb in VERBS if verb in kind.verb} == set(VERBS)
    assert all(kind.files in LOOKED_FOR for kind in runs.KINDS)


def test_each_run_gets_its_provenance_and_its_dataset(tmp_path: Path) -> None:
    report_folders.write(tmp_path / "evaluation.json", report_folders.evaluation())
    (run,) = runs_in(tmp_path)
    assert (run.dataset, run.origin) == ("UltraBones100k", {})
    report_folders.provenance(tmp_path, "evaluate seg")
    (run,) = runs_in(tmp_path)
    assert (run.dataset, run.origin["medcli"]) == ("UltraBones100k", "9.8.7")
    report_folders.provenance(tmp_path, "predict pose", {"seconds": 4.0}).rename(tmp_path / "a.medcli-run.json")
    report_folders.provenance(tmp_path, "predict pose", {"seconds": 5.0}).rename(tmp_path / "b.medcli-run.json")
    assert [(run.dataset, run.seconds) for run in runs_in(tmp_path)[1:]] == [("Veriserum", 4.0), ("Veriserum", 5.0)]


def test_other_folders_are_no_runs_and_damaged_ones_are_reported(tmp_path: Path) -> None:
    report_folders.provenance(tmp_path, "train seg")
    assert runs_in(tmp_path) == [], "a provenance record alone is not a training"
    (tmp_path / "medcli_calibration.json").write_text('{"options": {}}', "utf-8")
    with pytest.raises(DataError, match="of another version of medcli"):
        runs_in(tmp_path)
