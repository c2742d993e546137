"""``medcli evaluate --dry-run``: what would be evaluated and what is missing, without computing anything."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from tests.conftest import REPOSITORY, MadeOnce, Ran
from tests.support.run_folders import write_checkpoint

Run = Callable[..., Ran]


@pytest.fixture
def data(made_once: MadeOnce) -> Path:
    def make(root: Path) -> None:
        make_ultrabones(root, (2, 7), records=2, settings=SweepSettings(frames=2, scale=0.1))

    return made_once("evaluation-plan", make)


def test_everything_that_would_be_used_is_reported(data: Path, medcli: Run, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "best.safetensors")
    words = ("evaluate", "--root", data, "--specimens", 2, 7, "--checkpoint", checkpoint, "--out", tmp_path / "out")
    plan = json.loads(medcli(*words, "--dry-run", "--json", "--protocol", "both").out)
    assert plan["schema"] == "medcli.evaluate.dry-run.v1"
    assert (plan["source"], plan["device"], plan["protocols"]) == (str(checkpoint), "auto", ["paper", "strict"])
    assert plan["missing"] == []
    assert plan["specimens"] == [
        {"specimen": number, "records": 2, "frames": 4, "predictions": None} for number in (2, 7)
    ]
    shown = medcli(*words, "--dry-run")
    assert shown.code == 0
    assert "nothing computed or written" in shown.out
    assert not (tmp_path / "out").exists()


def test_masks_on_disk_are_counted(data: Path, medcli: Run, tmp_path: Path) -> None:
    words = ("evaluate", "--root", data, "--specimens", 2, "--dry-run", "--json", "--out", tmp_path / "out")
    found = medcli(*words, "--predictions", "Labels_full")
    assert json.loads(found.out)["specimens"] == [{"specimen": 2, "records": 2, "frames": 4, "predictions": 4}]
    none = medcli(*words, "--predictions", "Labels_mine")
    assert none.code == 3
    assert "no mask in folder Labels_mine" in none.err


def test_everything_that_is_missing_is_reported_at_once(
    data: Path, medcli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = medcli("evaluate", "--root", data, "--specimens", 2, 8, "--dry-run", "--json")
    assert ran.code == 3
    assert [one["specimen"] for one in json.loads(ran.out)["specimens"]] == [2]
    assert "no checkpoint" in ran.err
    assert "error: no frames of specimen 8" in ran.err
    ran = medcli("evaluate", "--root", tmp_path / "nowhere", "--dry-run")
    assert ran.code == 3
    assert "no checkpoint" in ran.err
    assert "nowhere" in ran.err
    assert not list(tmp_path.iterdir())


def test_what_an_evaluation_refuses_its_dry_run_names(data: Path, medcli: Run, tmp_path: Path) -> None:
    """Weights without a description, a device and a folder that cannot be: the same lines, with and without work."""
    weights = tmp_path / "weights.safetensors"
    save_file({"a": np.zeros(2, np.float32)}, weights)
    words = ("evaluate", "--root", data, "--specimens", 2, "--checkpoint", weights, "--out", weights)
    refused, planned = (medcli(*words, "--device", "cuda:99", *more) for more in ((), ("--dry-run",)))
    assert refused.err.count("error: ") == 3
    assert (planned.code, planned.err) == (refused.code, refused.err)
    assert "to evaluate  missing" in planned.out


def test_no_network_library_is_loaded(data: Path, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "best.safetensors")
    words = ["evaluate", "--root", str(data), "--specimens", "2", "--checkpoint", str(checkpoint), "--dry-run"]
    code = f"""
import sys
from medcli.cli.app import main
try:
    main({words!r})
except SystemExit as leaving:
    assert not leaving.code
print([name for name in ("torch", "lightning", "segmentation_models_pytorch") if name in sys.modules])
"""
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
    assert ran.stdout.strip().endswith("[]"), ran.stdout + ran.stderr
