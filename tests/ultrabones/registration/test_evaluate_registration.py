"""``medcli evaluate registration`` on a synthetic record: files, resuming, the run in lists and reports."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from medcli.report.runs import runs_in
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.registration import evaluate_registration as module
from medcli.ultrabones.registration.random_starts import StartOutcome
from medcli.workspace.run_figures import run_figures
from medcli.workspace.runs import find_run
from tests.conftest import Ran


@pytest.mark.deep
def test_starts_are_counted_kept_and_reported(
    tmp_path: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_ultrabones(tmp_path / "data", (1, 2), settings=SweepSettings(frames=16, scale=0.2))
    shutil.rmtree(root / "specimen02/ultrasound_records/fibula/record01/Labels")
    out = tmp_path / "out"
    words = ["evaluate", "registration", "--root", root, "--out", out, "--starts", "2", "--workers", "1"]
    ran = medcli(*words)
    assert ran.code == 4  # one specimen has no labels
    assert "specimen02" in ran.err
    before = (out / "evaluation.json").read_bytes()
    (out / "evaluation.json").write_text('{"schema": "medcli.evaluate.v1"}')
    assert "is of another command" in medcli(*words).err
    (out / "evaluation.json").write_bytes(before)
    stored = json.loads((out / "evaluation.json").read_text())
    (case,) = stored["cases"]
    assert (case["specimen"], case["anatomy"], case["frames"], case["recovery"]["starts"]) == (1, "fibula", 16, 2)
    assert isinstance(case["mirror_lead"], float)
    assert stored["overall"]["wrong_good"] == 0
    ran = medcli(*words, "--anatomies", "tibia")
    assert (ran.code, "there are: --anatomies fibula" in ran.err) == (3, True)
    with (out / "starts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["start"] for row in rows] == ["0", "1"]
    assert all(float(row["rre_deg"]) <= 180 for row in rows)
    run = find_run(out)
    assert run is not None
    assert (run.kind, run.state, run.source) == ("evaluate registration", "finished", "Labels")
    assert run_figures(run)["starts"] == 2
    (report,) = runs_in(out)
    assert report.title == "Evaluation of registration to CT"
    monkeypatch.setattr(module, "run_starts", None)  # what is there is not computed again
    limits = medcli(*words, "--success-mm", "0", "--json")
    assert json.loads(limits.out)["overall"]["recall"] == 0
    assert json.loads(limits.out)["cases"][0]["recovery"]["rte_mm"] == case["recovery"]["rte_mm"]
    assert json.loads(medcli(*words, "--starts", "1", "--json").out)["overall"]["starts"] == 1  # of those kept
    assert json.loads(medcli(*words, "--json").out)["overall"]["starts"] == 2
    before = (out / "evaluation.json").read_bytes()
    other = medcli(*words, "--seed", "1")
    assert (other.code, "was made with other options: seed was 0, is 1" in other.err) == (2, True)
    assert (out / "evaluation.json").read_bytes() == before
    registered = SimpleNamespace(undetermined=(), mirror_lead=-5.0)
    monkeypatch.setattr(module, "run_starts", lambda *_: ([StartOutcome(0, 1.0, 1.0, "failed")], registered))
    assert "fibula record01: the mirror image fits better by 5.0 standard errors" in medcli(*words, "--overwrite").err


def test_no_masks_anywhere_is_refused(tmp_path: Path, medcli: Callable[..., Ran]) -> None:
    root = make_ultrabones(tmp_path / "data", (1,), settings=SweepSettings(frames=2, scale=0.1, labels=False))
    ran = medcli("evaluate", "registration", "--root", root, "--out", tmp_path / "out")
    assert ran.code == 3
    assert "Labels" in ran.err
